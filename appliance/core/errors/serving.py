"""Errors of the serving part. Exit codes 65 to 74."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class EngineUnavailableError(ApplianceError):
    """The inference engine does not answer."""

    id = "engine-unavailable"
    exit_code = 65
    http_status = 503
    remedy = "Look at the engine's log in the home's run folder; the gateway starts it again."


class ModelNotPromotedError(ApplianceError):
    """No promotion in the audit log names this model."""

    id = "model-not-promoted"
    exit_code = 66
    http_status = 503
    remedy = "Promote an evaluated model with: appliance models promote."


class ModelHashMismatchError(ApplianceError):
    """A model file is not the file that was registered."""

    id = "model-hash-mismatch"
    exit_code = 67
    http_status = 500
    remedy = "Restore the file from the bundle or a backup; it will not be loaded as it is."


class RequestRefusedError(ApplianceError):
    """The request is not one the gateway accepts."""

    id = "request-refused"
    exit_code = 68
    http_status = 400
    remedy = "Correct the request; docs/reference/gateway.md lists every accepted field."

    def __init__(
        self, *, expected: str, found: str, param: str | None = None, status: int = 400
    ) -> None:
        """Name the offending parameter and the HTTP status of this refusal."""
        super().__init__(expected=expected, found=found)
        self.param = param
        self.status = status


class AccessDeniedError(ApplianceError):
    """The caller is not known or may not do this."""

    id = "access-denied"
    exit_code = 69
    http_status = 401
    remedy = (
        "Send a key as 'Authorization: Bearer ...'; make one with: appliance serve keys create."
    )


class QueueFullError(ApplianceError):
    """Too many requests are waiting."""

    id = "queue-full"
    exit_code = 70
    http_status = 429
    remedy = "Wait the seconds named in Retry-After, then send the request again."


class RequestTimeoutError(ApplianceError):
    """The answer took longer than the gateway allows."""

    id = "request-timeout"
    exit_code = 71
    http_status = 504
    remedy = "Ask for fewer tokens, or raise gateway.request_timeout_s."


class ContextTooLongError(ApplianceError):
    """The prompt and the answer do not fit the model's context."""

    id = "context-too-long"
    exit_code = 72
    http_status = 400
    remedy = "Shorten the prompt or lower max_tokens."


class GatewayUnreachableError(ApplianceError):
    """The gateway did not answer."""

    id = "gateway-unreachable"
    exit_code = 73
    http_status = 502
    remedy = "Start it with: appliance serve."


class GatewayDrainingError(ApplianceError):
    """The gateway is stopping and takes no new requests."""

    id = "gateway-draining"
    exit_code = 74
    http_status = 503
    remedy = "Send the request again in a few seconds."
