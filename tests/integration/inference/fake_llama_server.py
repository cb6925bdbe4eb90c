#!/usr/bin/env python3
"""Speaks llama-server's HTTP on its Unix socket, with made-up tokens; to test the supervision.

Said "crash" it ends at once; said "cut" it closes the connection in the middle of an answer.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

CRASH, CUT = [ord(c) for c in "crash"], [ord(c) for c in "cut"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._json({"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/tokenize":
            start = [1] if body["add_special"] else []
            self._json({"tokens": start + [ord(c) for c in body["content"]]})
            return
        prompt = body["prompt"]
        if prompt[-len(CRASH) :] == CRASH:
            os._exit(9)
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for token in prompt[1:]:
            self._event({"content": chr(token), "tokens": [token], "stop": False})
            if prompt[-len(CUT) :] == CUT:
                return
        count = len(prompt) - 1
        self._event({"content": "", "stop": True, "stop_type": "eos", "tokens_predicted": count})

    def _event(self, value: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> Any:
        request, _ = super().get_request()
        return request, ("unix", 0)


if __name__ == "__main__":
    if Path("never-starts").exists():
        sys.exit(1)
    Path("environment.json").write_text(json.dumps(dict(os.environ)))
    arguments = dict(zip(sys.argv, sys.argv[1:], strict=False))
    Server(arguments["--host"], Handler).serve_forever()
