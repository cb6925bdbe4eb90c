from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pkcs11
import pytest

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.keys import FileKeys, check_signer
from appliance.audit.keys_pkcs11 import HsmKeys
from appliance.audit.keys_tpm2 import ToolTpm, TpmKeys, read_sealed
from appliance.audit.note import SeedSigner
from appliance.audit.selftest import self_test
from appliance.audit.verify import Options, verify_home
from appliance.core.errors import AuditKeyError, AuditSelfTestError
from appliance.core.home import Home
from appliance.core.settings.audit import AuditSettings
from tests.integration.audit.conftest import stop_writer
from tests.integration.audit.test_writer import body

SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")


def need(program: str, *packages: str) -> None:
    """Install what is missing where that is possible, and fail where it is not."""
    if shutil.which(program) is None and os.geteuid() == 0:
        command = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "install", "-y"]
        command += ["--no-install-recommends", *packages]
        subprocess.run(command, check=True, capture_output=True)
    if shutil.which(program) is None:
        pytest.fail(f"{program} is needed: apt-get install {' '.join(packages)}")


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditSettings]:
    """A SoftHSM token of these tests' own."""
    need("softhsm2-util", "softhsm2")
    folder = tmp_path_factory.mktemp("hsm")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    (folder / "pin").write_text("1234\n")
    (folder / "pin").chmod(0o600)
    old = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")
    subprocess.run(
        [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "appliance-audit",
            "--pin",
            "1234",
            "--so-pin",
            "5678",
        ],
        check=True,
        capture_output=True,
    )
    # The library reads its configuration once a process: other tests may have loaded it before.
    pkcs11.lib(str(SOFTHSM)).reinitialize()
    yield AuditSettings(
        key="pkcs11", pkcs11_module=str(SOFTHSM), pkcs11_pin_file=str(folder / "pin")
    )
    del os.environ["SOFTHSM2_CONF"]
    if old is not None:
        os.environ["SOFTHSM2_CONF"] = old


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A software TPM; the value is its connection string."""
    need("swtpm", "swtpm", "swtpm-tools")
    need("tpm2_unseal", "tpm2-tools")
    folder = tmp_path_factory.mktemp("tpm")
    socket = folder / "sock"
    process = subprocess.Popen(
        (
            f"swtpm socket --tpm2 --tpmstate dir={folder} --server type=unixio,path={socket}"
            f" --ctrl type=unixio,path={socket}.ctrl --flags not-need-init,startup-clear"
        ).split(),
        stderr=subprocess.DEVNULL,
    )
    while not socket.exists():
        time.sleep(0.02)
        assert process.poll() is None
    yield f"swtpm:path={socket}"
    process.terminate()
    process.wait(10)


def test_a_key_in_an_hsm_signs_and_cannot_be_taken_out(hsm: AuditSettings) -> None:
    keys = HsmKeys(hsm)
    made = check_signer(keys.create("log/0001"), "log/0001")
    assert check_signer(keys.load("log/0001"), "log/0001") == made
    with pytest.raises(AuditKeyError, match="no key of that label"):
        keys.create("log/0001")
    keys.destroy("log/0001")
    with pytest.raises(AuditKeyError):
        keys.load("log/0001")


def test_an_hsm_with_the_wrong_pin_or_token_is_named(hsm: AuditSettings, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    pin.write_text("9999")
    pin.chmod(0o600)
    for change in ({"pkcs11_pin_file": str(pin)}, {"pkcs11_token": "other"}):
        with pytest.raises(AuditKeyError):
            HsmKeys(hsm.model_copy(update=change)).load("log/0001")
    pin.chmod(0o644)
    with pytest.raises(AuditKeyError, match="0600"):
        HsmKeys(hsm.model_copy(update={"pkcs11_pin_file": str(pin)})).load("log/0001")


def test_a_writer_signs_with_an_hsm(hsm: AuditSettings, home: Home) -> None:
    home.settings_file.write_text(
        f'[audit]\nkey = "pkcs11"\npkcs11_module = "{hsm.pkcs11_module}"\n'
        f'pkcs11_pin_file = "{hsm.pkcs11_pin_file}"\n'
    )
    sink = connect(home)
    sink.append([body()])
    assert sink.ask(wire.ROTATE)["log"] == 2
    sink.append([body()])
    sink.close()
    stop_writer(home)
    assert not (home.audit / "keys").exists()
    assert verify_home(home.audit, Options()).ok


def test_a_key_sealed_to_a_tpm_opens_only_there(tpm: str, tmp_path: Path) -> None:
    settings = AuditSettings(key="tpm2", tpm2_tcti=tpm)
    keys = TpmKeys(tmp_path, settings)
    made = check_signer(keys.create("log/0001"), "log/0001")
    assert check_signer(keys.load("log/0001"), "log/0001") == made
    path = tmp_path / "keys" / "0001.tpm2"
    data = bytearray(path.read_bytes())
    for position in range(0, len(data), 7):
        data[position] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(AuditKeyError):
            read_sealed(path)
        data[position] ^= 1
    assert not [p for p in (tmp_path / "keys").iterdir() if p.name.startswith(".tmp")]


def test_a_key_sealed_to_a_boot_state_does_not_open_in_another(tpm: str, tmp_path: Path) -> None:
    bound = ToolTpm(tmp_path, tpm, "sha256:16")
    sealed = bound.seal(b"s" * 32)
    assert bound.unseal(sealed) == b"s" * 32
    extend = ["tpm2_pcrextend", "16:sha256=" + "ab" * 32]
    subprocess.run(extend, check=True, env={**os.environ, "TPM2TOOLS_TCTI": tpm})
    with pytest.raises(AuditKeyError, match="tpm2_unseal"):
        bound.unseal(sealed)


def test_a_writer_signs_with_a_sealed_key(tpm: str, home: Home) -> None:
    home.settings_file.write_text(f'[audit]\nkey = "tpm2"\ntpm2_tcti = "{tpm}"\n')
    sink = connect(home)
    sink.append([body()])
    assert sink.ask(wire.ROTATE)["log"] == 2
    sink.close()
    stop_writer(home)
    assert [p.name for p in (home.audit / "keys").iterdir()] == ["0002.tpm2"]
    assert verify_home(home.audit, Options()).ok
    path = home.audit / "keys" / "0002.tpm2"
    path.write_bytes(path.read_bytes().replace(b"vkey", b"vkex"))
    assert [p.name for p in verify_home(home.audit, Options()).problems] == ["key"]


def test_a_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path)
    keys.create("log/0001")
    (tmp_path / "keys" / "0001.key").chmod(0o640)
    with pytest.raises(AuditKeyError, match="0600"):
        keys.load("log/0001")


def test_the_self_test_notices_wrong_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    self_test()
    monkeypatch.setattr("appliance.audit.selftest.leaf_hash", lambda _: b"x" * 32)
    with pytest.raises(AuditSelfTestError, match="RFC 6962"):
        self_test()


def test_a_signer_that_signs_wrongly_is_not_used() -> None:
    class Wrong(SeedSigner):
        def sign(self, message: bytes) -> bytes:
            return super().sign(message + b"x")

    with pytest.raises(AuditKeyError, match="verifies"):
        check_signer(Wrong.generate(), "log/0001")
