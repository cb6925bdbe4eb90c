#!/usr/bin/python3
"""Verify the appliance's medium before anything on it is believed. Plain Python 3, no packages.

    sha256sum verify_bundle.py                 # compare with the paper first
    python3 -I verify_bundle.py MEDIUM --fingerprint "ab12 cd34 ..." --date 2026-06-01

It reads MEDIUM and runs nothing from it. It writes nothing, unless --into names an empty folder:
then, after VERIFIED, what a first installation needs (no weights, no images), each block proven
again by the read that copies it. Exit code 0: every byte is signed and nothing else lies there.
1: no. 2: used wrongly. What it checks, in the order of TUF 5.3 to 5.7:
the root whose SHA-256 is on paper, each newer root (signed by the threshold of the one before
and by its own), timestamp, snapshot, targets (signatures, hashes, versions, dates), then the
length and SHA-256 of every block, then that no file, link or device lies there unlisted.
"""

# One file that people read before they trust it: prints, plain os calls, numbers of the RFC,
# and no syntax newer than Python 3.9, so that any rescue system can run it.
# ruff: noqa: T201, PLR2004, PTH103, PTH110, PTH114, PTH118, PTH120, PTH123, PTH208, DTZ007, UP017, ICN001, B905

from __future__ import annotations

import argparse
import datetime
import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    Point = tuple[int, int, int, int]

CAPS = {"root": 512000, "timestamp": 16384, "snapshot": 2000000, "targets": 5000000}
MAX_ROTATIONS = 256
TOLERATED = (
    "lost+found",
    "System Volume Information",
    "$RECYCLE.BIN",
    ".Trash-1000",
    ".Trashes",
    ".Spotlight-V100",
    ".fseventsd",
)
STEP = 1 << 20
HEX64 = re.compile(r"[0-9a-f]{64}")
PART = re.compile(r"[A-Za-z0-9._+@=,~!-][A-Za-z0-9 ._+@=,~!-]*")


class RefusedError(Exception):
    """The answer is no."""


# Ed25519 (RFC 8032, 5.1.7), verification only: nothing secret, so plain integers are enough.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_M1 = pow(2, (P - 1) // 4, P)


