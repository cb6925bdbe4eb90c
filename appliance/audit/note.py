"""C2SP signed notes, checkpoints and cosignatures: what a log and its witnesses sign.

Specifications: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature. Two
signature types are known: 1 (Ed25519 over the note text) and 4 (Ed25519 cosignature/v1, which
also signs the time). Parsing is strict: one value has one spelling.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from appliance.audit.tree import HASH_BYTES, MAX_SIZE
from appliance.core.errors.audit import AuditNoteInvalidError

ED25519: Final = 1
COSIGNATURE: Final = 4
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
KEY_ID_BYTES: Final = 4
TIME_BYTES: Final = 8
MAX_NOTE_BYTES: Final = 64 * 1024  # a checkpoint has about 200 bytes; 64 kB holds 300 signatures
MAX_SIGNATURES: Final = 64  # signed-note: verifiers accept at least 16 and bound the number
MAX_TIME: Final = (1 << 63) - 1

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SKEY_PARTS: Final = 5


class Signer(Protocol):
    """Holds an Ed25519 private key, in a file, a TPM-sealed blob or an HSM."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key (RFC 8032)."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of an Ed25519 signature."""
        ...


class SeedSigner:
    """A key held in memory, made from its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @classmethod
    def generate(cls) -> SeedSigner:
        """Make a new key from the system's randomness."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of an Ed25519 signature."""
        return self._key.sign(message)


