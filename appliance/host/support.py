"""The support bundle: what helps to find a fault, and nothing about anybody.

Everything is chosen, never copied whole: settings lose their free texts, the log gives positions,
actions and numbers only. Before the file gets its name every byte is read once more for what must
not leave; when something is found there is no bundle.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import platform
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from appliance.audit.guard import reason_against
from appliance.core.canonical import sha256_hex
from appliance.core.clock import Clock, rfc3339
from appliance.core.durable import read_json, write_bytes
from appliance.core.errors.host import SupportBundleError
from appliance.core.home import Home
from appliance.core.settings import Settings

_HASH = re.compile(r"[0-9a-f]{64}\Z")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,40}\Z")
_WORD = re.compile(r"[a-z0-9][a-z0-9._:+/-]{0,63}\Z", re.IGNORECASE)
_OWN_WORDS = frozenset({"stage", "key", "started", "finished", "status"})
_STAGE_KEYS = ("format", "stage", "key", "started", "finished", "seconds", "outputs")
_SECRET_FILES = 64 * 1024  # bytes of a key file that are looked for in the bundle
_MIN_SECRET = 12  # characters below which a line of a key file is no secret
_PACKAGES = (
    "hospital-ai-appliance", "ansible-core", "cryptography", "docker", "fastapi",
    "llama-cpp-python", "pydantic", "tuf",
)  # fmt: skip


def write_bundle(
    home: Home, settings: Settings, target: Path, health: dict[str, Any], clock: Clock
) -> dict[str, Any]:
    """Write the bundle to ``target``; raise :class:`SupportBundleError` rather than leak."""
    limit = settings.host.bundle_file_max_bytes
    members = {
        "versions.json": versions(),
        "settings.json": redacted(settings.model_dump(mode="json")),
        "doctor.json": {
            "ok": health["ok"],
            "checks": [{"name": c["name"], "ok": c["ok"]} for c in health["checks"]],
        },
        "stages.json": list(_stages(home)),
        "machine.json": _machine(home, settings),
        "log-tail.json": log_tail(home, settings.host.bundle_log_lines),
    }
    encoded = {
        name: json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode()[:limit]
        for name, value in members.items()
    }
    encoded["README.txt"] = _readme(encoded, rfc3339(clock.now())).encode()
    forbid(encoded, secrets_of(home))
    data = _tar(encoded, int(clock.now().timestamp()))
    write_bytes(target, data, mode=0o600)
    return {"file": str(target), "bytes": len(data), "sha256": sha256_hex(data)}


def versions() -> dict[str, str]:
    """Return the versions of what runs here; no host name."""
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def redacted(value: Any, name: str = "") -> Any:
    """Return settings with numbers, switches and short words; texts and addresses as a mark."""
    if isinstance(value, dict):
        return {key: redacted(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return f"[{len(value)} values]" if value else []
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = str(value)
    return text if not text or _harmless(name, text) else "[set]"


_OPEN_FIELDS = frozenset(
    {"profile", "client_system_prompt", "data_label", "timezone", "language", "hook"}
)


def _harmless(name: str, text: str) -> bool:
    return name in _OPEN_FIELDS and bool(_WORD.match(text)) and reason_against(text) is None


def _stages(home: Home) -> Iterator[dict[str, Any]]:
    """Yield the stage records of the pipeline: names, hashes, numbers."""
    folder = home.runs / "stages"
    for path in sorted(folder.glob("**/*.json")) if folder.is_dir() else ():
        try:
            value = read_json(path)
        except Exception:  # noqa: BLE001, S112 - a damaged record is doctor's business, not ours
            continue
        if isinstance(value, dict):
            yield {key: _plain(value[key], key) for key in _STAGE_KEYS if key in value}


def _plain(value: Any, name: str = "") -> Any:
    """Keep numbers, content hashes and the words of our own fields; texts become their length."""
    if isinstance(value, dict):
        return {str(k): _plain(v, str(k)) for k, v in value.items() if _FIELD.match(str(k))}
    if isinstance(value, list):
        return [_plain(v) for v in value[:50]]
    if isinstance(value, str):
        ours = name in _OWN_WORDS and _WORD.match(value) is not None
        return value if ours or _HASH.match(value) else f"[{len(value)} characters]"
    return value if isinstance(value, bool | int | float) else None


def _machine(home: Home, settings: Settings) -> dict[str, Any]:
    """Return the hardware's own redacted recording of this machine, as texts."""
    from appliance.hardware.check import probe_machine
    from appliance.hardware.redact import redact

    probes = probe_machine(settings.hardware)
    hosts = tuple({platform.node(), platform.node().split(".")[0]} - {""})
    keep = ("cpuinfo", "meminfo", "version", "lsblk", "pci", "nvidia-smi", "os-release")
    return {
        name: redact(probes.read(name).text, hosts)[:20_000]
        for name in probes.names()
        if name in keep and str(home.root) not in probes.read(name).text
    }


