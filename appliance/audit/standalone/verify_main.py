"""Verifica uma pasta ou um zip de provas do registro de auditoria. Verifies audit evidence.

    python3 verify.py                        # a pasta em que este arquivo está / this folder
    python3 verify.py provas.zip             # um zip / a zip file
    python3 verify.py provas.zip --key VKEY --witness VKEY   # com as chaves que você guarda

Precisa só do Python 3.8 ou mais novo; não usa rede. Needs Python 3.8 or newer and nothing else.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import zipfile
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from appliance.audit.standalone.core import (
    Key,
    Signed,
    b64,
    inclusion_holds,
    leaf_hash,
    open_checkpoint,
    parse_key,
    root_from_range,
)
from appliance.audit.standalone.verify_text import (
    TEXT,
)

FORMAT = "hospital-ai-evidence/1"
COMPLETE = "complete"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")  # one spelling: compared as text
COLUMNS = ("at", "user", "role", "action", "outcome", "patient", "object_id", "model", "purpose")


# Whatever a hostile file can make the reading code raise: the answer is "damaged", not a traceback.
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class Broken(Exception):  # noqa: N818 - not an error of the program: the answer is no
    """The evidence does not hold; the first argument is the key of the reason."""


class Entry(NamedTuple):
    """One entry: which part, where it stands, its bytes and what they say."""

    part: int
    n: int
    data: bytes
    value: dict[str, Any]

    @property
    def at(self) -> str:
        """When the log's writer received it (RFC 3339, UTC)."""
        return str(self.value["written"]["at"])


class Files:
    """The files of the evidence, in a folder or in a zip."""

    def __init__(self, path: str) -> None:
        self.folder = Path(path)
        self.zip = None if self.folder.is_dir() else zipfile.ZipFile(path)

    def read(self, name: str) -> bytes:
        """Return a file's bytes; raise ``Broken``."""
        try:
            if self.zip is not None:
                return self.zip.read(name)
            return (self.folder / name).read_bytes()
        except (KeyError, OSError):
            raise Broken("no-file", name) from None

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON object; raise ``Broken``."""
        try:
            value = json.loads(self.read(name).decode("utf-8"))
        except ValueError:
            raise Broken("bad-file", name) from None
        if not isinstance(value, dict):
            raise Broken("bad-file", name)
        return value


def unpack(data: bytes) -> list[bytes]:
    """Read entries, each after its length as a big-endian uint16."""
    entries, position = [], 0
    while position < len(data):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if position + 2 > len(data) or end > len(data):
            raise ValueError("entries")
        entries.append(data[position + 2 : end])
        position = end
    return entries


def load_entry(part: int, index: int, data: bytes) -> Entry:
    """Parse one entry and check that it says where it stands."""
    value = json.loads(data.decode("utf-8"))
    entry = Entry(part, index, data, value)
    if value["written"]["n"] != index or not TIME.match(entry.at):
        raise Broken("bad-index", index)
    return entry


def in_period(entry: Entry, question: dict[str, Any]) -> bool:
    """Say whether an entry's time lies in the period (both ends belong to it)."""
    since, until = question["from"], question["to"]
    return not ((since and entry.at < since) or (until and entry.at > until))


def matches(entry: Entry, question: dict[str, Any]) -> bool:
    """Say whether an entry has the fields that were asked for."""
    where = question.get("where") or {}
    return all(entry.value.get(field) in values for field, values in where.items())


def previous(entry: Entry) -> tuple[str, int, str] | None:
    """Return the final checkpoint (origin, size, root) that the first entry of a log names."""
    detail = entry.value.get("detail") or {}
    if entry.value.get("action") != "audit.shard_opened" or detail.get("previous") == "none":
        return None
    return detail["previous"], detail["size"], detail["root"]


def following(entry: Entry) -> tuple[Any, Any] | None:
    """Return the log (origin, key) that the last entry of a closed log names."""
    if entry.value.get("action") != "audit.shard_closed":
        return None
    detail = entry.value.get("detail") or {}
    return detail.get("next"), detail.get("key")


def given_key(text: str) -> Key:
    """Read a key that the person who verifies gave."""
    try:
        return parse_key(text)
    except ValueError:
        raise Broken("bad-pin", text) from None


def asked(question: dict[str, Any]) -> str:
    """Write the question as one line for people."""
    where = (question.get("where") or {}).items()
    fields = [f"{name} = {' / '.join(str(v) for v in values)}" for name, values in sorted(where)]
    period = f"{question.get('from') or '...'} .. {question.get('to') or '...'}"
    return "; ".join([period, *fields])


