from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import GatewayDrainingError, QueueFullError
from appliance.gateway.admission import Admission, Limits


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def make(slots: int = 1, queue: int = 2, each: int = 9, wait_s: float = 5.0) -> Admission:
    return Admission(Limits(slots, queue, each, wait_s))


async def hold(admission: Admission, name: str, go: asyncio.Event, order: list[str]) -> None:
    async with admission.slot(name):
        order.append(name)
        await go.wait()


def test_first_come_first_served() -> None:
    async def work() -> None:
        admission, go, order = make(), asyncio.Event(), list[str]()
        tasks = []
        for name in "abc":
            tasks.append(asyncio.create_task(hold(admission, name, go, order)))
            await asyncio.sleep(0)
        assert (admission.running, admission.waiting, order) == (1, 2, ["a"])
        go.set()
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c"]
        assert (admission.running, admission.waiting) == (0, 0)

    run(work())


def test_a_full_queue_and_a_full_share_are_refused() -> None:
    async def work() -> None:
        admission, go, order = make(queue=1, each=2), asyncio.Event(), list[str]()
        tasks = [asyncio.create_task(hold(admission, "a", go, order)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="principal"):
            await hold(admission, "a", go, order)
        with pytest.raises(QueueFullError, match="queue"):
            await hold(admission, "b", go, order)
        go.set()
        await asyncio.gather(*tasks)
        await hold(admission, "b", go, order)

    run(work())


def test_a_wait_that_is_too_long_is_refused_and_leaves_nothing() -> None:
    async def work() -> None:
        admission, go, order = make(wait_s=0.02), asyncio.Event(), list[str]()
        first = asyncio.create_task(hold(admission, "a", go, order))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="within"):
            await hold(admission, "b", go, order)
        go.set()
        await first
        assert (admission.running, admission.waiting) == (0, 0)

    run(work())


def test_a_draining_gateway_lets_waiting_requests_through_and_no_new_ones() -> None:
    async def work() -> None:
        admission, go, order = make(), asyncio.Event(), list[str]()
        tasks = [asyncio.create_task(hold(admission, n, go, order)) for n in "ab"]
        await asyncio.sleep(0)
        admission.draining = True
        with pytest.raises(GatewayDrainingError):
            await hold(admission, "c", go, order)
        go.set()
        await asyncio.gather(*tasks)
        assert order == ["a", "b"]

    run(work())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans()), max_size=12),
)
def test_no_slot_is_lost_whatever_is_cancelled(
    slots: int, jobs: list[tuple[str, int, bool]]
) -> None:
    async def work() -> None:
        admission = make(slots=slots, queue=3, each=4)
        highest = 0

        async def one(name: str, steps: int) -> None:
            nonlocal highest
            async with admission.slot(name):
                highest = max(highest, admission.running)
                for _ in range(steps):
                    await asyncio.sleep(0)

        tasks = []
        for name, steps, cancel in jobs:
            task = asyncio.create_task(one(name, steps))
            tasks.append(task)
            for _ in range(steps):
                await asyncio.sleep(0)
            if cancel:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert highest <= slots
        assert (admission.running, admission.waiting) == (0, 0)

    run(work())