def b64decode(text: str) -> bytes:
    """Decode standard base64 in its one canonical spelling; raise ``ValueError``."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if b64encode(data) != text:
        raise ValueError("not canonical base64")
    return data


def b64encode(data: bytes) -> str:
    """Encode as standard base64."""
    return base64.b64encode(data).decode("ascii")


def parse_number(text: str) -> int:
    """Read an ASCII decimal without leading zeroes, at most 2**62; raise ``ValueError``."""
    if not _NUMBER.fullmatch(text) or int(text) > MAX_SIZE:
        raise ValueError("not a number without leading zeroes")
    return int(text)


def check_name(name: str) -> str:
    """Return ``name`` when it may name a key; raise ``ValueError`` (no spaces, no plus sign)."""
    if not name or "+" in name or any(c.isspace() or ord(c) < 32 for c in name):  # noqa: PLR2004 - ASCII control characters
        raise ValueError("a key name is not empty and has no space, plus sign or control character")
    return name


def key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    """Return the four bytes that, with the name, tell one key from another."""
    head = name.encode() + b"\n" + bytes([algorithm])
    return hashlib.sha256(head + public_key).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True)
class Verifier:
    """A public key that may sign notes: what a ``vkey`` string says."""

    name: str
    public_key: bytes
    algorithm: int = ED25519

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Read ``name+hash+base64``; raise :class:`AuditNoteInvalidError`."""
        try:
            name, ident, encoded = vkey.strip().split("+", 2)
            data = b64decode(encoded)
            verifier = cls(check_name(name), data[1:], data[0] if data else 0)
        except ValueError as error:
            raise _bad("a verifier key like name+hash+key", str(error)) from error
        if verifier.algorithm not in {ED25519, COSIGNATURE} or len(data) != 1 + KEY_BYTES:
            raise _bad("an Ed25519 key (type 1) or witness key (type 4)", f"type {data[:1].hex()}")
        if verifier.key_id.hex() != ident:
            raise _bad("a hash that belongs to the name and the key", "another hash")
        return verifier

    @property
    def key_id(self) -> bytes:
        """The four-byte key ID."""
        return key_id(self.name, self.algorithm, self.public_key)

    @property
    def vkey(self) -> str:
        """The key as one line of text."""
        encoded = b64encode(bytes([self.algorithm]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def check(self, text: str, value: bytes) -> bool:
        """Say whether ``value`` (without its key ID) is this key's signature of ``text``."""
        message = text.encode()
        if self.algorithm == COSIGNATURE:
            if len(value) != TIME_BYTES + SIGNATURE_BYTES:
                return False
            seconds, value = int.from_bytes(value[:TIME_BYTES], "big"), value[TIME_BYTES:]
            if seconds > MAX_TIME:
                return False
            message = cosigned_message(text, seconds)
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(value, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def encode_skey(name: str, seed: bytes, algorithm: int = ED25519) -> str:
    """Write a private key as Go's note package does: ``PRIVATE+KEY+name+hash+base64``."""
    public = SeedSigner(seed).public_key
    ident = key_id(check_name(name), algorithm, public).hex()
    return f"PRIVATE+KEY+{name}+{ident}+{b64encode(bytes([algorithm]) + seed)}"


def parse_skey(skey: str) -> tuple[Verifier, SeedSigner]:
    """Read a private key string; raise :class:`AuditNoteInvalidError` without repeating it."""
    parts = skey.strip().split("+", _SKEY_PARTS - 1)
    try:
        verifier, signer = _parse_skey(parts)
    except ValueError as error:
        raise _bad("a signing key like PRIVATE+KEY+name+hash+key", str(error)) from None
    if verifier.key_id.hex() != parts[3]:
        raise _bad("a hash that belongs to the name and the key", "another hash")
    return verifier, signer


def _parse_skey(parts: list[str]) -> tuple[Verifier, SeedSigner]:
    if len(parts) != _SKEY_PARTS or parts[:2] != ["PRIVATE", "KEY"]:
        raise ValueError("another form")
    data = b64decode(parts[4])
    if len(data) != 1 + KEY_BYTES or data[0] not in {ED25519, COSIGNATURE}:
        raise ValueError("another key type")
    signer = SeedSigner(data[1:])
    return Verifier(check_name(parts[2]), signer.public_key, data[0]), signer


@dataclass(frozen=True)
class Signature:
    """One signature line of a note: who says it signed, and the bytes after the key ID."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"\u2014 {self.name} {b64encode(self.key_id + self.value)}\n"

    @property
    def time(self) -> int | None:
        """The POSIX time of a cosignature; None for another kind of signature."""
        if len(self.value) != TIME_BYTES + SIGNATURE_BYTES:
            return None
        return int.from_bytes(self.value[:TIME_BYTES], "big")

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Read a signature line without its newline; raise ``ValueError``."""
        mark, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        data = b64decode(encoded)
        if mark != "\u2014" or len(data) <= KEY_ID_BYTES:
            raise ValueError("not a signature line")
        return cls(check_name(name), data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


@dataclass(frozen=True)
class Note:
    """A parsed note. Nothing in it may be believed before :func:`verified` has looked at it."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note; raise :class:`AuditNoteInvalidError`."""
        try:
            return cls._parse(data)
        except ValueError as error:
            raise _bad("a signed note", str(error)) from None

    @classmethod
    def _parse(cls, data: bytes) -> Note:
        if len(data) > MAX_NOTE_BYTES:
            raise ValueError(f"more than {MAX_NOTE_BYTES} bytes")
        whole = data.decode("utf-8")
        if any(ord(c) < 32 and c != "\n" for c in whole):  # noqa: PLR2004 - ASCII control characters
            raise ValueError("a control character")
        text, separator, block = whole.rpartition("\n\n")
        if not separator or not block.endswith("\n"):
            raise ValueError("no signatures after an empty line")
        lines = block[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise ValueError(f"more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(Signature.parse(line) for line in lines))

    def encode(self) -> bytes:
        """Write the note."""
        return (self.text + "\n" + "".join(s.line for s in self.signatures)).encode()

    def with_signatures(self, more: Iterable[Signature]) -> Note:
        """Return the note with ``more`` signatures; a newer one of the same key replaces."""
        added = list(more)
        keys = {(s.name, s.key_id) for s in added}
        kept = [s for s in self.signatures if (s.name, s.key_id) not in keys]
        return Note(self.text, (*kept, *added))


def sign(text: str, name: str, signer: Signer) -> Signature:
    """Sign a note text with type 1; raise :class:`AuditNoteInvalidError` for an unfit text."""
    _check_text(text)
    ident = key_id(check_name(name), ED25519, signer.public_key)
    return Signature(name, ident, signer.sign(text.encode()))


def cosigned_message(text: str, seconds: int) -> bytes:
    """Return the bytes a cosignature/v1 signs: header, time, then the whole note text."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosign(text: str, name: str, signer: Signer, seconds: int) -> Signature:
    """Sign a checkpoint as a witness does: type 4, with the POSIX time."""
    _check_text(text)
    ident = key_id(check_name(name), COSIGNATURE, signer.public_key)
    value = signer.sign(cosigned_message(text, seconds))
    return Signature(name, ident, seconds.to_bytes(TIME_BYTES, "big") + value)


def verified(note: Note, keys: Sequence[Verifier]) -> list[tuple[Verifier, Signature]]:
    """Return the signatures of ``note`` by known keys, all checked.

    Signatures by other keys are ignored. Raises :class:`AuditNoteInvalidError` when a known key's
    signature is wrong, or when no known key signed.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: list[tuple[Verifier, Signature]] = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not key.check(note.text, signature.value):
            raise _bad(f"a true signature by {key.name}", "a signature that does not verify")
        found.append((key, signature))
    if not found:
        names = ", ".join(sorted({key.name for key in keys})) or "any key"
        raise _bad(f"a signature by {names}", "none by that key")
    return found


@dataclass(frozen=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note text that is signed."""
        lines = [self.origin, str(self.size), b64encode(self.root), *self.extensions]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note text; raise :class:`AuditNoteInvalidError`."""
        try:
            return cls._parse(text.split("\n"))
        except ValueError as error:
            raise _bad("a checkpoint: origin, size, root, one a line", str(error)) from None

    @classmethod
    def _parse(cls, lines: list[str]) -> Checkpoint:
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):  # noqa: PLR2004 - three lines, the end
            raise ValueError("other lines")
        root = b64decode(lines[2])
        if len(root) != HASH_BYTES:
            raise ValueError("a root that is not 32 bytes")
        return cls(lines[0], parse_number(lines[1]), root, tuple(lines[3:-1]))


def open_checkpoint(
    data: bytes, log_key: Verifier, witnesses: Sequence[Verifier] = ()
) -> tuple[Checkpoint, Note, list[tuple[Verifier, Signature]]]:
    """Parse a checkpoint and believe it only under ``log_key``; return its cosignatures too.

    Raises :class:`AuditNoteInvalidError`; the origin must be the log key's name.
    """
    note = Note.parse(data)
    found = verified(note, [log_key, *witnesses])
    checkpoint = Checkpoint.parse(note.text)
    if not any(key == log_key for key, _ in found):
        raise _bad(f"a signature by {log_key.name}", "only witnesses' signatures")
    if checkpoint.origin != log_key.name:
        raise _bad(f"a checkpoint of {log_key.name}", "a checkpoint of another log")
    return checkpoint, note, [(k, s) for k, s in found if k.algorithm == COSIGNATURE]


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(ord(c) < 32 and c != "\n" for c in text):  # noqa: PLR2004 - ASCII control characters
        raise _bad("a text of whole lines without control characters", "another text")


def _bad(expected: str, found: str) -> AuditNoteInvalidError:
    return AuditNoteInvalidError(expected=expected, found=found)
