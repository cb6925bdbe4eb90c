"""What both standalone programs share: Ed25519, RFC 6962, signed notes. Standard library only.

The Ed25519 code follows RFC 8032 sections 5.1 and 6. It checks public data and, on an officer's
own device, signs one checkpoint at a time; it is not constant in time and must not be used where
others can measure it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Tuple  # noqa: UP035 - Python 3.8 evaluates the alias below

# --- Ed25519 (RFC 8032) -------------------------------------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
Point = Tuple[int, int, int, int]  # noqa: UP006 - Python 3.8 evaluates this at run time
HASH_BYTES = 32
CHECKPOINT_LINES = 3
KEY_BYTES = 32
SIGNATURE_BYTES = 64
COSIGNATURE_BYTES = 72
LOG_KEY, WITNESS_KEY = 1, 4


def _add(a: Point, b: Point) -> Point:
    left = (a[1] - a[0]) * (b[1] - b[0]) % P
    right = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _times(k: int, point: Point) -> Point:
    result: Point = (0, 1, 1, 0)
    while k:
        if k & 1:
            result = _add(result, point)
        point = _add(point, point)
        k >>= 1
    return result


def _same(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def _recover_x(y: int, sign: int) -> int | None:
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if square == 0:
        return None if sign else 0
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_M1 % P
    if (x * x - square) % P:
        return None
    return P - x if (x & 1) != sign else x


_BASE_Y = 4 * pow(5, P - 2, P) % P
_BASE_X = _recover_x(_BASE_Y, 0) or 0
BASE: Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)


def _compress(point: Point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | ((x & 1) << 255)).to_bytes(32, "little")


def _decompress(data: bytes) -> Point | None:
    number = int.from_bytes(data, "little")
    y = number & ((1 << 255) - 1)
    x = _recover_x(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def _sha512_number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little") % L


def _secret(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    number = int.from_bytes(digest[:32], "little")
    return (number & ((1 << 254) - 8)) | (1 << 254), digest[32:]


def ed25519_public(seed: bytes) -> bytes:
    """Return the public key of a 32-byte seed."""
    return _compress(_times(_secret(seed)[0], BASE))


def ed25519_sign(seed: bytes, message: bytes) -> bytes:
    """Sign ``message`` with the key made from ``seed``."""
    scalar, prefix = _secret(seed)
    public = _compress(_times(scalar, BASE))
    r = _sha512_number(prefix + message)
    point = _compress(_times(r, BASE))
    s = (r + _sha512_number(point + public + message) * scalar) % L
    return point + s.to_bytes(32, "little")


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Say whether ``signature`` is that of ``message`` by the key ``public``."""
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    key, r = _decompress(public), _decompress(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= L or _same(_times(8, key), (0, 1, 1, 0)):
        return False
    h = _sha512_number(signature[:32] + public + message)
    return _same(_times(s, BASE), _add(r, _times(h, key)))


# --- RFC 6962 -----------------------------------------------------------------------------------


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(start: int, end: int) -> int:
    return start + (1 << ((end - start - 1).bit_length() - 1))


def root_from_range(leaves: Sequence[bytes], lo: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes standing from ``lo``; ``proof`` is used up."""
    hi = lo + len(leaves)
    if not 0 <= lo < hi <= size:
        raise ValueError("range")
    rest: Iterator[bytes] = iter(proof)

    def root(start: int, end: int) -> bytes:
        if end <= lo or start >= hi:
            value = next(rest, b"")
            if len(value) != HASH_BYTES:
                raise ValueError("proof")
            return value
        if end - start == 1:
            return leaves[start - lo]
        middle = _split(start, end)
        left = root(start, middle)
        return node_hash(left, root(middle, end))

    result = root(0, size)
    if next(rest, None) is not None:
        raise ValueError("proof")
    return result


def inclusion_holds(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether the audit path ``proof`` leads from ``leaf`` at ``index`` to ``root``."""
    if not 0 <= index < size or len(leaf) != HASH_BYTES:
        return False
    sides: list[bool] = []
    start, end = 0, size
    while end - start > 1:
        middle = _split(start, end)
        right = index >= middle
        sides.append(right)
        start, end = (middle, end) if right else (start, middle)
    if len(sides) != len(proof):
        return False
    value = leaf
    for right, sibling in zip(reversed(sides), proof):  # noqa: B905 - no strict= in Python 3.8; lengths agree
        if len(sibling) != HASH_BYTES:
            return False
        value = node_hash(sibling, value) if right else node_hash(value, sibling)
    return value == root


def consistency_holds(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> bool:
    """Say whether ``proof`` shows that the larger tree extends the smaller (RFC 6962, 2.1.2)."""
    if not 0 < old <= new or any(len(value) != HASH_BYTES for value in proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    rest: Iterator[bytes] = iter(proof)
    sides: list[bool] = []
    start, end = 0, new
    while end != old:
        middle = _split(start, end)
        right = old > middle
        sides.append(right)
        start, end = (middle, end) if right else (start, middle)
    first = second = old_root if start == 0 else next(rest, b"")
    for right in reversed(sides):
        sibling = next(rest, b"")
        second = node_hash(sibling, second) if right else node_hash(second, sibling)
        if right:
            first = node_hash(sibling, first)
    return next(rest, None) is None and first == old_root and second == new_root


# --- signed notes (c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature) -----------------------


class Key(NamedTuple):
    """A verifier key: type 1 is a log, type 4 a witness."""

    name: str
    kind: int
    public: bytes

    @property
    def ident(self) -> bytes:
        """The four-byte key ID."""
        head = self.name.encode() + b"\n" + bytes([self.kind])
        return hashlib.sha256(head + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """The key as one line of text."""
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.ident.hex()}+{encoded}"


class Signed(NamedTuple):
    """A checkpoint whose log signature was checked, and the witnesses that cosigned it."""

    text: str
    origin: str
    size: int
    root: bytes
    cosigned: dict[str, int]  # witness key -> POSIX time


def b64(text: str) -> bytes:
    """Decode canonical base64; raise ``ValueError``."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("base64") from None
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64")
    return data


def number(text: str) -> int:
    """Read a decimal without leading zeroes; raise ``ValueError``."""
    if not re.match(r"(0|[1-9][0-9]{0,18})\Z", text):
        raise ValueError("number")
    return int(text)


def parse_key(vkey: str) -> Key:
    """Read ``name+hash+base64``; raise ``ValueError``."""
    parts = vkey.strip().split("+", 2)
    data = b64(parts[-1])
    key = Key(parts[0], data[0] if data else 0, data[1:])
    if (
        key.kind not in (LOG_KEY, WITNESS_KEY)
        or len(key.public) != KEY_BYTES
        or [key.name, key.ident.hex()] != parts[:2]
    ):
        raise ValueError("key")
    return key


def cosigned_message(text: str, seconds: int) -> bytes:
    """Return what a witness signs."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _holds(key: Key, text: str, value: bytes) -> int | None:
    """Return the time of a true signature (0 for the log's own), None for a false one."""
    if key.kind == LOG_KEY:
        return 0 if ed25519_verify(key.public, text.encode(), value) else None
    seconds = int.from_bytes(value[:8], "big")
    good = len(value) == COSIGNATURE_BYTES and ed25519_verify(
        key.public, cosigned_message(text, seconds), value[8:]
    )
    return seconds if good else None


def open_checkpoint(data: bytes, log: Key, witnesses: Sequence[Key]) -> Signed:
    """Parse a signed checkpoint and check every signature of a known key; raise ``ValueError``."""
    text, separator, block = data.decode("utf-8").rpartition("\n\n")
    lines = text.split("\n")
    if not separator or not block.endswith("\n") or len(lines) < CHECKPOINT_LINES or not all(lines):
        raise ValueError("checkpoint")
    text += "\n"
    times: dict[Key, int] = {}
    for line in block[:-1].split("\n"):
        mark, name, encoded = [*line.split(" "), "", ""][:3]
        value = b64(encoded)
        for key in (log, *witnesses):
            if mark == "\u2014" and (name, value[:4]) == (key.name, key.ident):
                seconds = _holds(key, text, value[4:])
                if seconds is None:
                    raise ValueError("signature")
                times[key] = seconds
    root = b64(lines[2])
    if log not in times or lines[0] != log.name or len(root) != HASH_BYTES:
        raise ValueError("signature")
    seen = {k.vkey: t for k, t in times.items() if k.kind == WITNESS_KEY and k.public != log.public}
    return Signed(text, lines[0], number(lines[1]), root, seen)
