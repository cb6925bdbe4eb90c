"""The HTTP surface: OpenAI's routes, health, readiness, metrics; everything else is absent."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance import __version__
from appliance.core.canonical import value_hash
from appliance.core.clock import Clock
from appliance.core.errors import ApplianceError, GatewayDrainingError, RequestRefusedError
from appliance.core.settings.gateway import GatewaySettings
from appliance.datasets.prompt import SYSTEM_PROMPT
from appliance.gateway.answering import Answering, ClientGoneError, Closed, Job, Opened, Step, Text
from appliance.gateway.care import read_care
from appliance.gateway.keys import KeyStore, Permission, Principal
from appliance.gateway.openai_format import (
    DONE,
    Envelope,
    Surface,
    error_body,
    event,
    status_of,
)
from appliance.gateway.requests import allowed_hosts, check_host, check_type, read_body
from appliance.gateway.schema import ChatRequest, CompletionRequest, parse_chat, parse_completion

SYSTEM_HASH = value_hash(SYSTEM_PROMPT)
EVENT_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
SAFE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Gateway:
    """The routes over one :class:`Answering`."""

    def __init__(
        self, settings: GatewaySettings, answering: Answering, keys: KeyStore, clock: Clock
    ) -> None:
        """Serve with ``answering``; ``keys`` say who may."""
        self._settings = settings
        self._answering = answering
        self._keys = keys
        self._clock = clock

    async def health(self, _request: Request) -> Response:
        """Say that the process answers."""
        return JSONResponse({"status": "alive"})

    async def ready(self, _request: Request) -> Response:
        """Say whether a request would be answered: 200, or 503 with the reason's id."""
        ready = self._answering.metrics.ready
        try:
            if self._answering.admission.draining:
                raise GatewayDrainingError(expected="a running gateway", found="one that stops")
            await asyncio.to_thread(self._answering.keeper.check)
        except ApplianceError as error:
            ready.set(0)
            return JSONResponse({"status": "not ready", "reason": error.id}, status_code=503)
        ready.set(1)
        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """Return Prometheus' text; a key that may read metrics is needed."""
        self._principal(request, "metrics")
        found = self._answering.metrics
        found.running.set(self._answering.admission.running)
        found.waiting.set(self._answering.admission.waiting)
        text = await asyncio.to_thread(found.text)  # the witnesses' state is read from the disk
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """List the one model in service, by its promoted hash and by its alias."""
        self._principal(request, "infer")
        with self._answering.keeper.lease() as lease:
            names = (lease.hash, self._settings.model_alias)
        entries = [
            {"id": name, "object": "model", "created": 0, "owned_by": "hospital"} for name in names
        ]
        return JSONResponse({"object": "list", "data": entries})

    async def chat(self, request: Request) -> Response:
        """Answer a conversation."""
        principal = self._principal(request, "infer")
        check_type(request.headers)
        asked = parse_chat(await read_body(request, self._settings))
        prompt = asked.dialogue(SYSTEM_PROMPT, self._settings)
        job = self._job("chat", request, principal, asked)
        job.prompt = prompt
        job.question = prompt[-1].text
        return await self._respond(request, job, asked)

    async def completions(self, request: Request) -> Response:
        """Continue a text."""
        principal = self._principal(request, "infer")
        check_type(request.headers)
        asked = parse_completion(await read_body(request, self._settings))
        job = self._job("completion", request, principal, asked)
        job.prompt = job.question = asked.prompt
        return await self._respond(request, job, asked)

    def _principal(self, request: Request, permission: Permission) -> Principal:
        principal = self._keys.authenticate(request.headers.get("authorization"))
        principal.need(permission)
        return principal

    def _job(
        self,
        surface: Surface,
        request: Request,
        principal: Principal,
        asked: ChatRequest | CompletionRequest,
    ) -> Job:
        serving = self._answering.keeper.serving
        if serving is not None and asked.model not in {serving, self._settings.model_alias}:
            raise RequestRefusedError(
                expected=f"the model {self._settings.model_alias} or the promoted hash",
                found="another model",
                param="model",
                status=404,
            )
        return Job(
            surface=surface,
            request_id=request.state.request_id,
            principal=principal,
            ip=request.client.host if request.client else "",
            prompt="",
            question="",
            sampling=asked.sampling(self._settings),
            stream=asked.stream,
            arrived=self._clock.monotonic(),
            care=read_care(
                request.headers,
                self._answering.pseudonyms,
                patient_needed=self._settings.patient_needed,
            ),
        )

    async def _respond(
        self, request: Request, job: Job, asked: ChatRequest | CompletionRequest
    ) -> Response:
        steps = self._answering.run(job)
        watch = asyncio.create_task(_watch(request, job))
        try:
            opened = await anext(steps)
            assert isinstance(opened, Opened)
            created = int(self._clock.now().timestamp())
            envelope = Envelope(job.surface, job.request_id, created, opened.model)
            if asked.stream:
                events = _events(steps, envelope, with_usage=asked.with_usage)
                return EventStream(events, watch)
            whole = await _whole(steps, envelope)
        except BaseException:
            watch.cancel()
            await steps.aclose()
            raise
        watch.cancel()
        return JSONResponse(whole)


