"""Runs inside the guest: takes commands from the harness over a virtio port, one JSON a line.

It is the harness's own way in, like a person's at the machine: no network, no login, and it
stays when SSH and the consoles are locked down. It uses the standard library only.
"""

import json
import subprocess
import time

PORT = "/dev/virtio-ports/proof"
LIMIT = 200_000


def answer(line: bytes) -> dict[str, object]:
    request = json.loads(line)
    try:
        done = subprocess.run(  # noqa: S602 - the harness sends shell lines on purpose
            request["command"],
            shell=True,
            executable="/bin/bash",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=request["timeout"],
            check=False,
        )
        code, out = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, out = 124, error.stdout or b""
    return {"id": request["id"], "rc": code, "out": out.decode("utf-8", "replace")[-LIMIT:]}


def main() -> None:
    with open(PORT, "r+b", buffering=0) as port:  # noqa: PTH123 - as above
        port.write(b'\n{"ready": true}\n')
        waiting = b""
        while True:
            chunk = port.read(65536)
            if not chunk:
                time.sleep(0.1)  # nobody is connected on the other side
                continue
            waiting += chunk
            while b"\n" in waiting:
                line, _, waiting = waiting.partition(b"\n")
                if line.strip():
                    reply = json.dumps(answer(line)).encode() + b"\n"
                    while reply:
                        reply = reply[port.write(reply) :]


if __name__ == "__main__":
    main()
