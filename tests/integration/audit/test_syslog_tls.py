"""ATNA over TLS to a real rsyslog: the message arrives whole, a stranger gets nothing."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.audit.event import encode, make_event
from appliance.audit.export import Record, Source
from appliance.audit.export.atna import BOM, syslog_message
from appliance.audit.export.syslog_tls import Receiver, send
from appliance.audit.recorder import open_recorder
from appliance.cli.main import main
from appliance.core.errors.audit import AuditExportError
from appliance.core.home import Home

SOURCE = Source("appliance.hospital.example", "site-1", "0.1.0", "192.0.2.1")


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Authority:
    """A certificate authority that lives for one test."""

    def __init__(self, folder: Path, common: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name(common)
        self.path = folder / f"{common}.pem"
        builder = self._builder(self.name, self.key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path.write_bytes(
            builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
        )

    def issue(self, common: str) -> tuple[Path, Path]:
        """Issue a certificate for 127.0.0.1; return the paths of it and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            self._builder(name(common), key)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        )
        certificate, secret = self.folder / f"{common}.crt", self.folder / f"{common}.key"
        signed = builder.sign(self.key, hashes.SHA256())
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret


@dataclass
class Rsyslog:
    """A running rsyslogd and what belongs to it."""

    receiver: Receiver
    output: Path
    folder: Path

    def wait_for(self, count: int) -> list[bytes]:
        """Return the lines received once there are ``count``."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            found = self.output.read_bytes().splitlines() if self.output.exists() else []
            if len(found) >= count:
                return found
            time.sleep(0.05)
        pytest.fail(f"rsyslog received {len(found)} of {count} messages")


CONFIGURATION = """
global(
  workDirectory="{folder}"
  maxMessageSize="64k"
  defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}"
  parser.escapeControlCharactersOnReceive="off"
)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1"
       streamDriver.authMode="x509/certvalid")
template(name="whole" type="string" string="%rawmsg%\\n")
ruleset(name="take") {{ action(type="omfile" file="{output}" template="whole") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="take")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Rsyslog]:
    """rsyslogd on loopback, TLS with certificates on both ends."""
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.fail("rsyslogd is missing: install rsyslog and rsyslog-gnutls")
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("receiver")
    own, own_key = authority.issue("sender")
    port, output = free_port(), tmp_path / "received.log"
    configuration = tmp_path / "rsyslog.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=tmp_path,
            ca=authority.path,
            certificate=certificate,
            key=key,
            output=output,
            port=port,
        )
    )
    errors = (tmp_path / "rsyslog.err").open("wb")
    process = subprocess.Popen(
        [program, "-n", "-f", str(configuration), "-i", str(tmp_path / "pid")],
        stdout=errors,
        stderr=errors,
    )
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (tmp_path / "rsyslog.err").read_text()
            time.sleep(0.05)
        receiver = Receiver("127.0.0.1", port, authority.path, own, own_key)
        yield Rsyslog(receiver, output, tmp_path)
    finally:
        process.terminate()
        process.wait(20)
        errors.close()


def record(index: int, note: str = "") -> Record:
    event = make_event(
        id=f"{index:032x}",
        time="2026-03-01T12:00:00.000001Z",
        counter=index,
        phase="event",
        action="gateway.chat",
        type="110110",
        crude="R",
        component="gateway",
        user="médica-1",
        patient="p1-ana",
        reason=note or None,
        outcome="success",
    )
    stamp = b',"written":{"at":"2026-03-01T12:00:01.250000Z","log":1,"n":%d,"pid":9,"uid":0}}'
    return Record.parse(encode(event)[:-1] + stamp % index)


def test_messages_arrive_whole_and_in_order(rsyslog: Rsyslog) -> None:
    records = [record(i, "cota esgotada & <outra>") for i in range(50)]
    messages = [syslog_message(r, SOURCE, process=7) for r in records]
    assert send(rsyslog.receiver, messages) == 50
    received = rsyslog.wait_for(50)
    assert [line.replace(BOM, b"") for line in received] == [m.replace(BOM, b"") for m in messages]
    for index, line in enumerate(received):
        root = ET.fromstring(line[line.index(b"<?xml") :])  # noqa: S314 - our own bytes
        participant = root.find("ActiveParticipant")
        assert participant is not None and participant.get("UserID") == "médica-1"
        objects = root.findall("ParticipantObjectIdentification")
        assert objects[-1].get("ParticipantObjectID") == f"{index:032x}"


def test_a_receiver_of_another_authority_gets_nothing(rsyslog: Rsyslog, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    receiver = Receiver("127.0.0.1", rsyslog.receiver.port, stranger.path)
    with pytest.raises(AuditExportError, match="after 0 messages"):
        send(receiver, [syslog_message(record(1), SOURCE, process=7)])
    named = Receiver(
        "127.0.0.1",
        rsyslog.receiver.port,
        rsyslog.receiver.ca,
        rsyslog.receiver.certificate,
        rsyslog.receiver.key,
        server_name="other.example",
    )
    with pytest.raises(AuditExportError, match="after 0 messages"):
        send(named, [syslog_message(record(2), SOURCE, process=7)])
    assert not rsyslog.output.exists() or not rsyslog.output.read_bytes()


def test_no_receiver_and_no_certificates_are_errors_in_words(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    with pytest.raises(AuditExportError, match="ConnectionRefused"):
        send(Receiver("127.0.0.1", free_port(), authority.path), [b"x"])
    with pytest.raises(AuditExportError, match="certificates"):
        send(Receiver("127.0.0.1", 1, tmp_path / "missing.pem"), [b"x"])


def test_the_log_of_a_home_is_sent_by_the_command(
    rsyslog: Rsyslog, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.settings_file.write_text("[audit]\nidle_exit_s = 1\n")
    with open_recorder(home, "gateway", user="doctor-1") as recorder:
        recorder.event("gateway.chat", patient="p1-ana")
    receiver = rsyslog.receiver
    command = ["--home", str(home.root), "audit", "export", "--format", "atna", "--json"]
    command += ["--syslog", f"127.0.0.1:{receiver.port}", "--ca", str(receiver.ca)]
    command += ["--cert", str(receiver.certificate), "--key", str(receiver.key)]
    with pytest.raises(SystemExit) as ended:
        main(command)
    sent = json.loads(capsys.readouterr().out)["entries"]
    assert ended.value.code == 0
    received = rsyslog.wait_for(sent)
    assert sum(b'ParticipantObjectID="p1-ana"' in line for line in received) == 1