class Evidence:
    """The evidence under examination; every check tells what it found or raises ``Broken``."""

    def __init__(self, files: Files, keys: list[str], witnesses: list[str]) -> None:
        self.files = files
        self.told: list[tuple[str, list[Any]]] = []
        self.manifest = files.json("manifest.json")
        kinds = (COMPLETE, "inclusion")
        if self.manifest.get("format") != FORMAT or self.manifest.get("kind") not in kinds:
            raise Broken("no-format")
        if not self.manifest["parts"]:
            raise Broken("bad-file", "manifest.json")
        policy = files.json("policy.json")
        self.pinned = [given_key(k) for k in keys]
        self.keys = [parse_key(str(log["vkey"])) for log in policy["logs"]]
        if [k.name for k in self.keys] != [log["origin"] for log in policy["logs"]]:
            raise Broken("bad-file", "policy.json")
        self.witnesses = [given_key(w) for w in (witnesses or policy["witnesses"])]
        self.needed = len(self.witnesses) if witnesses else int(policy["needed"])
        self.question = self.manifest["question"]
        for moment in (self.question["from"], self.question["to"]):
            if moment is not None and not TIME.match(moment):
                raise Broken("bad-file", "manifest.json")
        self.entries: list[Entry] = []
        self.answers: list[Entry] = []
        self.heads: list[Signed] = []

    def tell(self, key: str, *values: Any) -> None:
        """Note a finding."""
        self.told.append((key, list(values)))

    def check(self) -> None:
        """Run every check, in the order of the README."""
        if self.pinned and any(k not in self.pinned for k in self.keys):
            raise Broken("bad-key")
        complete = self.manifest["kind"] == COMPLETE
        for place, part in enumerate(self.manifest["parts"]):
            folder = str(part["folder"])
            self.heads.append(self.head(folder, self.keys[place]))
            entries = (self.whole if complete else self.single)(place, folder, part)
            self.entries += entries
            self.singles(folder, part, entries)
        if complete:
            self.borders()
        else:
            self.tell("partial")
        self.listed()
        if self.pinned:
            self.tell("pinned")
        else:
            for key in self.keys:
                self.tell("key", key.vkey)

    def head(self, folder: str, key: Key) -> Signed:
        """Check the signatures of a part's checkpoint."""
        data = self.files.read(folder + "/checkpoint")
        try:
            head = open_checkpoint(data, key, self.witnesses)
        except ValueError:
            raise Broken("bad-signature") from None
        self.tell("log", head.origin, head.size)
        if len({parse_key(k).public for k in head.cosigned}) < self.needed:
            raise Broken("few-witnesses", len(head.cosigned), self.needed)
        for vkey, seconds in sorted(head.cosigned.items()):
            when = datetime.fromtimestamp(seconds, timezone.utc)  # noqa: UP017 - Python 3.8
            self.tell("seen", parse_key(vkey).name, when.strftime("%Y-%m-%dT%H:%M:%SZ"))
        return head

    def whole(self, place: int, folder: str, part: dict[str, Any]) -> list[Entry]:
        """Check a contiguous range of entries against the root."""
        head, lo = self.heads[place], int(part["lo"])
        try:
            data = unpack(self.files.read(folder + "/entries.bin"))
            hashes = [b64(h) for h in self.files.json(folder + "/proof.json")["hashes"]]
            root = root_from_range([leaf_hash(d) for d in data], lo, head.size, hashes)
            if part["hi"] != lo + len(data):
                raise Broken("bad-file", "manifest.json")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Broken("bad-root") from None
        if root != head.root:
            raise Broken("bad-root")
        self.tell("range", lo, lo + len(data) - 1)
        return [load_entry(place, lo + i, d) for i, d in enumerate(data)]

    def single(self, place: int, folder: str, part: dict[str, Any]) -> list[Entry]:
        """Read entries that stand alone, each with its own proof."""
        indices = [int(i) for i in part["proofs"]]
        found = [(i, self.files.read(f"{folder}/entries/{i}.json")) for i in indices]
        self.tell("single", len(found))
        return [load_entry(place, i, data) for i, data in found]

    def singles(self, folder: str, part: dict[str, Any], entries: list[Entry]) -> None:
        """Check the tlog-proof files of a part."""
        known = {e.n: e for e in entries}
        for index in part["proofs"]:
            if index not in known or not self.proof_holds(folder, known[index]):
                raise Broken("bad-proof", index)
        self.tell("proofs", len(part["proofs"]))

    def proof_holds(self, folder: str, entry: Entry) -> bool:
        """Check one tlog-proof against the part's checkpoint."""
        head = self.heads[entry.part]
        data = self.files.read(f"{folder}/proofs/{entry.n}.tlog-proof").decode("utf-8")
        top, _, note = data.partition("\n\n")
        lines = top.split("\n")
        if lines[:2] != ["c2sp.org/tlog-proof@v1", f"index {entry.n}"]:
            return False
        same = note.encode() == self.files.read(folder + "/checkpoint")
        proof = [b64(line) for line in lines[2:]]
        leaf = leaf_hash(entry.data)
        return same and inclusion_holds(leaf, entry.n, head.size, proof, head.root)

    def borders(self) -> None:
        """Check that the range reaches past both ends of the period, over every log in between."""
        first, last = self.entries[0], self.entries[-1]
        since, until = self.question.get("from"), self.question.get("to")
        starts = first.n == 0 and previous(first) is None
        if not (starts or (since and first.at < since)):
            raise Broken("bad-start")
        ends = last.n == self.heads[-1].size - 1 and not until
        if not (ends or (until and last.at > until)):
            raise Broken("bad-end")
        for earlier, later in zip(self.entries, self.entries[1:]):  # noqa: B905 - Python 3.8
            if earlier.part != later.part:
                self.chained(earlier, later)
            if later.at < earlier.at:
                self.tell("clock", later.n)
        self.tell("borders")

    def chained(self, earlier: Entry, later: Entry) -> None:
        """Check that a log starts with the final checkpoint of the one before, which named it."""
        head, key = self.heads[earlier.part], self.keys[later.part]
        ends = earlier.n == head.size - 1 and later.n == 0
        if following(earlier) != (key.name, key.vkey):
            raise Broken("bad-chain")
        if not ends or previous(later) != (head.origin, head.size, head.root.hex()):
            raise Broken("bad-chain")
        self.tell("chain")

    def listed(self) -> None:
        """Check that the list is exactly what answers the question."""
        inside = [i for i, e in enumerate(self.entries) if in_period(e, self.question)]
        if inside and self.manifest["kind"] == COMPLETE:
            # The order of the log decides: an entry that stands between two of the period is of
            # the period, whatever a clock that was set back wrote on it.
            inside = list(range(inside[0], inside[-1] + 1))
        self.answers = [self.entries[i] for i in inside if matches(self.entries[i], self.question)]
        found = [e.data for e in self.answers]
        said = self.files.read("accesses.ndjson").split(b"\n")
        if said[-1] or said[:-1] != found or self.manifest["matches"] != len(found):
            raise Broken("bad-list")
        self.tell("list", len(found))


