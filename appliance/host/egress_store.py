"""The egress watch on a real machine: nft, the files of the day, the audit log."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance.audit.recorder import Recorder
from appliance.core.durable import read_json, write_json
from appliance.core.errors import ToolMissingError
from appliance.core.errors.host import EgressCounterError
from appliance.core.home import Home
from appliance.host.egress import (
    TABLE,
    Nft,
    counted,
    mark,
    parse_listing,
    report,
    since,
)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SECONDS = 30


@dataclass(frozen=True)
class SystemNft:
    """The ``nft`` program; ``namespace`` names a network namespace other than this one."""

    namespace: str | None = None

    def load(self, ruleset: str) -> None:
        """Put in a rule set, all or nothing."""
        self._run(["-f", "-"], ruleset)

    def listing(self) -> dict[str, Any]:
        """Return the table as JSON."""
        return parse_listing(self._run(["--json", "list", "table", "inet", TABLE]))

    def _run(self, arguments: list[str], text: str = "") -> str:
        before = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        try:
            done = subprocess.run(
                [*before, "nft", *arguments],
                input=text,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except FileNotFoundError as error:
            raise ToolMissingError(expected="nft (package nftables)", found="no nft") from error
        except subprocess.TimeoutExpired as error:
            raise EgressCounterError(expected="an answer from nft", found="none in time") from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no word"])[0][:200]
            raise EgressCounterError(expected="nft to work (as root)", found=said)
        return done.stdout


def names_file(home: Home) -> Path:
    """Return where the DNS sink keeps what was asked since the last report."""
    return home.run / "dns-sink.json"


def _state_file(home: Home) -> Path:
    return home.root / "host" / "egress.json"


def daily_report(home: Home, nft: Nft, recorder: Recorder, now: datetime) -> dict[str, Any]:
    """Write the report of what tried to leave since the last one, and its entry of the log.

    The log gets numbers only; addresses and names stay in the file.
    """
    boot = _BOOT_ID.read_text().strip()
    state = _state_file(home)
    before = dict(read_json(state)) if state.is_file() else None
    counts = counted(nft.listing())
    fresh, gap = since(counts, before, boot)
    asked = _names(home)
    old = (before or {}).get("names", {})
    again = any(asked.get(name, 0) < count for name, count in old.items())
    names = (
        asked if again else {n: c - old.get(n, 0) for n, c in asked.items() if c > old.get(n, 0)}
    )
    value = report(fresh, names, gap=gap or again, day=now.date().isoformat())
    target = home.reports / "egress" / f"{now:%Y-%m-%dT%H%M%S}.json"
    with recorder.action(
        "host.egress_report",
        detail={
            "attempts": value["attempts"],
            "host_packets": value["host_packets"],
            "container_packets": value["container_packets"],
            "names_asked": value["names_asked"],
            "counters_restarted": value["counters_restarted"],
        },
    ) as act:
        for folder in (target.parent, state.parent):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(target, value)
        target.chmod(0o600)
        write_json(state, mark(counts, boot) | {"names": asked})
        if not value["ok"]:
            act.refuse("something tried to leave")
    return value | {"file": str(target)}


def _names(home: Home) -> dict[str, int]:
    path = names_file(home)
    return {str(k): int(v) for k, v in read_json(path).items()} if path.is_file() else {}


async def serve_sink(home: Home, host: str, port: int, limit: int, every_s: float = 5.0) -> None:
    """Answer every question with NXDOMAIN until ended; keep the counts in a file."""
    import asyncio

    from appliance.host.dns_sink import Asked, Sink

    asked = Asked(limit, _names(home))
    sink = Sink(asked)
    await sink.start(host, port)
    kept: dict[str, int] | None = None
    try:
        while True:
            await asyncio.sleep(every_s)
            if asked.names != kept:
                kept = dict(asked.names)
                write_json(names_file(home), kept)
    finally:
        await sink.stop()
        write_json(names_file(home), dict(asked.names))
