"""Who may run now, who waits, who is sent away: bounded, and fair between principals."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from appliance.core.errors import GatewayDrainingError, QueueFullError


@dataclass(frozen=True, slots=True)
class Limits:
    """How many run, how many wait, how many of one principal, and how long the wait may be."""

    slots: int
    queue: int
    per_principal: int
    wait_s: float


class Admission:
    """Slots with a bounded queue, first come first served. Lives on one event loop."""

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self.limits = limits
        self.running = 0
        self.draining = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._held: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._waiting)

    @asynccontextmanager
    async def slot(self, principal: str) -> AsyncIterator[None]:
        """Hold a slot for the block.

        Raises ``QueueFullError`` when the queue or the principal's share is full or the wait was
        too long, ``GatewayDrainingError`` when the gateway stops.
        """
        if self.draining:
            raise GatewayDrainingError(expected="a running gateway", found="one that is stopping")
        if self._held[principal] >= self.limits.per_principal:
            raise QueueFullError(
                expected=f"at most {self.limits.per_principal} requests of one principal",
                found="as many already running or waiting",
            )
        self._held[principal] += 1
        try:
            await self._acquire()
            try:
                yield
            finally:
                self._release()
        finally:
            self._held[principal] -= 1
            if not self._held[principal]:
                del self._held[principal]

    async def _acquire(self) -> None:
        if self.running < self.limits.slots and not self._waiting:
            self.running += 1
            return
        if len(self._waiting) >= self.limits.queue:
            raise QueueFullError(
                expected=f"at most {self.limits.queue} waiting requests", found="a full queue"
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self.limits.wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release()  # the slot was handed over at the moment the wait ended
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise QueueFullError(
                    expected=f"a slot within {self.limits.wait_s:g} s", found="none came free"
                ) from None
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the slot goes over: running stays the same
                return
        self.running -= 1
