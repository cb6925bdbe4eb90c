"""Install, update and roll back as one transaction, each recorded in the audit log."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from appliance.audit.recorder import Action, Recorder
from appliance.bundle import exception
from appliance.bundle.install.leftovers import Engine, Leftovers, Pruned
from appliance.bundle.install.lifecycle import (
    Lifecycle,
    Runner,
    copy_state,
    programs_readable,
    restore_state,
)
from appliance.bundle.install.preflight import (
    Check,
    Probe,
    checks,
    judge_date,
    require,
    tuple_checks,
)
from appliance.bundle.install.request import Request, receipt
from appliance.bundle.install.restart import After, Units
from appliance.bundle.install.stage import Hook, Stager, held_by, no_hook, remove_strangers
from appliance.bundle.install.store import READY, Store, Version, save_metadata
from appliance.bundle.install.transaction import Journal, Transaction
from appliance.bundle.medium import Medium
from appliance.bundle.model import Manifest
from appliance.bundle.prove import read_manifest
from appliance.bundle.trust import Anchor, Trusted, anchor_by_fingerprint, load_trusted
from appliance.core.clock import Clock
from appliance.core.durable import exclusive, fsync_dir, os_errors, write_json
from appliance.core.errors import (
    ApplianceError,
    BundleRollbackError,
    BundleUntrustedError,
    ClockUnbelievableError,
    NoEarlierVersionError,
    PreflightFailedError,
    VersionUnhealthyError,
)
from appliance.core.home import Home
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings.bundle import BundleSettings


@dataclass(frozen=True)
class Tools:
    """What the installer works with; tests bring their own."""

    recorder: Recorder
    clock: Clock
    probe: Probe
    runner: Runner
    engine: Engine
    units: Units
    progress: Progress = NoProgress()  # noqa: RUF009 - it holds nothing
    hook: Hook = no_hook


class Installer:
    """Changes the version of one home."""

    def __init__(self, home: Home, limits: BundleSettings, tools: Tools) -> None:
        """Work on ``home``."""
        self.home, self.limits, self.tools = home, limits, tools
        self.store = Store(home)
        self.journal = Journal(self.store, tools.hook)
        self.after = After(self.store, tools.units, tools.recorder)
        self.leftovers = Leftovers(self.store, tools.engine)

    # 1. Trust

    def trust(self, medium: Medium, request: Request) -> tuple[Trusted, Manifest]:
        """Prove the metadata and ``bundle.json``; raise what stands against this bundle."""
        anchor = self.store.anchor()
        if anchor is None:
            if request.fingerprint is None:
                raise BundleUntrustedError(
                    expected="the root fingerprint from paper for the first install",
                    found="none given",
                    remedy="Read it from the supplier's paper: --fingerprint 'ab12 cd34 ...'.",
                )
            anchor = Anchor(anchor_by_fingerprint(medium, request.fingerprint, self.limits))
        floor = self.store.floor()
        if request.date is None and self.limits.require_attested_date:
            raise ClockUnbelievableError(expected="today's date, attested", found="none given")
        now = self.tools.clock.now()
        at = judge_date(
            now, request.date, str(floor.get("date", "")), "", self.limits.clock_skew_days
        )
        allowed = None
        if request.exception is not None:
            allowed = exception.require(request.exception, anchor.root, at)
            anchor, at = Anchor(anchor.root), allowed.judged_at
        trusted = load_trusted(medium, anchor, at, self.limits)
        manifest = read_manifest(medium, trusted, self.limits)
        if allowed is not None and allowed.bundle != trusted.id:
            raise BundleRollbackError(
                expected=f"the bundle {allowed.bundle[:16]} that the exception names",
                found=f"bundle {trusted.id[:16]}",
            )
        if allowed is None:
            self._floors(at, request, manifest, int(floor.get("sequence", 0)))
        return trusted, manifest

    def _floors(self, at: Any, request: Request, manifest: Manifest, sequence: int) -> None:
        if manifest.sequence < sequence:
            raise BundleRollbackError(
                expected=f"a bundle with sequence {sequence} or newer",
                found=f"{manifest.name} {manifest.version} with sequence {manifest.sequence}",
            )
        judge_date(at, request.date, "", manifest.created, self.limits.clock_skew_days)

    # 2. The change

    def install(self, medium: Medium, request: Request, kind: str = "install") -> dict[str, Any]:
        """Install or update from ``medium``; return what was done."""
        with programs_readable(), exclusive(self.store.lock, what="change of version"):
            self.recover_locked()
            name = f"bundle.{kind}"
            try:
                trusted, manifest = self.trust(medium, request)
            except ApplianceError as error:
                # An old or foreign medium that somebody tried is what the officers must see.
                with self.tools.recorder.action(name, detail={"trusted": False}) as act:
                    act.refuse(error.id)
                raise
            detail = receipt(trusted, manifest, request)
            with self.tools.recorder.action(name, object_id=trusted.id, detail=detail) as act:
                done = self._install(medium, trusted, manifest, kind, act)
            return self._settled(done)

    def _settled(self, done: dict[str, Any]) -> dict[str, Any]:
        """Restart what runs the earlier version's code; ``ok`` is False when it does not come up.

        The change itself stands and is recorded: this follows in entries of its own.
        """
        self.tools.hook("before:after")
        done |= self.after.run()
        return done | {"ok": not done.get("not_running")}

    def _install(
        self, medium: Medium, trusted: Trusted, manifest: Manifest, kind: str, act: Action
    ) -> dict[str, Any]:
        current = self.store.current()
        base = self._base(manifest, current)
        found = checks(manifest, trusted.entries, self.tools.probe, self.store.root, self.limits)
        require(found)
        act.detail["preflight_checks"] = len(found)
        target = f"{manifest.version}-{trusted.id[:12]}"
        source = current.id if current else None
        change = Transaction(kind, trusted.id, source, target)
        version = self.store.version(target)
        try:
            self.journal.enter(change, "stage")
            if not version.ready:
                self._stage(medium, trusted, version, base, act)
                self.journal.enter(change, "activate")
                self._activate(version, trusted)
            began = self.tools.clock.now()
            self._switch(change, version, manifest, act)
            act.detail["switch_ms"] = self._since(began)
            self.journal.enter(change, "finish")
        except BaseException:
            # Also KeyboardInterrupt: whatever stops us, the earlier version is in use again.
            self.journal.undo(change)
            raise
        pruned = self._finish(change, version)
        act.detail |= {"from": source or "none", "to": target, "healthy": True, **pruned.detail()}
        done = {"version": target, "earlier": source, **act.detail}
        return done | {"warnings": pruned.warnings}

    def _since(self, began: datetime) -> int:
        """Return the milliseconds since: the time in which the earlier version was not in use."""
        return round((self.tools.clock.now() - began) / timedelta(milliseconds=1))

    def _base(self, manifest: Manifest, current: Version | None) -> Version | None:
        if manifest.base is None:
            return current
        for version in self.store.versions():
            if version.record()["bundle"] == manifest.base.id:
                return version
        raise PreflightFailedError(
            expected=f"version {manifest.base.version} installed, which this difference completes",
            found=f"current is {current.id if current else 'nothing'}",
            remedy="Install the full bundle, or the one this difference was made against.",
        )

    def _stage(
        self,
        medium: Medium,
        trusted: Trusted,
        version: Version,
        base: Version | None,
        act: Action,
    ) -> None:
        folder = self.store.staging / trusted.id
        for other in self.store.staging.glob("*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)
        shutil.rmtree(version.folder, ignore_errors=True)
        stager = Stager(
            medium, folder / "content", self.limits, held_by(base), hook=self.tools.hook
        )
        stager.run(trusted, self.tools.progress)
        remove_strangers(folder / "content", trusted.entries)
        save_metadata(folder, trusted)
        act.detail |= {"bytes_proven": stager.bytes, "bytes_resumed": stager.resumed}
        act.detail["files_proven"] = len(trusted.entries)
        self.tools.hook("before:place")
        with os_errors(folder):
            self.store.versions_folder.mkdir(parents=True, exist_ok=True)
            folder.rename(version.folder)
            fsync_dir(self.store.versions_folder)

    def _life(self, version: Version) -> Lifecycle:
        log = self.store.logs / f"{version.id}.log"
        return Lifecycle(self.home, version, log, self.tools.runner, self.limits)

    def _activate(self, version: Version, trusted: Trusted) -> None:
        self._life(version).activate()
        self.tools.hook("before:ready")
        record = {
            "bundle": trusted.id,
            "installed": self.tools.clock.now().isoformat(),
            "root_fingerprint": trusted.root_fingerprint,
            "metadata_version": trusted.version,
            "judged_at": trusted.at.isoformat(),
        }
        write_json(version.folder / READY, record)

    def _switch(
        self, change: Transaction, version: Version, manifest: Manifest, act: Action
    ) -> None:
        life = self._life(version)
        if manifest.lifecycle.migrate and change.source != change.target:
            self.journal.enter(change, "copy")
            saved = self.store.saved / change.saved_name
            copied = copy_state(self.home, manifest.lifecycle.state, saved)
            act.detail["state_files_copied"] = copied
            self.journal.enter(change, "migrate")
            life.migrate()
        self._try(change, life)

    def _finish(self, change: Transaction, version: Version) -> Pruned:
        """Raise the floors and clear up; a cut here is finished forward, again and again."""
        if change.kind != "rollback":
            self.store.accept(version)
        self.tools.hook("accepted")
        before = self.store.version(change.source or change.target)
        both = [v for v in (version, before) if v.ready]
        self.after.note(*(v.manifest().lifecycle for v in both))
        pruned = self._prune(keep={v.id for v in both})
        self.journal.clear()
        return pruned

    def _try(self, change: Transaction, life: Lifecycle) -> None:
        self.journal.enter(change, "switch")
        self.store.switch(change.target)
        self.journal.enter(change, "health")
        ok, why = life.healthy()
        if not ok:
            raise VersionUnhealthyError(
                expected="every health check of the new version to pass",
                found=f"{why}; {change.source or 'no version'} is in use; {life.log}",
            )

    def _prune(self, keep: set[str]) -> Pruned:
        """Remove old and unfinished versions, then the images that only those brought."""
        ready = self.store.versions()
        old = [v for v in ready[self.limits.keep_versions :] if v.id not in keep]
        unready = [v for v in map(Version, self.store.versions_folder.iterdir()) if not v.ready]
        self.leftovers.note([*old, *unready])
        self.tools.hook("before:prune")
        for version in (*old, *unready):
            self.store.remove(version)
            shutil.rmtree(self.store.saved / version.id, ignore_errors=True)
        self.tools.hook("before:images")
        return self.leftovers.remove([v for v in ready if v not in old])

    # 3. The ways back

    def rollback(self, to: str | None = None, *, saved_state: bool = False) -> dict[str, Any]:
        """Go back to a version kept on disk; its bytes were proven when it was installed."""
        with exclusive(self.store.lock, what="change of version"):
            self.recover_locked()
            current = self.store.current()
            target = self._earlier(current, to)
            bundle = str(target.record()["bundle"])
            detail = {"from": current.id if current else "none", "to": target.id}
            recorder = self.tools.recorder
            with recorder.action("bundle.rollback", object_id=bundle, detail=detail) as act:
                began = self.tools.clock.now()
                pruned = self._rollback(current, target, bundle, saved_state=saved_state)
                act.detail |= {"healthy": True, "switch_ms": self._since(began)}
                act.detail |= pruned.detail()
            done = {"version": target.id, "earlier": detail["from"]}
            return self._settled(done | {"warnings": pruned.warnings})

    def _earlier(self, current: Version | None, to: str | None) -> Version:
        others = [v for v in self.store.versions() if current is None or v.id != current.id]
        limit = str(current.record()["installed"]) if current is not None else "9"
        if to is None:
            chosen = [v for v in others if str(v.record()["installed"]) < limit]
        else:
            chosen = [v for v in others if v.id == to]
        if not chosen:
            raise NoEarlierVersionError(
                expected="an earlier version kept on disk" if to is None else f"version {to}",
                found=f"{len(others)} other versions",
            )
        return chosen[0]

    def _rollback(
        self, current: Version | None, target: Version, bundle: str, *, saved_state: bool
    ) -> Pruned:
        jobs = self.tools.probe.running_jobs()
        if jobs:
            raise PreflightFailedError(
                expected="no running job", found=", ".join(jobs[:3]), remedy="Wait or cancel it."
            )
        change = Transaction("rollback", bundle, current.id if current else None, target.id)
        try:
            if current is not None and current.manifest().lifecycle.migrate:
                self._state_back(change, current, saved_state=saved_state)
            self._try(change, self._life(target))
            self.journal.enter(change, "finish")
        except BaseException:
            self.journal.undo(change)
            raise
        return self._finish(change, target)

    def _state_back(self, change: Transaction, current: Version, *, saved_state: bool) -> None:
        lifecycle = current.manifest().lifecycle
        if not lifecycle.unmigrate and not saved_state:
            raise PreflightFailedError(
                expected="a way back for the migrated data",
                found=f"{current.id} brings none",
                remedy="--saved-state puts back the copy made before that update; what was "
                "written since then stays only in the copy kept now.",
            )
        self.journal.enter(change, "copy")
        copy_state(self.home, lifecycle.state, self.store.saved / change.saved_name)
        self.journal.enter(change, "migrate")
        if lifecycle.unmigrate:
            self._life(current).unmigrate()
        else:
            restore_state(self.home, self.store.saved / current.id)

    def recover(self) -> str | None:
        """Undo or finish what a power cut left; run at boot and before every change."""
        with exclusive(self.store.lock, what="change of version"):
            return self.recover_locked()

    def standing(self) -> list[Check]:
        """Compare the machine with the current version's compatibility tuple (run at boot)."""
        current = self.store.current()
        if current is None:
            return []
        return tuple_checks(current.manifest(), self.tools.probe.facts())

    def recover_locked(self) -> str | None:
        """Do the same under the lock already held; also what was left to do after a change."""
        change = self.journal.read()
        said = None if change is None else self._recovered(change)
        self.after.run()
        return said

    def _recovered(self, change: Transaction) -> str:
        if change.phase == "finish":
            self._finish(change, self.store.version(change.target))
            said = f"{change.kind} was cut off after its health check and stands"
        else:
            said = self.journal.undo(change)
        detail = {"kind": change.kind, "phase": change.phase, "to": change.target}
        self.tools.recorder.event("bundle.recovered", object_id=change.bundle, detail=detail)
        return said
