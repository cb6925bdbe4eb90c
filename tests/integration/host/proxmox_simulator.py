"""A Proxmox VE server for tests: real HTTPS, every call checked against the published API.

Paths, methods, parameters, types and limits come from ``apidata.js`` (pve-docs), read from the
shared vectors. The simulator keeps the state of machines, runs tasks and can be told to fail.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

TOKEN = "PVEAPIToken=appliance@pve!install=11111111-2222-3333-4444-555555555555"
GIB = 1 << 30


class Api:
    """The published API: finds a path and checks parameters."""

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        roots = json.JSONDecoder().raw_decode(text[text.index("[") :])[0]
        self._nodes: list[tuple[re.Pattern[str], dict[str, Any]]] = []
        self._walk(roots)

    def _walk(self, nodes: list[dict[str, Any]]) -> None:
        for node in nodes:
            pattern = re.sub(r"\\\{(.+?)\\\}", _group, re.escape(node["path"]))
            self._nodes.append((re.compile(pattern + "$"), node))
            self._walk(node.get("children", []))

    def check(self, method: str, path: str, given: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Return (API path, all parameters); raise ValueError naming what is wrong."""
        for pattern, node in self._nodes:
            match = pattern.match(path)
            info = node.get("info", {}).get(method) if match else None
            if match and info:
                named = {k.replace("_", "-"): unquote(v) for k, v in match.groupdict().items()}
                parameters = {**given, **{k: v for k, v in named.items() if v is not None}}
                _check_all(info.get("parameters", {}), parameters)
                return node["path"], parameters
        raise LookupError(f"{method} {path}")


def _group(match: re.Match[str]) -> str:
    return f"(?P<{match[1].replace('-', '_').replace(chr(92), '')}>[^/]+)"


def _check_all(schema: dict[str, Any], given: dict[str, str]) -> None:
    properties: dict[str, Any] = schema.get("properties", {})
    numbered = {k[:-3]: v for k, v in properties.items() if k.endswith("[n]")}
    for name, value in given.items():
        rule = properties.get(name) or numbered.get(name.rstrip("0123456789"))
        if rule is None:
            raise ValueError(f"{name}: property is not defined in schema")
        _check_one(name, rule, value)
    for name, rule in properties.items():
        if not rule.get("optional") and not name.endswith("[n]") and name not in given:
            raise ValueError(f"{name}: property is missing and it is not optional")


def _check_one(name: str, rule: dict[str, Any], value: str) -> None:
    kind = rule.get("type")
    if kind in {"integer", "number"}:
        number = float(value)
        if kind == "integer" and not number.is_integer():
            raise ValueError(f"{name}: type check ('integer') failed")
        if number < rule.get("minimum", number) or number > rule.get("maximum", number):
            raise ValueError(f"{name}: value is out of range")
    if kind == "boolean" and value not in {"0", "1"}:
        raise ValueError(f"{name}: type check ('boolean') failed")
    if "enum" in rule and value not in rule["enum"]:
        raise ValueError(f"{name}: value '{value}' does not have a value in the enumeration")
    if "pattern" in rule and not re.fullmatch(_perl(rule["pattern"]), value):
        raise ValueError(f"{name}: value does not match the regex pattern")
    if "maxLength" in rule and len(value) > rule["maxLength"]:
        raise ValueError(f"{name}: value may only be {rule['maxLength']} characters long")
    if isinstance(rule.get("format"), dict):
        _check_options(name, rule["format"], value)


def _perl(pattern: str) -> str:
    return pattern.replace("(?^:", "(?:")


def _check_options(name: str, form: dict[str, Any], value: str) -> None:
    default = next((k for k, v in form.items() if v.get("default_key")), None)
    for part in value.split(","):
        key, equals, inner = part.partition("=")
        if not equals:
            key, inner = default or "", part
        rule = form.get(key)
        if rule is None:
            raise ValueError(f"{name}.{key}: property is not defined in schema")
        if "alias" not in rule:
            _check_one(f"{name}.{key}", rule, inner)


