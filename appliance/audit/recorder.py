"""What the rest of the appliance uses to write to the log.

``action`` writes a durable intent, runs the block and writes its outcome. When the intent cannot
be recorded :class:`AuditUnavailableError` is raised and the block does not run: work that cannot
be logged does not happen (fail-closed).
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TypedDict, Unpack

from appliance.audit.codes import Crude, codes_for
from appliance.audit.event import Event, Outcome, encode, make_event, monotonic_counter, new_id
from appliance.audit.guard import Scalar
from appliance.core.clock import Clock, SystemClock, rfc3339
from appliance.core.errors import ApplianceError, AuditUnavailableError
from appliance.core.home import Home


class Sink(Protocol):
    """Where canonical bodies go; the index comes back when the entry is durable."""

    def append(self, bodies: Sequence[bytes]) -> list[int]:
        """Append ``bodies`` in order and return their leaf indices, durable."""
        ...

    def close(self) -> None:
        """Give back what the sink holds."""
        ...


class Fields(TypedDict, total=False):
    """The optional members of an event, as keyword arguments."""

    user: str | None
    role: str | None
    session: str | None
    purpose: str | None
    ip: str | None
    patient: str | None
    object_id: str | None
    category: str | None
    origin: str | None
    request_id: str | None
    break_glass: bool | None
    justification: str | None
    policy: str | None
    model: str | None
    adapter: str | None
    dataset: str | None
    prompt_template: str | None
    sealed: str | None
    crude: Crude
    type: str
    subtype: tuple[str, ...]


@dataclass(frozen=True)
class Receipt:
    """The log's word that an event is durable: where it stands and what was written."""

    index: int
    event: Event

    @property
    def id(self) -> str:
        """The id of the event (an outcome names the id of its intent)."""
        return self.event.id


@dataclass
class Action:
    """What runs between an intent and its outcome; the block fills it in."""

    receipt: Receipt
    detail: dict[str, Scalar] = field(default_factory=dict)
    outcome: Outcome = "success"
    reason: str | None = None

    @property
    def id(self) -> str:
        """The id of the intent."""
        return self.receipt.id

    def refuse(self, reason: str) -> None:
        """Make the outcome ``refused`` with ``reason`` (words for the log, no clinical text)."""
        self.outcome, self.reason = "refused", reason

    def fail(self, reason: str) -> None:
        """Make the outcome ``failure`` with ``reason`` without raising."""
        self.outcome, self.reason = "failure", reason


class Recorder:
    """Writes the events of one component. Threads may share one recorder."""

    def __init__(
        self, sink: Sink, component: str, *, user: str | None = None, clock: Clock | None = None
    ) -> None:
        self._sink = sink
        self._component = component
        self._user = user
        self._clock = clock or SystemClock()

    @property
    def component(self) -> str:
        """The component whose events these are."""
        return self._component

    def event(
        self,
        action: str,
        *,
        detail: Mapping[str, Scalar] | None = None,
        outcome: Outcome | None = None,
        reason: str | None = None,
        **fields: Unpack[Fields],
    ) -> Receipt:
        """Write one event and return its receipt; it is durable when this returns."""
        return self._write(
            self._build("event", action, detail, outcome=outcome, reason=reason, **fields)
        )

    def intent(
        self,
        action: str,
        *,
        detail: Mapping[str, Scalar] | None = None,
        **fields: Unpack[Fields],
    ) -> Receipt:
        """Write the intent of ``action``; answer it with :meth:`outcome`."""
        return self._write(self._build("intent", action, detail, **fields))

    def outcome(
        self,
        intent: Receipt,
        outcome: Outcome = "success",
        *,
        reason: str | None = None,
        detail: Mapping[str, Scalar] | None = None,
        **fields: Unpack[Fields],
    ) -> Receipt:
        """Write what became of ``intent``: the same members, the outcome and more detail."""
        asked = intent.event
        kept = asked.model_dump(
            exclude={"v", "id", "time", "counter", "phase", "action", "detail", "component"},
            exclude_none=True,
        )
        return self._write(
            self._build(
                "outcome",
                asked.action,
                {**asked.detail, **(detail or {})},
                **{**kept, **fields, "outcome": outcome, "reason": reason, "intent": asked.id},
            )
        )

    @contextlib.contextmanager
    def action(
        self,
        action: str,
        *,
        detail: Mapping[str, Scalar] | None = None,
        **fields: Unpack[Fields],
    ) -> Iterator[Action]:
        """Write a durable intent, run the block, write its outcome.

        An exception makes the outcome ``failure`` with the error's id (never its text) and goes
        on to the caller.
        """
        act = Action(self.intent(action, detail=detail, **fields))
        try:
            yield act
        except BaseException as error:
            # Without an outcome the intent becomes "outcome unknown" when the writer starts.
            with contextlib.suppress(AuditUnavailableError):
                self.outcome(act.receipt, "failure", reason=_error_id(error), detail=act.detail)
            raise
        self.outcome(act.receipt, act.outcome, reason=act.reason, detail=act.detail)

    def close(self) -> None:
        """Close the connection to the log."""
        self._sink.close()

    def __enter__(self) -> Self:
        """Return the recorder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection to the log."""
        self.close()

    def _build(
        self, phase: str, action: str, detail: Mapping[str, Scalar] | None, **fields: Any
    ) -> Event:
        codes = codes_for(action)
        fields.setdefault("type", codes.type)
        fields.setdefault("subtype", codes.subtype)
        fields.setdefault("crude", codes.crude)
        if fields.get("user") is None:
            fields["user"] = self._user
        return make_event(
            id=new_id(),
            time=rfc3339(self._clock.now()),
            counter=monotonic_counter(),
            phase=phase,
            action=action,
            component=self._component,
            detail=dict(detail or {}),
            **fields,
        )

    def _write(self, event: Event) -> Receipt:
        return Receipt(self._sink.append([encode(event)])[0], event)


def _error_id(error: BaseException) -> str:
    if isinstance(error, ApplianceError):
        return error.id
    return "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__


def operating_user() -> str:
    """Return the login name of who runs this process, or ``uid:N`` where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid:{os.getuid()}"


def open_recorder(home: Home, component: str, *, user: str | None = None) -> Recorder:
    """Return a recorder on the log of ``home``, starting the log's writer when none runs.

    Raises :class:`AuditUnavailableError` when the writer cannot be reached or started.
    """
    from appliance.audit.client import connect

    return Recorder(connect(home), component, user=user or operating_user())
