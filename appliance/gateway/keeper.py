"""The model in service: whatever the audit log's last promotion names, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from appliance.core.errors import ApplianceError, EngineUnavailableError, ModelNotPromotedError
from appliance.inference.engine import Engine

Load = Callable[[str], Engine]


class PromotedModel(Protocol):
    """Where the gateway learns which hash is in service (the audit log)."""

    def current_hash(self) -> str | None:
        """Return the promoted hash, or None when nothing was promoted.

        Raises an ``ApplianceError`` when the log cannot be read.
        """
        ...


@dataclass
class _Loaded:
    hash: str
    engine: Engine
    users: int = 0
    retired: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """An engine in use, under the promoted hash it serves."""

    hash: str
    engine: Engine


class Keeper:
    """Loads the promoted model, switches when the log names another, never serves an old one.

    A request that began under the old model ends under it; the old engine is closed when its
    last request ends. When the log cannot be read nothing is served.
    """

    def __init__(self, promoted: PromotedModel, load: Load, every_s: float) -> None:
        """Look at ``promoted`` every ``every_s`` seconds once :meth:`start` was called."""
        self._promoted = promoted
        self._load = load
        self._every_s = every_s
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._loaded: _Loaded | None = None
        self._problem: ApplianceError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="promotion-watch", daemon=True)

    def start(self) -> None:
        """Load what is promoted now, then keep watching."""
        self.refresh()
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            self.refresh()

    def refresh(self) -> None:
        """Look at the log once and act on it; a problem is kept for :meth:`lease` to raise."""
        with self._refreshing:
            try:
                self._follow(self._promoted.current_hash())
                problem = None
            except ApplianceError as error:
                problem = error
                self._replace(None)
            with self._lock:
                self._problem = problem

    def _follow(self, wanted: str | None) -> None:
        with self._lock:
            serving = self._loaded.hash if self._loaded else None
        if wanted == serving:
            return
        # What is no longer promoted goes out of service before the new model is loaded.
        self._replace(None)
        if wanted is not None:
            self._replace(_Loaded(wanted, self._load(wanted)))

    def _replace(self, new: _Loaded | None) -> None:
        with self._lock:
            old, self._loaded = self._loaded, new
            if old is not None:
                old.retired = True
            idle = old is not None and old.users == 0
        if old is not None and idle:
            old.engine.close()

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Hold the engine in service for the block.

        Raises ``ModelNotPromotedError`` when nothing is promoted, or the error that keeps the
        promoted model from being served.
        """
        loaded = self._take()
        try:
            yield Lease(loaded.hash, loaded.engine)
        finally:
            with self._lock:
                loaded.users -= 1
                last = loaded.retired and loaded.users == 0
            if last:
                loaded.engine.close()

    def _take(self) -> _Loaded:
        with self._lock:
            if self._problem is not None:
                raise self._problem.with_traceback(None)
            if self._loaded is None:
                raise ModelNotPromotedError(
                    expected="a promotion in the audit log", found="none in force"
                )
            self._loaded.users += 1
            return self._loaded

    @property
    def serving(self) -> str | None:
        """The hash in service."""
        with self._lock:
            return self._loaded.hash if self._loaded else None

    @property
    def slots(self) -> int:
        """How many requests the engine in service runs at once."""
        with self._lock:
            return self._loaded.engine.slots if self._loaded else 1

    def check(self) -> None:
        """Raise unless a request would be answered now."""
        with self.lease() as lease:
            if not lease.engine.ready():
                raise EngineUnavailableError(
                    expected="an engine that is ready", found="one that is starting or broken"
                )

    def close(self) -> None:
        """Stop watching and free the model."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._replace(None)