async def _watch(request: Request, job: Job) -> None:
    """Wait until the client leaves and say so to the job."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.gone.set()


async def _whole(steps: AsyncGenerator[Step, None], envelope: Envelope) -> dict[str, Any]:
    """Return the whole answer; a run of steps ends with ``Closed`` or an error."""
    text = ""
    async for step in steps:
        if isinstance(step, Text):
            text += step.text
        elif isinstance(step, Closed):
            return envelope.whole(text, step.finish, step.usage)
    raise AssertionError("an answer without an end")


async def _events(
    steps: AsyncGenerator[Step, None], envelope: Envelope, *, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Frame the steps of an answer; an error is an event, and then no ``[DONE]`` comes."""
    try:
        if opening := envelope.opening():
            yield opening
        async for step in steps:
            if isinstance(step, Text):
                yield envelope.piece(step.text)
            elif isinstance(step, Closed):
                yield envelope.closing(step.finish)
                if with_usage:
                    yield envelope.usage(step.usage)
                yield DONE
    except ApplianceError as error:
        yield event(error_body(error))
    except ClientGoneError:
        return
    finally:
        await steps.aclose()


class EventStream(Response):
    """A server-sent event stream that ends its source when the client leaves."""

    def __init__(self, events: AsyncGenerator[bytes, None], watch: asyncio.Task[None]) -> None:
        """Send ``events``; ``watch`` is ended with the stream."""
        super().__init__(media_type="text/event-stream", headers=EVENT_HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the stream."""
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        try:
            await send(start)
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the client left in the middle of a send
            return
        finally:
            self._watch.cancel()
            await self._events.aclose()


class Envelop:
    """Around every route: the Host check, a request id, safe headers, counted answers."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings, answering: Answering) -> None:
        """Wrap ``app``."""
        self._app = app
        self._hosts = allowed_hosts(settings)
        self._retry = settings.retry_after_s
        self._metrics = answering.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass HTTP on; nothing else is spoken here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is served")  # websockets: uvicorn then refuses
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *(h for h in message["headers"] if h[0] != b"cache-control"),
                    *SAFE_HEADERS,
                    (b"x-request-id", request_id.encode()),
                ]
                route = str(getattr(scope.get("route"), "path", "other"))
                self._metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        try:
            check_host(scope["headers"], self._hosts)
        except RequestRefusedError as error:
            await error_response(error, self._retry)(scope, receive, sending)
            return
        await self._app(scope, receive, sending)


def error_response(error: ApplianceError, retry_after_s: int) -> Response:
    """Return an error in OpenAI's shape, with Retry-After where trying again makes sense."""
    status = status_of(error)
    headers = {"retry-after": str(retry_after_s)} if status in {429, 503} else {}
    if status == 401:  # noqa: PLR2004 - HTTP's own number
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_body(error), status_code=status, headers=headers)


def _add_routes(app: FastAPI, gateway: Gateway) -> None:
    app.add_api_route("/health", gateway.health, methods=["GET"])
    app.add_api_route("/ready", gateway.ready, methods=["GET"])
    app.add_api_route("/metrics", gateway.metrics, methods=["GET"])
    app.add_api_route("/v1/models", gateway.models, methods=["GET"])
    for path, route, model in (
        ("/v1/chat/completions", gateway.chat, ChatRequest),
        ("/v1/completions", gateway.completions, CompletionRequest),
    ):
        extra: dict[str, Any] = {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": model.model_json_schema()}},
            }
        }
        app.add_api_route(path, route, methods=["POST"], openapi_extra=extra)


def create_app(
    settings: GatewaySettings, answering: Answering, keys: KeyStore, clock: Clock
) -> FastAPI:
    """Return the application. No documentation page is served: it would load from a CDN."""
    gateway = Gateway(settings, answering, keys, clock)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(answering.keeper.start)
        yield
        await asyncio.to_thread(answering.keeper.close)

    app = FastAPI(
        title="Hospital AI appliance",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    _add_routes(app, gateway)

    async def refused(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ApplianceError)
        return error_response(error, settings.retry_after_s)

    async def absent(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        found = RequestRefusedError(
            expected="a route of this gateway", found="another", status=error.status_code
        )
        return error_response(found, settings.retry_after_s)

    async def gone(_request: Request, _error: Exception) -> Response:
        return Response(status_code=499)  # nobody reads it; the number is nginx's

    app.add_exception_handler(ApplianceError, refused)
    app.add_exception_handler(HTTPException, absent)
    app.add_exception_handler(ClientGoneError, gone)
    app.add_middleware(functools.partial(Envelop, settings=settings, answering=answering))
    return app
