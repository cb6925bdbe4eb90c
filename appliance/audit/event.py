"""One entry of the log: its fields, its canonical bytes, and what the writer adds.

A producer builds an :class:`Event` and encodes it (:func:`encode`, RFC 8785). The writer checks
the bytes (:func:`check_body`) and appends one member that sorts last, ``written``: its own clock,
the shard, the leaf index and the kernel's word on who the peer is. So a producer can neither
choose the index nor name somebody else's process.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.audit import guard
from appliance.audit.codes import Crude
from appliance.audit.guard import Scalar
from appliance.core.errors import AuditEntryRefusedError

MAX_ENTRY_BYTES = 65_535  # C2SP tlog-tiles: entries carry a uint16 length
STAMP_ROOM = 160  # bytes kept for the member the writer adds
MAX_BODY_BYTES = MAX_ENTRY_BYTES - STAMP_ROOM
PLAIN_FROM, PLAIN_TO = 1e-4, 1e16  # between them Python writes no exponent
SAFE_INTEGER = 2**53 - 1  # RFC 8785 numbers are IEEE doubles

Phase = Literal["intent", "outcome", "event"]
Outcome = Literal["success", "refused", "failure", "unknown"]

_HEX = r"^[0-9a-f]{32}$"
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"
_ACTION = r"^[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)+$"
_NAME = r"^[^\x00-\x1f\x7f]+$"


class Event(BaseModel):
    """What one entry says. Members that are absent are left out of the JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    id: str = Field(pattern=_HEX, description="random, 128 bits")
    time: str = Field(pattern=_TIME, description="RFC 3339 UTC, the producer's clock")
    counter: int = Field(ge=0, le=SAFE_INTEGER, description="monotonic microseconds since boot")
    phase: Phase
    action: str = Field(pattern=_ACTION, max_length=80, description="dotted name")
    type: str = Field(pattern=_NAME, max_length=16, description="DICOM Audit Event ID")
    subtype: tuple[str, ...] = Field(default=(), max_length=8)
    crude: Crude
    component: str = Field(pattern=_NAME, max_length=64)
    outcome: Outcome | None = None
    reason: str | None = Field(default=None, max_length=guard.MAX_TEXT)
    intent: str | None = Field(default=None, pattern=_HEX, description="id of the intent answered")
    user: str | None = Field(default=None, pattern=_NAME, max_length=128)
    role: str | None = Field(default=None, pattern=_NAME, max_length=64)
    session: str | None = Field(default=None, pattern=_NAME, max_length=128)
    purpose: str | None = Field(default=None, pattern=_NAME, max_length=32)
    ip: str | None = Field(default=None, pattern=r"^[0-9A-Fa-f:.%a-z]+$", max_length=64)
    patient: str | None = Field(default=None, pattern=_NAME, max_length=128)
    object_id: str | None = Field(default=None, pattern=_NAME, max_length=256)
    category: str | None = Field(default=None, pattern=_NAME, max_length=64)
    origin: str | None = Field(default=None, pattern=_NAME, max_length=128)
    request_id: str | None = Field(default=None, pattern=_NAME, max_length=128)
    break_glass: bool | None = None
    justification: str | None = Field(default=None, max_length=guard.MAX_TEXT)
    policy: str | None = Field(default=None, pattern=_NAME, max_length=128)
    model: str | None = Field(default=None, pattern=_NAME, max_length=128)
    adapter: str | None = Field(default=None, pattern=_NAME, max_length=128)
    dataset: str | None = Field(default=None, pattern=_NAME, max_length=128)
    prompt_template: str | None = Field(default=None, pattern=_NAME, max_length=128)
    sealed: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9+/=:_-]+$", max_length=32_768
    )  # detail encrypted under a per-subject key that can be destroyed
    detail: dict[str, Scalar] = Field(default_factory=dict)


FIELDS = frozenset(Event.model_fields)
REQUIRED = frozenset(
    {"v", "id", "time", "counter", "phase", "action", "type", "crude", "component"}
)
WRITER_MEMBER = "written"  # sorts after every field above: the writer only appends

_GUARDED = ("reason", "justification", "object_id")


@dataclass(frozen=True)
class Stamp:
    """What the writer adds: its clock, the shard, the leaf index, the peer by the kernel."""

    at: str
    log: int
    index: int
    pid: int
    uid: int

    def suffix(self) -> bytes:
        """Return the bytes that replace the closing brace of a body."""
        return b',"written":{"at":"%s","log":%d,"n":%d,"pid":%d,"uid":%d}}' % (
            self.at.encode(),
            self.log,
            self.index,
            self.pid,
            self.uid,
        )


def new_id() -> str:
    """Return a fresh random identifier (128 bits, hexadecimal)."""
    return secrets.token_hex(16)


def monotonic_counter() -> int:
    """Return microseconds since boot: they order events when the wall clock is moved."""
    return time.monotonic_ns() // 1000


