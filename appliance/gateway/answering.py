"""One request from its slot to its end: recorded before, checked while, recorded after."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from appliance.audit.recorder import Fields, Receipt, Recorder
from appliance.core.clock import Clock
from appliance.core.errors import ApplianceError, EngineUnavailableError, RequestTimeoutError
from appliance.core.settings.gateway import GatewaySettings
from appliance.gateway.admission import Admission
from appliance.gateway.care import Care, Pseudonymiser
from appliance.gateway.guard import AnswerGuard, Rules
from appliance.gateway.keeper import Keeper, Lease
from appliance.gateway.keys import Principal
from appliance.gateway.metrics import Metrics
from appliance.gateway.openai_format import Surface, Usage
from appliance.gateway.pump import Ended, Item, Started, pump
from appliance.inference.engine import Delta, Prompt, Sampling

MILLISECONDS = 1000


@dataclass
class Job:
    """What is asked, by whom, and what became of it so far.

    ``question`` is the text the guard checks. ``gone`` is set when the client left.
    """

    surface: Surface
    request_id: str
    principal: Principal
    ip: str
    prompt: Prompt
    question: str
    sampling: Sampling
    stream: bool
    arrived: float
    gone: threading.Event = field(default_factory=threading.Event)
    first_token: float | None = None
    last_token: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str = ""
    care: Care = field(default_factory=Care)


@dataclass(frozen=True, slots=True)
class Opened:
    """The intent is in the log and the engine took the prompt."""

    model: str


@dataclass(frozen=True, slots=True)
class Text:
    """Checked text that may be sent."""

    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The outcome is in the log."""

    finish: str
    usage: Usage


Step = Opened | Text | Closed


class ClientGoneError(Exception):
    """The client closed its connection; nobody reads what would follow."""