def log_tail(home: Home, count: int) -> list[dict[str, Any]]:
    """Return the last entries as position, time, action, phase, outcome, component, numbers."""
    from appliance.audit.evidence import Part
    from appliance.audit.layout import shards

    found: list[dict[str, Any]] = []
    for shard in shards(home.audit)[-1:]:
        if not shard.checkpoint.is_file():
            continue
        part = Part(shard)
        for index, entry in part.entries(max(part.first, part.size - count), part.size):
            found.append(_entry(index, json.loads(entry)))
    return found


def _entry(index: int, event: dict[str, Any]) -> dict[str, Any]:
    kept = {
        key: event[key]
        for key in ("time", "phase", "action", "outcome", "component")
        if key in event
    }
    numbers = {
        key: value
        for key, value in (event.get("detail") or {}).items()
        if isinstance(value, bool | int | float)
    }
    reason = event.get("reason")
    return {
        "index": index,
        **{key: value for key, value in kept.items() if _WORD.match(str(value))},
        "numbers": numbers,
        **({"reason": reason} if isinstance(reason, str) and _WORD.match(reason) else {}),
    }


def secrets_of(home: Home) -> set[str]:
    """Return every line of every key file of the home: none of them may be in a bundle."""
    found: set[str] = set()
    folders = [home.keys, home.audit / "keys"]
    for path in (p for folder in folders if folder.is_dir() for p in folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                data = stream.read(_SECRET_FILES)
            found |= {data.hex()} if len(data) <= 64 else set()  # noqa: PLR2004 - a raw key
            text = data.decode("utf-8", "ignore")
            found |= {line.strip() for line in text.splitlines()}
            found |= set(re.findall(r"[A-Za-z0-9+/=_-]{24,}", text))
    return {secret for secret in found if len(secret) >= _MIN_SECRET and " " not in secret}


def forbid(members: dict[str, bytes], secrets: Iterable[str]) -> None:
    """Raise when a member holds a secret, an identifier of a person, an address or a host name."""
    needles = set(secrets) | {platform.node()} - {"", "localhost"}
    for name, data in members.items():
        text = data.decode("utf-8", "replace")
        if any(needle in text for needle in needles if len(needle) > 3):  # noqa: PLR2004 - "pc1" is in words
            _refuse(name, "a secret or this machine's name")
        for line in text.splitlines():
            for value in re.findall(r'"((?:[^"\\]|\\.)*)"', line):
                reason = reason_against(value[:256])
                if reason is not None and "characters" not in reason and "words" not in reason:
                    _refuse(name, reason)


def _refuse(name: str, what: str) -> None:
    raise SupportBundleError(expected="nothing that must not leave", found=f"{what} in {name}")


def _readme(members: dict[str, bytes], when: str) -> str:
    lines = [f"{sha256_hex(data)}  {name}" for name, data in sorted(members.items())]
    return (
        f"Support bundle of {when}. It holds no patient's text, no name, no key and no address.\n"
        "Read every file before you hand it over.\n\n" + "\n".join(lines) + "\n"
    )


def _tar(members: dict[str, bytes], when: int) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(members.items()):
            info = tarfile.TarInfo(f"support/{name}")
            info.size, info.mtime, info.mode = len(data), when, 0o600
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=when)