@dataclass
class Server:
    """State of the simulated cluster, and the faults a test asks for."""

    api: Api
    machines: dict[int, dict[str, Any]] = field(default_factory=dict)
    running: dict[int, str] = field(default_factory=dict)
    locks: dict[int, str] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    faults: dict[str, Any] = field(default_factory=dict)
    task_polls: int = 1
    free_bytes: int = 4000 * GIB

    def answer(self, method: str, path: str, given: dict[str, str]) -> tuple[int, Any]:
        """Return (status, data) as the server would."""
        try:
            api_path, parameters = self.api.check(method, path, given)
        except LookupError as error:
            return 501, {"message": f"Method '{error}' not implemented"}
        except ValueError as error:
            name, _, why = str(error).partition(":")
            return 400, {"message": "Parameter verification failed.", "errors": {name: why}}
        self.calls.append((method, api_path, parameters))
        if "token may not" in (refused := self._raw_pci(parameters)):
            return 403, {"message": refused}
        return self._dispatch(method, api_path, parameters)

    @staticmethod
    def _raw_pci(parameters: dict[str, str]) -> str:
        raw = [v for k, v in parameters.items() if k.startswith("hostpci") and "mapping=" not in v]
        return "token may not set raw hostpci; only root can" if raw else ""

    def _dispatch(self, method: str, path: str, p: dict[str, str]) -> tuple[int, Any]:
        node = "pve1"
        reads: dict[str, Any] = {
            "/nodes": [{"node": node, "status": "online"}],
            "/nodes/{node}/status": {"memory": {"total": 128 * GIB, "free": 120 * GIB}},
            "/nodes/{node}/storage": [
                {"storage": "fast", "content": "images,rootdir", "avail": self.free_bytes},
                {"storage": "local", "content": "iso,snippets", "avail": 50 * GIB},
            ],
            "/nodes/{node}/network": [
                {"iface": "vmbr0", "type": "bridge", "bridge_ports": "eno1"},
                {"iface": "vmbr9", "type": "bridge", "bridge_ports": ""},
            ],
            "/cluster/mapping/pci": [
                {"id": "gpu0", "map": [f"node={node},path=0000:01:00,id=10de:2b85"]},
                {"id": "gpu1", "map": [f"node={node},path=0000:41:00,id=10de:2b85"]},
            ],
            "/cluster/nextid": str(next(n for n in range(100, 999) if n not in self.machines)),
            "/cluster/resources": [
                {"vmid": v, "name": c["name"], "node": node, "type": "qemu"}
                for v, c in self.machines.items()
            ],
        }
        if method == "GET" and path in reads:
            return 200, reads[path]
        if path == "/nodes/{node}/tasks/{upid}/status":
            return 200, self._task(p["upid"])
        if path == "/nodes/{node}/qemu" and method == "POST":
            return self._create(int(p["vmid"]), p)
        vmid = int(p.get("vmid", 0))
        if vmid not in self.machines:
            return 500, {"message": f"Configuration file 'qemu-server/{vmid}.conf' does not exist"}
        return self._machine(method, path, vmid, p)

    def _machine(self, method: str, path: str, vmid: int, p: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("/config") and method == "GET":
            return 200, self.machines[vmid]
        if path.endswith("/status/current"):
            state = {"status": self.running.get(vmid, "stopped"), "vmid": vmid}
            return 200, state | ({"lock": self.locks[vmid]} if vmid in self.locks else {})
        if vmid in self.locks:
            return 500, {"message": f"VM is locked ({self.locks[vmid]})"}
        return self._write(method, path, vmid, p)

    def _write(self, method: str, path: str, vmid: int, p: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("/config") and method == "POST":
            for key in p.pop("delete", "").split(","):
                self.machines[vmid].pop(key, None)
            self.machines[vmid] |= {k: v for k, v in p.items() if k not in {"node", "vmid"}}
            self._name_card(self.machines[vmid])
            return 200, self._new_task("qmconfig", vmid)
        if method == "DELETE":
            if self.running.get(vmid) == "running":
                return 500, {"message": f"VM {vmid} is running - destroy failed"}
            del self.machines[vmid]
            return 200, self._new_task("qmdestroy", vmid)
        return 501, {"message": "not simulated"}

    def _create(self, vmid: int, p: dict[str, str]) -> tuple[int, Any]:
        if vmid in self.machines:
            return 500, {"message": f"unable to create VM {vmid} - VM {vmid} already exists"}
        task = self._new_task("qmcreate", vmid)
        if self.tasks[task]["exitstatus"] == "OK" and not self.faults.get("forgets"):
            self.machines[vmid] = self._allocated(vmid, p)
        return 200, task

    @staticmethod
    def _allocated(vmid: int, p: dict[str, str]) -> dict[str, Any]:
        config: dict[str, Any] = {k: v for k, v in p.items() if k not in {"node", "vmid"}}
        for number, key in enumerate(("efidisk0", "tpmstate0", "scsi0", "scsi1")):
            head, _, rest = config[key].partition(",")
            storage, _, size = head.partition(":")
            config[key] = f"{storage}:vm-{vmid}-disk-{number},{rest},size={size}G"
        Server._name_card(config)
        for key in ("cores", "sockets", "balloon", "onboot"):
            config[key] = int(config[key])
        return config

    @staticmethod
    def _name_card(config: dict[str, Any]) -> None:
        """Give a network card its address, as the server does."""
        if config.get("net0", "").startswith("virtio,"):
            config["net0"] = config["net0"].replace("virtio", "virtio=BC:24:11:00:00:01", 1)

    def _new_task(self, kind: str, vmid: int) -> str:
        number = f"0000{len(self.tasks):04X}:00000001:65000000"
        upid = f"UPID:pve1:{number}:{kind}:{vmid}:appliance@pve!install:"
        end = self.faults.get("task", "OK")
        self.tasks[upid] = {"left": self.task_polls, "exitstatus": end}
        return upid

    def _task(self, upid: str) -> dict[str, Any]:
        task = self.tasks[upid]
        task["left"] -= 1
        if task["left"] >= 0:
            return {"status": "running", "upid": upid}
        return {"status": "stopped", "exitstatus": task["exitstatus"], "upid": upid}


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            given = dict(parse_qsl(parts.query) + parse_qsl(body))
            if self.headers.get("Authorization") != TOKEN:
                return self._send(401, {"message": "no such token"})
            if wait := server.faults.get("silence"):
                time.sleep(wait)
            if status := server.faults.get("status"):
                return self._send(status, {"message": "made to fail by the test"})
            if garbage := server.faults.get("garbage"):
                return self._raw(200, garbage)
            path = parts.path.removeprefix("/api2/json")
            status, data = server.answer(self.command, path, given)
            wrapped = {"data": data} if status == 200 else {"data": None, **data}
            return self._send(status, wrapped)

        def _send(self, status: int, value: Any) -> None:
            self._raw(status, json.dumps(value).encode())

        def _raw(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Stay quiet."""

    return Handler


@contextmanager
def serving(server: Server, certificate: Path, key: Path) -> Iterator[int]:
    """Serve over TLS on a free loopback port; yield the port."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield http.server_address[1]
    finally:
        http.shutdown()
        http.server_close()
