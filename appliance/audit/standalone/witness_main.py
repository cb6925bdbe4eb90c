"""Testemunha do registro de auditoria, num aparelho sem rede. An offline witness of the audit log.

    python3 witness.py init --name oficial.hospital/w1     # cria a chave / makes the key
    python3 witness.py trust "VKEY DO REGISTRO"            # aceita um registro / accepts a log
    python3 witness.py cosign pedido.txt -o resposta.txt   # confere e assina / checks and signs
    python3 witness.py show                                # o que foi visto / what was seen

It keeps the largest consistent state of each log it saw and signs nothing else: a log that was cut,
rewritten or put back to an older copy is refused. Needs Python 3.8 or newer and nothing else.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any, Callable  # noqa: UP035 - Python 3.8

from appliance.audit.standalone.core import (
    WITNESS_KEY,
    Key,
    Signed,
    b64,
    consistency_holds,
    cosigned_message,
    ed25519_public,
    ed25519_sign,
    number,
    open_checkpoint,
    parse_key,
)

MAX_REQUEST_BYTES = 131072  # 63 proof lines and a note of at most 64 kB
MAX_PROOF_LINES = 63
EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
CLOCK_SLACK_S = 300  # seconds the device's clock may lie behind what it signed last

REASONS = {
    "no-key": "Crie a chave primeiro (init). / Make the key first (init).",
    "has-key": "Já existe uma chave aqui. / There is a key here already.",
    "bad-name": "Nome sem espaço nem '+'. / A name without spaces or '+'.",
    "bad-vkey": "A chave do registro está errada. / The log's key is wrong.",
    "other-key": "Já se aceita outra chave para ele. / Another key is accepted for that log.",
    "form": "O pedido está danificado. / The request is damaged.",
    "unknown": "Registro desconhecido: use 'trust'. / Unknown log: use 'trust'.",
    "signature": "A assinatura do registro não confere. / The log's signature does not verify.",
    "conflict": "O pedido parte de outro tamanho; aqui o último é {0}: peça com --old {0}."
    " / The request starts elsewhere; the last size seen here is {0}. Ask again with --old {0}.",
    "rollback": "O REGISTRO ENCOLHEU: aqui tinha {0} entradas, no pedido {1}. Não assinado."
    " / THE LOG SHRANK: {0} entries were seen here, the request has {1}. Not signed.",
    "fork": "O REGISTRO FOI REESCRITO: não continua o que foi visto aqui. Não assinado."
    " / THE LOG WAS REWRITTEN: it does not extend what was seen here. Not signed.",
    "clock": "O relógio deste aparelho recuou: acerte-o. / This device's clock was set back.",
}


class Refused(Exception):  # noqa: N818 - not an error of the program: the answer is no
    """The witness does not sign; the first argument is the key of the reason."""


class Device:
    """The witness's folder: its key and what it saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_file = folder / "witness.key"
        self.state_file = folder / "seen.json"

    def create(self, name: str) -> Key:
        """Make a key; the folder and the key are for this user only."""
        if not name or "+" in name or any(c.isspace() for c in name):
            raise Refused("bad-name")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.key_file.exists():
            raise Refused("has-key")
        write(self.key_file, json.dumps({"name": name, "seed": secrets.token_hex(32)}))
        write(self.state_file, json.dumps({}))
        return self.load()[0]

    def load(self) -> tuple[Key, bytes]:
        """Return the witness key and its seed."""
        try:
            kept = json.loads(self.key_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Refused("no-key") from None
        seed = bytes.fromhex(kept["seed"])
        return Key(kept["name"], WITNESS_KEY, ed25519_public(seed)), seed

    def logs(self) -> dict[str, Any]:
        """Return what is kept of each log, by origin. Without this file nothing may be signed."""
        if not self.state_file.exists():
            raise Refused("no-key")
        logs: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
        return logs

    def trust(self, vkey: str) -> Key:
        """Accept a log's key; a second key for the same log is refused."""
        try:
            key = parse_key(vkey)
        except ValueError:
            raise Refused("bad-vkey") from None
        logs = self.logs()
        kept = logs.setdefault(key.name, {"vkey": key.vkey, "size": 0, "root": "", "time": 0})
        if kept["vkey"] != key.vkey:
            raise Refused("other-key")
        write(self.state_file, json.dumps(logs, indent=1, sort_keys=True))
        return key

    def cosign(self, request: bytes, clock: Callable[[], float]) -> str:
        """Check a request, remember the state it shows, and return the signature line."""
        key, seed = self.load()
        old, proof, note = parse_request(request)
        logs = self.logs()
        kept = logs.get(note.decode("utf-8", "replace").split("\n")[0])
        if kept is None:
            raise Refused("unknown")
        try:
            signed = open_checkpoint(note, parse_key(kept["vkey"]), [])
        except ValueError:
            raise Refused("signature") from None
        check(kept, old, proof, signed)
        now = int(clock())
        if now + CLOCK_SLACK_S < kept["time"]:
            raise Refused("clock")
        now = max(now, kept["time"])
        kept.update(size=signed.size, root=signed.root.hex(), time=now)
        # Remembered before it is signed: after a crash the device has seen more, never less.
        write(self.state_file, json.dumps(logs, indent=1, sort_keys=True))
        value = ed25519_sign(seed, cosigned_message(signed.text, now))
        data = key.ident + now.to_bytes(8, "big") + value
        return f"\u2014 {key.name} {base64.b64encode(data).decode()}\n"


def write(path: Path, text: str) -> None:
    """Replace a file so that a power cut leaves the old or the new one, for this user only."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def parse_request(data: bytes) -> tuple[int, list[bytes], bytes]:
    """Read an add-checkpoint body: old size, consistency proof, signed checkpoint."""
    # A camera or an editor may turn the line ends into CR LF or drop the last one.
    data = data.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    head, separator, note = data.partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    try:
        if not separator or not lines[0].startswith("old ") or len(data) > MAX_REQUEST_BYTES:
            raise Refused("form")
        proof = [b64(line) for line in lines[1:]]
        old = number(lines[0][4:])
    except ValueError:
        raise Refused("form") from None
    if len(proof) > MAX_PROOF_LINES:
        raise Refused("form")
    return old, proof, note


def check(kept: dict[str, Any], old: int, proof: list[bytes], signed: Signed) -> None:
    """Refuse a state that does not extend the one kept (c2sp.org/tlog-witness)."""
    size = int(kept["size"])
    if signed.size < size:
        raise Refused("rollback", size, signed.size)
    if old != size:
        raise Refused("conflict", size)
    if signed.size == 0 and signed.root.hex() != EMPTY_ROOT:
        raise Refused("form")
    if size == 0:
        if proof:
            raise Refused("form")
    elif not consistency_holds(size, signed.size, proof, bytes.fromhex(kept["root"]), signed.root):
        raise Refused("fork")


def show(device: Device) -> str:
    """Write the device's key and what it saw."""
    lines = [device.load()[0].vkey]
    for origin, kept in sorted(device.logs().items()):
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(kept["time"]))
        lines.append(f"{origin}  {kept['size']}  {kept['root']}  {when if kept['time'] else '-'}")
    return "\n".join(lines) + "\n"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", default=str(Path.home() / ".hospital-witness"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("--name", required=True)
    commands.add_parser("trust").add_argument("vkey")
    commands.add_parser("show")
    sub = commands.add_parser("cosign")
    sub.add_argument("request", help="a file, or - for standard input")
    sub.add_argument("-o", "--output", help="where the answer goes (default: standard output)")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """Do what was asked and return what is to be shown."""
    device = Device(Path(options.folder))
    if options.command == "init":
        return device.create(options.name).vkey + "\n"
    if options.command == "trust":
        return device.trust(options.vkey).vkey + "\n"
    if options.command == "show":
        return show(device)
    stdin = options.request == "-"
    request = sys.stdin.buffer.read() if stdin else Path(options.request).read_bytes()
    line = device.cosign(request, time.time)
    if options.output:
        write(Path(options.output), line.rstrip("\n"))
        return "ASSINADO / SIGNED\n"
    return line


def main(arguments: list[str]) -> int:
    """Run the program; 0 done, 1 refused."""
    options = parse(arguments)
    try:
        sys.stdout.write(run(options))
    except Refused as reason:
        sys.stderr.write(REASONS[reason.args[0]].format(*reason.args[1:]) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]  # text
    sys.exit(main(sys.argv[1:]))
