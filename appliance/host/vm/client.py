"""Calls to a Proxmox VE server: through proxmoxer, with time limits, TLS and plain errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import quote

from appliance.core.errors.host import (
    ProxmoxAnswerError,
    ProxmoxRefusedError,
    ProxmoxTaskError,
    ProxmoxUnreachableError,
)

Method = Literal["get", "post", "put", "delete"]
UNAUTHORISED, FORBIDDEN, SERVER_FAULT = 401, 403, 500


class Proxmox(Protocol):
    """The API, as far as the appliance uses it."""

    def call(self, method: Method, path: str, **parameters: Any) -> Any:
        """Call ``path`` below ``/api2/json`` and return its data."""
        ...


@dataclass(frozen=True)
class Access:
    """Where the server is and who calls.

    ``token_id`` is ``user@realm!name``; ``ca`` is a file with the server's certificate or its
    authority: without it the system's authorities are asked. TLS is never left unchecked.
    """

    host: str
    token_id: str
    token_secret: str
    ca: str | None = None
    port: int = 8006
    timeout_s: float = 15.0


class ProxmoxerClient:
    """The API through the proxmoxer package."""

    def __init__(self, access: Access) -> None:
        from proxmoxer import ProxmoxAPI

        user, separator, name = access.token_id.partition("!")
        if not separator or not name or "@" not in user:
            raise ProxmoxRefusedError(
                expected="a token id such as appliance@pve!install", found="another form"
            )
        self._access = access
        self._api = ProxmoxAPI(
            access.host,
            port=access.port,
            user=user,
            token_name=name,
            token_value=access.token_secret,
            verify_ssl=access.ca or True,
            timeout=access.timeout_s,
        )

    def call(self, method: Method, path: str, **parameters: Any) -> Any:
        """Call ``path``; every failure becomes one of this part's errors."""
        import requests
        from proxmoxer.core import ResourceException

        where = f"{method.upper()} {path}"
        try:
            return getattr(self._api(path.strip("/")), method)(**parameters)
        except ResourceException as error:
            raise _refusal(where, error) from error
        except requests.exceptions.SSLError as error:
            raise ProxmoxUnreachableError(
                expected=f"a certificate that --ca or the system vouches for at {self._where}",
                found="one that nobody known vouches for",
            ) from error
        except requests.exceptions.Timeout as error:
            raise ProxmoxUnreachableError(
                expected=f"an answer to {where} within {self._access.timeout_s:g} s", found="none"
            ) from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise ProxmoxUnreachableError(
                expected=f"a Proxmox VE server at {self._where}", found=type(error).__name__
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProxmoxAnswerError(
                expected=f"JSON with data from {where}", found="something else"
            ) from error

    @property
    def _where(self) -> str:
        return f"{self._access.host}:{self._access.port}"


def _refusal(where: str, error: Any) -> Exception:
    status = int(getattr(error, "status_code", 0))
    words = str(getattr(error, "status_message", "") or getattr(error, "content", ""))[:200]
    if status == UNAUTHORISED:
        return ProxmoxRefusedError(
            expected="a token the server knows",
            found=f"401 for {where}",
            remedy="Check the token id and its secret; the token may have expired.",
        )
    if status == FORBIDDEN:
        return ProxmoxRefusedError(expected=f"the right to {where}", found=f"403: {words}")
    if status >= SERVER_FAULT:
        return ProxmoxAnswerError(
            expected=f"{where} to be carried out",
            found=f"{status}: {words}",
            remedy="See the server's journal (pvedaemon); then run the same command again.",
        )
    return ProxmoxRefusedError(
        expected=f"{where} to be a call this server takes", found=f"{status}: {words}"
    )


def data(value: Any, kind: type, where: str) -> Any:
    """Return ``value`` when it is a ``kind``; a server that answers otherwise is not believed."""
    if not isinstance(value, kind):
        raise ProxmoxAnswerError(
            expected=f"{kind.__name__} from {where}", found=type(value).__name__
        )
    return value


@dataclass(frozen=True)
class Patience:
    """How long a task may take (seconds) and how often it is asked after."""

    task_s: float = 900.0
    poll_s: float = 1.0
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic


def wait_for(api: Proxmox, node: str, upid: Any, patience: Patience) -> None:
    """Wait until the task ``upid`` ended well; warnings count as well, anything else does not."""
    task = str(data(upid, str, "the call that starts a task"))
    if not task.startswith("UPID:"):
        raise ProxmoxAnswerError(expected="the id of a task (UPID:...)", found="another text")
    path = f"nodes/{node}/tasks/{quote(task, safe='')}/status"
    until = patience.now() + patience.task_s
    while True:
        state: Mapping[str, Any] = data(api.call("get", path), dict, "the task's status")
        if state.get("status") == "stopped":
            break
        if patience.now() >= until:
            raise ProxmoxTaskError(
                expected=f"the task to end within {patience.task_s:g} s",
                found="it still runs",
                remedy="Let it end in Proxmox VE, then run the same command again.",
            )
        patience.sleep(patience.poll_s)
    end = str(state.get("exitstatus", "no exit status"))
    if end != "OK" and not end.startswith("WARNINGS"):
        raise ProxmoxTaskError(expected="the task to end with OK", found=end[:200])
