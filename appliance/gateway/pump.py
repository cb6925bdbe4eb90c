"""Between the engines, which block, and the event loop, which must not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from appliance.inference.engine import Delta, Generation


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt was taken; ``prompt_tokens`` is 0 where only the end tells it."""

    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The generation ended by itself."""

    prompt_tokens: int


Item = Started | Delta | Ended


async def pump(
    executor: Executor, begin: Callable[[], Generation], cancel: threading.Event
) -> AsyncGenerator[Item, None]:
    """Run a generation in a thread and yield what it says, as it says it.

    The iterator ends only after the engine stopped, also when it is closed early: whoever holds a
    slot or an engine for it may then give it back. ``cancel`` stops it between two tokens.
    Raises what the engine raised.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[Item | BaseException] = asyncio.Queue()

    def tell(item: Item | BaseException) -> None:
        loop.call_soon_threadsafe(items.put_nowait, item)

    def work() -> None:
        try:
            generation = begin()
            try:
                tell(Started(generation.prompt_tokens))
                for delta in generation:
                    tell(delta)
                    if cancel.is_set():
                        break
            finally:
                generation.close()
            tell(Ended(generation.prompt_tokens))
        except Exception as error:  # noqa: BLE001 - carried over to the loop, raised there
            tell(error)

    done = loop.run_in_executor(executor, work)
    try:
        while True:
            item = await items.get()
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, Ended):
                return
    finally:
        cancel.set()
        await _until(done)


async def _until(done: asyncio.Future[None]) -> None:
    """Wait for the thread, whatever cancels the waiting task meanwhile."""
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if done.cancelled():
                return