@dataclass
class Answering:
    """What every request needs; one for a gateway."""

    settings: GatewaySettings
    keeper: Keeper
    admission: Admission
    recorder: Recorder
    metrics: Metrics
    rules: Rules
    clock: Clock
    executor: Executor
    log_executor: Executor
    pseudonyms: Pseudonymiser

    async def run(self, job: Job) -> AsyncGenerator[Step, None]:
        """Yield the steps of a request; nothing runs that was not recorded first.

        Raises an ``ApplianceError``; after :class:`Opened` the log then holds the failure.
        """
        async with self.admission.slot(job.principal.name):
            with self.keeper.lease() as lease:
                intent = await self._intent(job, lease)
                guard = AnswerGuard(self.rules, job.question)
                steps = self._answer(job, lease, guard)
                try:
                    async for step in steps:
                        yield step
                except BaseException as error:
                    await self._outcome(job, intent, guard, error)
                    raise
                finally:
                    # GeneratorExit does not reach an inner generator by itself.
                    await steps.aclose()
                await self._outcome(job, intent, guard, None)
                usage = Usage(job.prompt_tokens, job.completion_tokens)
                yield Closed(job.finish, usage)

    async def _answer(
        self, job: Job, lease: Lease, guard: AnswerGuard
    ) -> AsyncGenerator[Step, None]:
        cancel = threading.Event()
        begin = functools.partial(lease.engine.stream, job.prompt, job.sampling)
        items = pump(self.executor, begin, cancel)
        deadline = self.clock.monotonic() + self.settings.request_timeout_s
        try:
            while True:
                item = await self._next(items, job, deadline)
                if isinstance(item, Started):
                    yield Opened(lease.hash)
                    if text := guard.opening() if self.settings.guard else "":
                        yield Text(text)
                elif isinstance(item, Delta):
                    self._count(job, item)
                    text = guard.feed(item.text) if self.settings.guard else item.text
                    if text:
                        yield Text(text)
                elif isinstance(item, Ended):
                    job.prompt_tokens = item.prompt_tokens
                    break
            if not job.finish:
                raise EngineUnavailableError(expected="a whole answer", found="one that was cut")
            if text := guard.finish():
                yield Text(text)
        finally:
            cancel.set()
            await items.aclose()

    async def _next(self, items: AsyncGenerator[Item, None], job: Job, deadline: float) -> Item:
        """Return the next item; raise when the client left or the time is over."""
        if job.gone.is_set():
            raise ClientGoneError
        left = deadline - self.clock.monotonic()
        if left <= 0:
            raise RequestTimeoutError(
                expected=f"an answer within {self.settings.request_timeout_s:g} s", found="none"
            )
        try:
            async with asyncio.timeout(left):
                return await anext(items)
        except TimeoutError:
            raise RequestTimeoutError(
                expected=f"an answer within {self.settings.request_timeout_s:g} s", found="none"
            ) from None

    def _count(self, job: Job, delta: Delta) -> None:
        now = self.clock.monotonic()
        if delta.tokens:
            if job.first_token is None:
                job.first_token = now
                self.metrics.first_token.observe(now - job.arrived)
            else:
                self.metrics.between_tokens.observe(now - job.last_token)
            job.last_token = now
            job.completion_tokens += delta.tokens
        job.finish = delta.finish or job.finish

    async def _intent(self, job: Job, lease: Lease) -> Receipt:
        identity = lease.engine.identity
        who = Fields(
            user=job.principal.name,
            role=job.principal.role,
            ip=job.ip,
            request_id=job.request_id,
            object_id=lease.hash,
            model=identity.model_hash,
            adapter=identity.adapter_hash,
            prompt_template=identity.template_hash or None,
        )
        who.update(job.care.fields)
        return await self._log(
            functools.partial(
                self.recorder.intent,
                f"gateway.{job.surface}",
                detail={
                    "stream": job.stream,
                    "max_tokens": job.sampling.max_tokens,
                    "temperature": job.sampling.temperature,
                    "engine": identity.kind,
                    "guard_rules": self.rules.hash if self.settings.guard else "",
                    "queue_ms": round((self.clock.monotonic() - job.arrived) * MILLISECONDS),
                    "key": job.principal.key_id,
                },
                **who,
            )
        )

    async def _outcome(
        self, job: Job, intent: Receipt, guard: AnswerGuard, error: BaseException | None
    ) -> None:
        now = self.clock.monotonic()
        self.metrics.duration.observe(now - job.arrived)
        self.metrics.prompt_tokens.inc(job.prompt_tokens)
        self.metrics.generation_tokens.inc(job.completion_tokens)
        for rule in guard.hits:
            self.metrics.guard_hits.labels(rule).inc()
        detail: dict[str, str | int] = {
            "prompt_tokens": job.prompt_tokens,
            "completion_tokens": job.completion_tokens,
            "total_ms": round((now - job.arrived) * MILLISECONDS),
            "finish": job.finish,
            "guard": ",".join(guard.hits),
        }
        if job.first_token is not None:
            detail["first_token_ms"] = round((job.first_token - job.arrived) * MILLISECONDS)
        write = functools.partial(
            self.recorder.outcome,
            intent,
            "success" if error is None else "failure",
            reason=None if error is None else reason_of(error, job),
            detail=detail,
        )
        if error is None:
            await self._log(write)  # no outcome in the log, no end of the answer
            return
        with contextlib.suppress(ApplianceError):  # the writer marks it "outcome unknown"
            await self._log(write)

    async def _log(self, write: Callable[[], Receipt]) -> Receipt:
        """Write to the log in a thread of its own, to the end even when the request is dropped."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self.log_executor, write))


def reason_of(error: BaseException, job: Job) -> str:
    """Return the word the log keeps for an error; never its text."""
    if isinstance(error, ApplianceError):
        return error.id
    left = isinstance(error, ClientGoneError | asyncio.CancelledError | GeneratorExit)
    return "client-gone" if left or job.gone.is_set() else type(error).__name__