def _recover(y: int, sign: int) -> int | None:
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT_M1 % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def _point(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    x = _recover(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


def _add(p: Point, q: Point) -> Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _times(n: int, p: Point) -> Point:
    q = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = _add(q, p)
        p = _add(p, p)
        n >>= 1
    return q


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = _recover(BASE_Y, 0) or 0
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def ed25519_ok(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the signature is good."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r = _point(public), _point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    left, right = _times(s, BASE), _add(r, _times(h, a))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    return same_x and (left[1] * right[2] - right[1] * left[2]) % P == 0


# ECDSA keys live on PKCS#11 tokens; openssl checks their signatures (FIPS 186-5).
DIGESTS = {"ecdsa-sha2-nistp256": "-sha256", "ecdsa-sha2-nistp384": "-sha384"}


def ecdsa_ok(scheme: str, pem: str, message: bytes, signature: bytes) -> bool:
    """Return whether openssl calls the signature good; the key is a PEM public key."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{folder}/{n}" for n in ("key.pem", "signature", "message")]
        for name, data in zip(names, (pem.encode(), signature, message)):
            with open(name, "wb") as stream:
                stream.write(data)
        key, sig, text = names
        argv = ["openssl", "dgst", DIGESTS[scheme], "-verify", key, "-signature", sig, text]
        try:
            done = subprocess.run(argv, capture_output=True, check=False)
        except OSError:
            raise RefusedError("openssl is needed to check a key from a token") from None
        return done.returncode == 0


def canonical(value: Any) -> str:
    """Encode as OLPC canonical JSON, the form TUF signs."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(canonical(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(canonical(k) + ":" + canonical(value[k]) for k in sorted(value)) + "}"
    raise RefusedError("metadata holds a number that is not whole")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [k for k, _ in pairs]
    if len(keys) != len(set(keys)):
        raise RefusedError("metadata holds a key twice")
    return dict(pairs)


def check_path(path: str) -> str:
    """Refuse every path that is not plain and relative."""
    parts = path.split("/")
    bad = not path or len(path) > 240 or path.startswith("/")
    if bad or any(p in {"", ".", ".."} or not PART.fullmatch(p) for p in parts):
        raise RefusedError("a signed path is not plain: " + ascii(path[:80]))
    return path


def opened(root: str, path: str) -> io.FileIO:
    """Open a regular file below ``root`` without following any link."""
    parts = path.split("/")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise RefusedError("not a regular file: " + path)
    return os.fdopen(fd, "rb", buffering=0)


class Medium:
    """The medium, its metadata as read once, and what is listed."""

    def __init__(self, root: str, now: datetime.datetime) -> None:
        """Read the medium at ``root`` as of ``now``."""
        self.root, self.now = root, now
        self.listed: set[str] = set()

    def small(self, path: str, cap: int) -> bytes:
        """Read a small file; more than ``cap`` bytes are refused (endless data)."""
        try:
            with opened(self.root, path) as stream:
                data = b""
                while piece := stream.read(65536):
                    data += piece
                    if len(data) > cap:
                        raise RefusedError(f"{path} is longer than {cap} bytes")
        except OSError as error:
            raise RefusedError(f"{path} cannot be read: {error.strerror}") from None
        self.listed.add(path)
        return data


def parse(data: bytes, kind: str) -> tuple[dict[str, Any], list[Any]]:
    """Read metadata of one kind."""
    try:
        envelope = json.loads(data.decode(), object_pairs_hook=_once)
        signed = envelope["signed"]
        if signed["_type"] != kind or not isinstance(signed["version"], int):
            raise RefusedError(f"not {kind} metadata")
        return signed, envelope["signatures"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RefusedError(f"the {kind} metadata cannot be read") from None


def threshold(root: Any, role: str, signed: Any, signatures: list[Any], what: str) -> None:
    """Refuse unless enough different keys of ``role`` in ``root`` signed."""
    try:
        keyids = root["roles"][role]["keyids"]
        wanted = root["roles"][role]["threshold"]
        message = canonical(signed).encode()
        good = set()
        for signature in signatures:
            keyid = signature["keyid"]
            if keyid not in keyids or keyid in good or keyid not in root["keys"]:
                continue
            key = root["keys"][keyid]
            raw = bytes.fromhex(signature["sig"])
            public = key["keyval"]["public"]
            if key["scheme"] == "ed25519":
                ok = ed25519_ok(bytes.fromhex(public), message, raw)
            else:
                ok = key["scheme"] in DIGESTS and ecdsa_ok(key["scheme"], public, message, raw)
            if ok:
                good.add(keyid)
    except (KeyError, TypeError, ValueError):
        raise RefusedError(f"{what}: the keys or signatures cannot be read") from None
    if not isinstance(wanted, int) or wanted < 1 or len(good) < wanted:
        raise RefusedError(f"{what} has {len(good)} good signatures, {wanted} are wanted")


def not_expired(signed: dict[str, Any], now: datetime.datetime, what: str) -> None:
    """Refuse what is past its date."""
    try:
        until = datetime.datetime.strptime(signed["expires"], "%Y-%m-%dT%H:%M:%SZ")
    except (KeyError, TypeError, ValueError):
        raise RefusedError(f"{what} has no date") from None
    if now >= until:
        raise RefusedError(f"{what} expired on {until:%Y-%m-%d} (judged on {now:%Y-%m-%d})")


def roots(medium: Medium, wanted: str | None) -> tuple[dict[str, Any], str, bool]:
    """Find the root that is on paper and walk to the newest one."""
    folder = os.path.join(medium.root, "metadata")
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise RefusedError(f"metadata/ cannot be read: {error.strerror}") from None
    versions = sorted(
        int(n[:-10]) for n in names if n.endswith(".root.json") and n[:-10].isdecimal()
    )
    if not versions or len(versions) > MAX_ROTATIONS:
        raise RefusedError("no root on the medium, or too many")
    data = {v: medium.small(f"metadata/{v}.root.json", CAPS["root"]) for v in versions}
    if versions != list(range(versions[0], versions[-1] + 1)):
        raise RefusedError("a root version is missing between others")
    prints = {v: hashlib.sha256(d).hexdigest() for v, d in data.items()}
    previous: dict[str, Any] = {}
    for version in versions:
        signed, signatures = parse(data[version], "root")
        if signed["version"] != version:
            raise RefusedError(f"{version}.root.json says it is another version")
        threshold(signed, "root", signed, signatures, f"root {version}")
        if previous:
            threshold(previous, "root", signed, signatures, f"root {version} by the one before")
        previous = signed
    anchored = wanted is not None and wanted in prints.values()
    if wanted is not None and not anchored:
        raise RefusedError("no root on the medium has the fingerprint you gave")
    not_expired(previous, medium.now, "the root")
    return previous, prints[versions[0]], anchored


def linked(medium: Medium, meta: dict[str, Any], path: str, cap: int) -> bytes:
    """Read a metadata file and check it against the file above it."""
    data = medium.small(path, min(cap, meta.get("length", cap)))
    hashes = meta.get("hashes", {})
    if hashlib.sha256(data).hexdigest() != hashes.get("sha256") or len(data) != meta.get("length"):
        raise RefusedError(
            f"{path} is not what the file above it names: two releases mixed, or damage"
        )
    return data


def targets(medium: Medium, root: dict[str, Any]) -> dict[str, Any]:
    """Return the signed list of files."""
    stamp, signatures = parse(
        medium.small("metadata/timestamp.json", CAPS["timestamp"]), "timestamp"
    )
    threshold(root, "timestamp", stamp, signatures, "the timestamp")
    not_expired(stamp, medium.now, "the timestamp")
    current = stamp
    for kind in ("snapshot", "targets"):
        meta = current["meta"][f"{kind}.json"]
        path = f"metadata/{int(meta['version'])}.{kind}.json"
        signed, signatures = parse(linked(medium, meta, path, CAPS[kind]), kind)
        threshold(root, kind, signed, signatures, f"the {kind}")
        not_expired(signed, medium.now, f"the {kind}")
        if signed["version"] != meta["version"]:
            raise RefusedError(f"the {kind} is another version than named")
        current = signed
    if "delegations" in current:
        raise RefusedError("delegations are not used by this format")
    listing: dict[str, Any] = current["targets"]
    return listing


def blocks(listing: dict[str, Any]) -> Iterator[tuple[str, int, str, str]]:
    """Yield (path, length, sha256, what) for each block that must lie on the medium."""
    for path, target in sorted(listing.items()):
        check_path(path)
        custom = target.get("custom", {})
        length, whole = target["length"], target["hashes"]["sha256"]
        size = custom.get("chunk_bytes", max(length, 1))
        hashes, absent = custom.get("chunks", [whole]), set(custom.get("absent", []))
        if size < 1 or len(hashes) != max(1, -(-length // size)):
            raise RefusedError(f"the block list of {path} does not cover it")
        for number, name in enumerate(hashes):
            if not HEX64.fullmatch(name):
                raise RefusedError(f"the block list of {path} cannot be read")
            if number in absent:
                continue
            where = path if custom.get("plain") is True else f"chunks/{name[:2]}/{name}"
            start = number * size
            yield where, min(size, length - start), name, f"{path} from byte {start}"


def prove(medium: Medium, path: str, length: int, wanted: str) -> str | None:
    """Return why the block is not what was signed, or None."""
    digest, done = hashlib.sha256(), 0
    try:
        with opened(medium.root, path) as stream:
            while done < length:
                piece = stream.read(min(STEP, length - done))
                if not piece:
                    return f"it ends after {done} of {length} bytes"
                digest.update(piece)
                done += len(piece)
            if stream.read(1):
                return f"it goes on after {length} bytes"
    except RefusedError as error:
        return str(error)
    except OSError as error:
        return f"{error.strerror} at byte {done}"
    return None if digest.hexdigest() == wanted else "its SHA-256 differs"


def strangers(medium: Medium) -> Iterator[str]:
    """Yield what lies on the medium and is not listed."""
    folders = {p[:i] for p in medium.listed for i, c in enumerate(p) if c == "/"}
    for place, inner, names in os.walk(medium.root, onerror=_walk_error):
        base = os.path.relpath(place, medium.root).replace(os.sep, "/")
        base = "" if base == "." else base + "/"
        for name in list(inner):
            path = base + name
            link = os.path.islink(os.path.join(place, name))
            if not base and name in TOLERATED and not link:
                inner.remove(name)
            elif link or path not in folders:
                inner.remove(name)
                yield path
        for name in names:
            real = os.lstat(os.path.join(place, name))
            if base + name not in medium.listed or not stat.S_ISREG(real.st_mode):
                yield base + name


def _walk_error(error: OSError) -> None:
    raise RefusedError(f"a folder cannot be listed: {error.strerror}")


def copy_block(medium: Medium, block: tuple[str, int, str, str], out: Any) -> None:
    """Copy one block to ``out``; the bytes that are written are the bytes that were hashed."""
    path, length, wanted, what = block
    with opened(medium.root, path) as stream:
        data = bytearray()
        while len(data) < length and (piece := stream.read(min(STEP, length - len(data)))):
            data += piece
    if len(data) != length or hashlib.sha256(data).hexdigest() != wanted:
        raise RefusedError(f"{what} changed while it was copied; nothing of it may be used")
    out.write(data)


def take(medium: Medium, listing: dict[str, Any], into: str) -> None:
    """Write what a first installation needs below ``into``: content/ and metadata/targets.json."""
    if os.path.exists(into) and os.listdir(into):
        raise RefusedError("the folder of --into is not empty: " + ascii(into))
    files = 0
    for path, target in sorted(listing.items()):
        if path.startswith(("models/", "images/")) and path.endswith(
            (".tar", ".gguf", ".safetensors")
        ):
            continue
        if target.get("custom", {}).get("absent"):
            raise RefusedError("a difference medium; a first installation needs a whole one")
        name = os.path.join(into, "content", check_path(path))
        os.makedirs(os.path.dirname(name), mode=0o755, exist_ok=True)
        with open(name, "xb") as out:
            for block in blocks({path: target}):
                copy_block(medium, block, out)
        files += 1
    os.makedirs(os.path.join(into, "metadata"), mode=0o755)
    with open(os.path.join(into, "metadata", "targets.json"), "xb") as out:
        out.write(json.dumps({"signed": {"targets": listing}}, sort_keys=True).encode())
    print(f"{files} files written to {into}")


def run(options: argparse.Namespace) -> int:
    """Verify and print; return the exit code."""
    now = options.date or datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    wanted = re.sub(r"[\s:-]", "", options.fingerprint).lower() if options.fingerprint else None
    medium = Medium(options.medium, now)
    root, first, anchored = roots(medium, wanted)
    print("root fingerprint:", " ".join(first[i : i + 4] for i in range(0, 64, 4)))
    print("judged on:", now.date(), "(given)" if options.date else "(this machine's clock)")
    try:
        listing = targets(medium, root)
        wanted_blocks = list(blocks(listing))
    except (KeyError, TypeError, AttributeError):
        raise RefusedError("the signed lists cannot be read") from None
    seen, total, bad = set(), 0, 0
    for path, length, digest, what in wanted_blocks:
        medium.listed.add(path)
        if path in seen:
            continue
        seen.add(path)
        why = prove(medium, path, length, digest)
        if why is None:
            total += length
        else:
            bad += 1
            print(f"DAMAGED {path} ({what}): {why}")
    for path in strangers(medium):
        bad += 1
        print("UNLISTED", ascii(path))
    print(f"{len(seen)} blocks, {total} bytes proven, {bad} faults")
    if bad:
        raise RefusedError("do not use this medium; have it repaired from a second one")
    if not anchored:
        print("NOT YET TRUSTED: compare the fingerprint with the paper and give it: --fingerprint")
        return 1
    print("VERIFIED")
    if options.into:
        take(medium, listing, options.into)
    return 0


def day(text: str) -> datetime.datetime:
    """Read a date; argparse turns the error into words."""
    return datetime.datetime.strptime(text, "%Y-%m-%d")


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("medium")
    parser.add_argument("--fingerprint", help="the root's SHA-256 from paper")
    parser.add_argument("--date", type=day, help="today's date, YYYY-MM-DD, from a clock you trust")
    parser.add_argument("--into", help="an empty folder for what a first installation needs")
    try:
        return run(parser.parse_args(arguments))
    except RefusedError as error:
        print("REFUSED:", error)
        return 1
    except OSError as error:
        print("REFUSED:", error.strerror, "at", ascii(error.filename))
        return 1


if __name__ == "__main__":
    sys.exit(main())