def row(entry: Entry) -> list[str]:
    """Return the columns people read; a cell never starts a formula."""
    values = [entry.at, *(str(entry.value.get(c, "") or "") for c in COLUMNS[1:])]
    return [str(entry.n), *("'" + v if v[:1] in "=+-@\t\r" and v else v for v in values)]


def write_csv(path: Path, evidence: Evidence) -> None:
    """Write the list for a spreadsheet."""
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.writer(stream)
        writer.writerow(["index", *COLUMNS])
        writer.writerows(row(e) for e in evidence.answers)


def examine(path: str, keys: list[str], witnesses: list[str]) -> tuple[Evidence | None, list[Any]]:
    """Check the evidence; return it and the reason against it (empty: it holds)."""
    evidence = None
    if not Path(path).exists():
        return None, ["no-file", path]
    try:
        evidence = Evidence(Files(path), keys, witnesses)
        evidence.check()
    except Broken as reason:
        return evidence, list(reason.args)
    except UNREADABLE as error:
        return evidence, ["bad-file", type(error).__name__]
    return evidence, []


def show(evidence: Evidence | None, reason: list[Any], language: str) -> str:
    """Write the findings and the answer for people."""
    text = TEXT[language]
    lines = []
    if evidence is not None:
        lines.append(text["question"].format(asked(evidence.question)))
        lines += ["  - " + text[key].format(*values) for key, values in evidence.told]
    if reason:
        lines.append("  ! " + text[reason[0]].format(*reason[1:]))
    lines.append(text["invalid" if reason else "valid"])
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Run the program; 0 means the evidence holds, 1 that it does not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("path", nargs="?", default=str(Path(__file__).resolve().parent))
    parser.add_argument("--key", action="append", default=[], metavar="VKEY")
    parser.add_argument("--witness", action="append", default=[], metavar="VKEY")
    parser.add_argument("--lang", choices=sorted(TEXT), default="pt")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--csv", metavar="FILE", help="write the list as CSV if it holds")
    options = parser.parse_args(arguments)
    evidence, reason = examine(options.path, options.key, options.witness)
    if options.json:
        told = evidence.told if evidence else []
        answer = {"ok": not reason, "reason": reason, "findings": [[k, *v] for k, v in told]}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False, sort_keys=True) + "\n")
    else:
        sys.stdout.write(show(evidence, reason, options.lang))
    if options.csv and evidence and not reason:
        write_csv(Path(options.csv), evidence)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # a text stream here
    sys.exit(main(sys.argv[1:]))
