"""What the command line asks for: verify, repair, inspect, with their receipts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from appliance.audit.recorder import Recorder
from appliance.bundle.install.preflight import judge_date
from appliance.bundle.install.store import Store
from appliance.bundle.medium import FolderMedium, Medium
from appliance.bundle.prove import read_manifest
from appliance.bundle.repair import repair
from appliance.bundle.trust import (
    Anchor,
    Trusted,
    anchor_by_fingerprint,
    first_root,
    grouped,
    load_trusted,
)
from appliance.bundle.verify import verify
from appliance.core.clock import Clock
from appliance.core.progress import Progress
from appliance.core.settings.bundle import BundleSettings


@dataclass(frozen=True)
class Basis:
    """What a check of a medium rests on: the machine's own root, paper, or nothing yet."""

    anchor: Anchor
    source: str

    @property
    def confirmed(self) -> bool:
        """False when the root was taken from the medium itself."""
        return self.source != "medium"


def basis(store: Store, medium: Medium, paper: str | None, limits: BundleSettings) -> Basis:
    """Choose where trust begins: this machine, else paper, else nobody.

    A fingerprint given to a machine that has a root of its own must be on the medium too, but
    the machine's floors against older bundles stay in force.
    """
    held = store.anchor()
    paper_root = None if paper is None else anchor_by_fingerprint(medium, paper, limits)
    if held is not None:
        return Basis(held, "machine")
    if paper_root is not None:
        return Basis(Anchor(paper_root), "paper")
    return Basis(Anchor(first_root(medium, limits)), "medium")


@dataclass(frozen=True)
class Context:
    """What every service call works with."""

    store: Store
    limits: BundleSettings
    recorder: Recorder
    clock: Clock
    progress: Progress

    def at(self, attested: date | None) -> datetime:
        """Return the moment media are judged at."""
        floor = str(self.store.floor().get("date", ""))
        skew = self.limits.clock_skew_days
        return judge_date(self.clock.now(), attested, floor, "", skew)


def run_verify(
    context: Context, medium: Medium, paper: str | None, attested: date | None
) -> dict[str, Any]:
    """Verify a medium and record it; ``ok`` needs a root confirmed outside the medium."""
    with context.recorder.action("bundle.verify", detail={"medium": "removable"}) as act:
        rests = basis(context.store, medium, paper, context.limits)
        trusted = load_trusted(medium, rests.anchor, context.at(attested), context.limits)
        report = verify(medium, trusted, context.limits, context.progress)
        found = report.to_dict()
        found["intact"] = report.ok
        found["ok"] = report.ok and rests.confirmed
        found["root_from"] = rests.source
        found["root_fingerprint_grouped"] = grouped(trusted.anchor_fingerprint)
        found["date_source"] = "operator" if attested else "clock"
        act.detail |= {
            "bundle": trusted.id,
            "root_fingerprint": trusted.root_fingerprint,
            "root_from": rests.source,
            "judged_at": trusted.at.isoformat(),
            "date_source": found["date_source"],
            "blocks": report.chunks,
            "bytes": report.bytes,
            "faults": len(report.faults),
            "unlisted": len(report.strangers),
        }
        if not found["ok"]:
            act.refuse("damaged or unlisted files" if not report.ok else "root not confirmed")
    return found


def run_repair(
    context: Context, paths: tuple[Path, Path], paper: str | None, attested: date | None
) -> dict[str, Any]:
    """Repair the first medium from the second; only blocks that are damaged are copied."""
    medium, other = FolderMedium(paths[0]), FolderMedium(paths[1])
    with context.recorder.action("bundle.repair", detail={}) as act:
        rests = basis(context.store, other, paper, context.limits)
        trusted = load_trusted(other, rests.anchor, context.at(attested), context.limits)
        before = verify(medium, trusted, context.limits, context.progress)
        damaged = [f.path for f in before.faults]
        done = repair((medium, other), trusted, context.limits, damaged, context.progress)
        after = verify(medium, trusted, context.limits, context.progress)
        act.detail |= {
            "bundle": trusted.id,
            "blocks": len(done.blocks),
            "metadata": len(done.metadata),
            "bytes": done.bytes,
        }
        if not after.ok:
            act.fail("the medium still has faults")
    return {
        "ok": after.ok and rests.confirmed,
        "blocks_copied": done.blocks,
        "metadata_copied": done.metadata,
        "bytes_copied": done.bytes,
        "faults": [vars(f) for f in after.faults],
        "unlisted": after.strangers,
    }


def proven_manifest(
    context: Context, medium: Medium, paper: str | None, attested: date | None
) -> tuple[Trusted, Basis, dict[str, Any]]:
    """Return a medium's proven metadata and manifest, for inspect."""
    rests = basis(context.store, medium, paper, context.limits)
    trusted = load_trusted(medium, rests.anchor, context.at(attested), context.limits)
    manifest = read_manifest(medium, trusted, context.limits)
    return trusted, rests, manifest.model_dump(mode="json")