def make_event(**fields: Any) -> Event:
    """Return a checked event; raises :class:`AuditEntryRefusedError` naming the field."""
    try:
        event = Event(**fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AuditEntryRefusedError(
            expected="the fields of an audit event", found=f"{where}: {first['msg']}"
        ) from None
    for name in _GUARDED:
        guard.check_text(name, getattr(event, name))
    guard.check_detail(event.detail)
    return event


def encode(event: Event) -> bytes:
    """Return the RFC 8785 bytes of ``event``, at most :data:`MAX_BODY_BYTES`."""
    value = {k: v for k, v in event.__dict__.items() if v is not None}
    if not value["detail"]:
        del value["detail"]
    if not value["subtype"]:
        del value["subtype"]
    body = canonical(value)
    if len(body) > MAX_BODY_BYTES:
        raise AuditEntryRefusedError(
            expected=f"an entry of at most {MAX_BODY_BYTES} bytes", found=f"{len(body)} bytes"
        )
    return body


def _make_encoder() -> Callable[[Any], str]:
    """Return the C encoder of ``json`` for sorted, compact JSON.

    ``JSONEncoder.encode`` builds this encoder anew on every call, which costs half of the time an
    entry takes; it is built once here where the C accelerator is there.
    """
    build = getattr(json.encoder, "c_make_encoder", None)
    if build is None:
        plain = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return plain.encode

    def refuse(value: Any) -> Any:
        raise TypeError(type(value).__name__)

    chunks = build(
        markers=None,
        default=refuse,
        encoder=json.encoder.encode_basestring,
        indent=None,
        key_separator=":",
        item_separator=",",
        sort_keys=True,
        skipkeys=False,
        allow_nan=False,
    )
    return lambda value: "".join(chunks(value, 0))


_encode = _make_encoder()


def _is_plain(value: Any) -> bool:
    """Tell whether the C encoder writes ``value`` as RFC 8785 does (names are strings)."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-SAFE_INTEGER <= value <= SAFE_INTEGER)
    if kind is float:  # both write the shortest digits; they part on exponents and whole numbers
        return bool(PLAIN_FROM <= abs(value) < PLAIN_TO and value % 1)
    if kind is dict:
        return all(type(item) is str or _is_plain(item) for item in value.values())
    return kind in {list, tuple} and all(map(_is_plain, value))


def canonical(value: Any) -> bytes:
    """Return RFC 8785 bytes, by the C encoder where it gives the same bytes.

    The standard encoder differs from RFC 8785 in numbers with a fraction or beyond 2^53 and in
    the order of names outside the Basic Multilingual Plane; where any of those could be there,
    ``rfc8785`` does the work. A property test compares the two.
    """
    try:
        if _is_plain(value):
            text = _encode(value)
            if text.isascii():
                return text.encode("ascii")
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, ValueError, TypeError, RecursionError) as error:
        raise AuditEntryRefusedError(
            expected="values that RFC 8785 can write", found=type(error).__name__
        ) from None


_decode = json.JSONDecoder().raw_decode


def check_body(body: bytes) -> dict[str, Any]:
    """Return the parsed body; refuse what is not the canonical JSON of an event.

    The writer calls it on what any peer sent: shape, names, canonical form (which also rules out
    repeated names) and the guard; types of rarely used members are the producer's business.
    """
    if len(body) > MAX_BODY_BYTES:
        raise AuditEntryRefusedError(
            expected=f"an entry of at most {MAX_BODY_BYTES} bytes", found=f"{len(body)} bytes"
        )
    try:
        text = body.decode("utf-8")
        value, end = _decode(text)
    except UnicodeDecodeError:
        raise AuditEntryRefusedError(expected="UTF-8", found="other bytes") from None
    except (ValueError, RecursionError):
        raise AuditEntryRefusedError(expected="a JSON object", found="other text") from None
    if end != len(text) or not isinstance(value, dict) or not (REQUIRED <= value.keys() <= FIELDS):
        raise AuditEntryRefusedError(
            expected="an object with the members of an audit event", found="other members"
        )
    if canonical(value) != body:
        raise AuditEntryRefusedError(expected="RFC 8785 canonical JSON", found="another form")
    return value


def check_event(body: bytes) -> dict[str, Any]:
    """Return the parsed body of a complete, valid event (types, patterns and guard)."""
    value = check_body(body)
    fields: Mapping[str, Any] = {
        **value,
        "subtype": tuple(value.get("subtype", ())),
    }
    make_event(**fields)
    return value


def parse_entry(data: bytes) -> dict[str, Any]:
    """Return the members of a stored entry, ``written`` included; raises ``ValueError``."""
    value = json.loads(data)
    if not isinstance(value, dict) or WRITER_MEMBER not in value:
        raise ValueError("not an entry of this log")
    return value
