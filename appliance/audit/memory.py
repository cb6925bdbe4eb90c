"""The recorder's twin for tests: events stay in a list, nothing is written."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

from appliance.audit.event import Event, check_body
from appliance.audit.recorder import Recorder
from appliance.core.clock import Clock
from appliance.core.errors import AuditUnavailableError


class MemorySink:
    """Keeps bodies; ``broken = True`` makes the next append fail like an unreachable log."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.broken = False
        self._lock = threading.Lock()

    def append(self, bodies: Sequence[bytes]) -> list[int]:
        """Keep ``bodies`` and return their positions."""
        if self.broken:
            raise AuditUnavailableError(expected="the log's writer", found="the test broke it")
        for body in bodies:
            check_body(body)
        with self._lock:
            start = len(self.bodies)
            self.bodies.extend(bodies)
        return list(range(start, start + len(bodies)))

    def close(self) -> None:
        """Hold nothing."""


class MemoryRecorder(Recorder):
    """A recorder whose events a test reads in ``events``."""

    def __init__(
        self, component: str = "test", *, user: str | None = "tester", clock: Clock | None = None
    ) -> None:
        self.sink = MemorySink()
        super().__init__(self.sink, component, user=user, clock=clock)

    @property
    def events(self) -> list[Event]:
        """What was recorded, in order."""
        return [
            Event(**{**value, "subtype": tuple(value.get("subtype", ()))})
            for value in map(json.loads, self.sink.bodies)
        ]

    def break_log(self) -> None:
        """Make every later append fail, to test that work then does not happen."""
        self.sink.broken = True
