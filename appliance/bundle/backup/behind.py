"""Work that goes on in another thread, in order, a bounded amount ahead of or behind the caller.

Reading, sealing, hashing, writing and flushing keep two cores and a disk busy only when none of
them waits for the others. All of them release the interpreter's lock for large blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
_END = object()


class _Thread:
    """One thread; leaving the block waits for what it is doing and starts nothing more."""

    def __init__(self, name: str, depth: int) -> None:
        self.depth = depth
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread; what has not begun is not done."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Behind(_Thread):
    """Does calls after one another; at most ``depth`` of them are not yet done."""

    def do(self, call: Callable[..., object], *arguments: object) -> Future[Any]:
        """Queue a call, waiting for room; an error of an earlier one is raised here."""
        while len(self._waiting) >= self.depth:
            self._waiting.popleft().result()
        job = self._pool.submit(call, *arguments)
        self._waiting.append(job)
        return job

    def wait(self) -> None:
        """Wait until every call is done; raise the first error."""
        while self._waiting:
            self._waiting.popleft().result()


class Ahead(_Thread, Generic[T]):
    """The items of an iterator, made up to ``depth`` ahead of who takes them."""

    def __init__(self, items: Iterator[T], name: str, depth: int) -> None:
        """Begin to make items when the first is asked for."""
        super().__init__(name, depth)
        self._items = items

    def __iter__(self) -> Iterator[T]:
        """Return itself."""
        return self

    def __next__(self) -> T:
        """Return the next item; an error of the iterator is raised in its place."""
        while len(self._waiting) < self.depth:
            self._waiting.append(self._pool.submit(next, self._items, _END))
        item = self._waiting.popleft().result()
        if item is _END:
            raise StopIteration
        found: T = item
        return found
