"""API keys: made here, shown once, kept as keyed hashes, compared in constant time.

A key is ``sk-`` + 8 hexadecimal characters (its public id) + ``-`` + 32 random bytes. 256 random
bits cannot be guessed, so a slow password hash would add nothing but a way to overload the
gateway; HMAC-SHA-256 under a secret of this home means that a stolen file verifies nothing.
Without any key every request is refused (fail closed).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.clock import Clock, rfc3339
from appliance.core.durable import exclusive, os_errors, read_json, write_bytes, write_json
from appliance.core.errors import AccessDeniedError, StateDamagedError
from appliance.core.home import Home

Role = Literal["app", "operator", "monitor"]
Permission = Literal["infer", "metrics"]

PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = {
    "app": frozenset({"infer"}),
    "operator": frozenset({"infer", "metrics"}),
    "monitor": frozenset({"metrics"}),
}
SECRET_BYTES: Final = 32
# The principal stands in the audit log: no e-mail address, no number of a person.
PRINCIPAL: Final = r"^[a-z][a-z0-9._-]{0,63}$"
_KEY = re.compile(r"sk-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")
_NOBODY: Final = "0" * 64  # compared with when the id is unknown: the same work either way


class KeyRecord(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    principal: str = Field(pattern=PRINCIPAL)
    role: Role
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: str
    expires: str | None = None
    revoked: str | None = None

    def public(self) -> dict[str, str | None]:
        """Return what a list shows: nothing that helps to guess."""
        return self.model_dump(exclude={"hash"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from."""

    name: str
    role: Role
    key_id: str

    def need(self, permission: Permission) -> None:
        """Raise ``AccessDeniedError`` unless the role has ``permission``."""
        if permission not in PERMISSIONS[self.role]:
            raise AccessDeniedError(
                expected=f"a key whose role may {permission}", found=f"the role {self.role}"
            )


class KeyStore:
    """The keys of a home: ``keys/api-keys.json`` and the secret they are hashed under."""

    def __init__(self, home: Home, clock: Clock) -> None:
        """Look under ``home``."""
        self._file = home.keys / "api-keys.json"
        self._secret_file = home.keys / "api-keys.secret"
        self._lock_file = home.run / "api-keys.lock"
        self._clock = clock
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], dict[str, KeyRecord]] | None = None
        self._session: dict[str, KeyRecord] = {}

    def create(self, principal: str, role: Role, days: int | None = None) -> tuple[str, KeyRecord]:
        """Make a key, keep its hash and return (the key, its record). It is not shown again."""
        if re.fullmatch(PRINCIPAL, principal) is None:
            raise AccessDeniedError(
                expected="a principal of up to 64 lower-case letters, digits, '.', '_' and '-'",
                found="another form",
                remedy="Name the application or the role, like ward-app; never a person's data.",
            )
        with exclusive(self._lock_file, what="change of the API keys"):
            key, record = self._make(principal, role, days)
            self._write([*self._records().values(), record])
        return key, record

    def session(self, principal: str, role: Role) -> str:
        """Make a key that lives in this process only."""
        key, record = self._make(principal, role, None)
        self._session[record.id] = record
        return key

    def revoke(self, identifier: str) -> KeyRecord:
        """Revoke a key by its id; it is refused from the next request on."""
        with exclusive(self._lock_file, what="change of the API keys"):
            records = dict(self._records())
            if identifier not in records:
                raise AccessDeniedError(
                    expected="the id of a key",
                    found="no such key",
                    remedy="List them with: appliance serve keys list.",
                )
            now = rfc3339(self._clock.now())
            record = records[identifier].model_copy(update={"revoked": now})
            records[identifier] = record
            self._write(list(records.values()))
        return record

    def all(self) -> list[KeyRecord]:
        """Return the records, oldest first."""
        return sorted(self._records().values(), key=lambda r: (r.created, r.id))

    def authenticate(self, authorization: str | None) -> Principal:
        """Return who an ``Authorization`` header stands for, or raise ``AccessDeniedError``.

        All refusals read the same: which part was wrong helps only who guesses.
        """
        scheme, _, key = (authorization or "").partition(" ")
        match = _KEY.fullmatch(key.strip()) if scheme.lower() == "bearer" else None
        if match is None:
            raise _denied()
        record = self._session.get(match[1]) or self._records().get(match[1])
        found = hmac.new(self._secret(), key.strip().encode(), hashlib.sha256).hexdigest()
        same = hmac.compare_digest(found, record.hash if record else _NOBODY)
        if record is None or not same or record.revoked or self._expired(record):
            raise _denied()
        return Principal(record.principal, record.role, record.id)

    def _expired(self, record: KeyRecord) -> bool:
        return record.expires is not None and record.expires <= rfc3339(self._clock.now())

    def _make(self, principal: str, role: Role, days: int | None) -> tuple[str, KeyRecord]:
        secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()
        identifier = secrets.token_hex(4)
        key = f"sk-{identifier}-{secret}"
        now = self._clock.now()
        record = KeyRecord(
            id=identifier,
            principal=principal,
            role=role,
            hash=hmac.new(self._secret(), key.encode(), hashlib.sha256).hexdigest(),
            created=rfc3339(now),
            expires=rfc3339(now + timedelta(days=days)) if days else None,
        )
        return key, record

    def _secret(self) -> bytes:
        """Return the secret the hashes are keyed with, made at the first use."""
        with self._lock:
            if not self._secret_file.exists():
                write_bytes(self._secret_file, secrets.token_bytes(SECRET_BYTES), mode=0o600)
            with os_errors(self._secret_file):
                secret = self._secret_file.read_bytes()
        if len(secret) != SECRET_BYTES:
            raise StateDamagedError(
                expected=f"{SECRET_BYTES} bytes in {self._secret_file}", found=f"{len(secret)}"
            )
        return secret

    def _records(self) -> dict[str, KeyRecord]:
        """Return the records; read again whenever the file changed, so revoking works at once."""
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return {}
        version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._read is None or self._read[0] != version:
            try:
                records = [KeyRecord.model_validate(r) for r in read_json(self._file)["keys"]]
            except (ValidationError, KeyError, TypeError) as error:
                raise StateDamagedError(
                    expected=f"API keys in {self._file}", found="unknown or missing fields"
                ) from error
            self._read = (version, {r.id: r for r in records})
        return self._read[1]

    def _write(self, records: list[KeyRecord]) -> None:
        write_json(self._file, {"keys": [r.model_dump() for r in records]}, mode=0o600)


def _denied() -> AccessDeniedError:
    return AccessDeniedError(expected="a valid API key", found="none that is valid")
