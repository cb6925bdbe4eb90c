"""What Lynis and OpenSCAP say of the guest, before and after. Their reports are kept."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.vm.guest import Guest, GuestError

PROFILE = "xccdf_org.ssgproject.content_profile_anssi_bp28_enhanced"
CONTENT = "/opt/proof/ssg/usr/share/xml/scap/ssg/content/ssg-debian12-ds.xml"
REGISTER = Path(__file__).parents[2] / "security" / "exceptions.yaml"
LYNIS_MIN = 85
SHARE_MIN = 0.90
_XCCDF = "{http://checklists.nist.gov/xccdf/1.2}"
_COUNTED = ("pass", "fixed", "fail", "error", "unknown")


@dataclass(frozen=True)
class Scores:
    """The numbers; ``high``: failed rules of high severity that no exception names."""

    lynis: int
    results: dict[str, int]
    failed: tuple[str, ...]
    high: tuple[str, ...]

    @property
    def share(self) -> float:
        """Return the share of applicable rules that pass."""
        applicable = sum(self.results.get(name, 0) for name in _COUNTED)
        return (self.results.get("pass", 0) + self.results.get("fixed", 0)) / max(applicable, 1)


def measure(guest: Guest, folder: Path, name: str) -> Scores:
    """Run both in the guest and keep their reports in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    guest.run("lynis audit system --quick --no-colors --report-file /tmp/lynis.dat", 3600)
    report = guest.must("cat /tmp/lynis.dat")
    (folder / f"lynis-{name}.dat").write_text(report, encoding="utf-8")
    index = [line for line in report.splitlines() if line.startswith("hardening_index=")]
    if not index:
        raise GuestError("Lynis gave no index")
    # 2 says that rules failed.
    done = guest.run(
        f"oscap xccdf eval --profile {PROFILE} --results /tmp/oscap.xml {CONTENT} >/tmp/oscap.txt",
        5400,
    )
    if done.rc not in {0, 2}:
        raise GuestError(f"oscap ended with {done.rc}: {done.out[-500:]}")
    results = _read(guest, "/tmp/oscap.xml")
    (folder / f"oscap-{name}.xml").write_bytes(results)
    scores = judge(int(index[-1].partition("=")[2]), results)
    text = json.dumps({**asdict(scores), "share": round(scores.share, 4)}, indent=1)
    (folder / f"scores-{name}.json").write_text(text + "\n", encoding="utf-8")
    return scores


def judge(lynis: int, results: bytes) -> Scores:
    """Count the rule results of an XCCDF result file."""
    rows = [
        (row.get("idref", ""), row.get("severity", ""), row.findtext(f"{_XCCDF}result", ""))
        for row in ET.fromstring(results).iter(f"{_XCCDF}rule-result")  # noqa: S314 - our own guest's
    ]
    bad = [(rule.rpartition("_rule_")[2], high) for rule, high, said in rows if said == "fail"]
    known = set(re.findall(r"\w+", REGISTER.read_text(encoding="utf-8")))
    return Scores(
        lynis,
        dict(Counter(said for _, _, said in rows)),
        tuple(sorted(rule for rule, _ in bad)),
        tuple(sorted(rule for rule, severity in bad if severity == "high" and rule not in known)),
    )


def _read(guest: Guest, path: str) -> bytes:
    """Read a large file in pieces; one answer of the guest is short."""
    guest.must(f"gzip -kf {path}")
    data, step = b"", 120_000
    while True:
        skip = len(data)
        piece = guest.must(f"tail -c +{skip + 1} {path}.gz | head -c {step} | base64 -w0")
        raw = base64.b64decode(piece)
        data += raw
        if len(raw) < step:
            break
    return gzip.decompress(data)
