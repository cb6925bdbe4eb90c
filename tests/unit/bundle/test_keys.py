"""Key files, the ceremony, and keys on a PKCS#11 token."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pkcs11
import pytest

from appliance.bundle import ceremony, keyfile
from appliance.bundle.keyfile import create, import_hsm, load_public, load_signer
from appliance.bundle.trust import Anchor, load_trusted
from appliance.bundle.tufapi import Metadata
from appliance.bundle.verify import verify
from appliance.bundle.writer import Item, Repository, Signers
from appliance.core.canonical import canonical_json
from appliance.core.errors import KeyUnusableError
from appliance.core.progress import NoProgress
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, World, load
from tests.unit.bundle.test_standalone import ask

FAST = 10
LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


def says(text: str) -> keyfile.Ask:
    return lambda _what: text


def test_key_file_round_trip(tmp_path: Path) -> None:
    public = create(tmp_path / "k", "pass phrase", log_n=FAST)
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    signer = load_signer(tmp_path / "k", says("pass phrase"))
    public.verify_signature(signer.sign(b"payload"), b"payload")
    assert load_public(tmp_path / "k").key.keyid == public.keyid


def test_wrong_passphrase_and_changed_file(tmp_path: Path) -> None:
    create(tmp_path / "k", "pass", log_n=FAST)
    with pytest.raises(KeyUnusableError):
        load_signer(tmp_path / "k", says("Pass"))
    value = json.loads((tmp_path / "k").read_bytes())
    other = create(tmp_path / "k2", "pass", log_n=FAST)
    value["public"], value["keyid"] = other.to_dict(), other.keyid
    (tmp_path / "k").write_bytes(canonical_json(value))
    with pytest.raises(KeyUnusableError):
        load_signer(tmp_path / "k", says("pass"))


def test_keys_are_not_replaced_and_need_a_passphrase(tmp_path: Path) -> None:
    create(tmp_path / "k", "pass", log_n=FAST)
    with pytest.raises(KeyUnusableError, match="not replaced"):
        create(tmp_path / "k", "pass", log_n=FAST)
    with pytest.raises(KeyUnusableError, match="empty"):
        create(tmp_path / "k2", "", log_n=FAST)


def test_root_needs_three_keys_and_two_signatures() -> None:
    world = World()
    role = [world.release.public_key]
    two = [k.public_key for k in world.root_keys[:2]]
    with pytest.raises(KeyUnusableError, match="three root keys"):
        ceremony.new_root(ceremony.RoleKeys(two, role, role, role), NOW, 10)
    same = [two[0], two[0], two[1]]
    with pytest.raises(KeyUnusableError, match="three root keys"):
        ceremony.new_root(ceremony.RoleKeys(same, role, role, role), NOW, 10)
    three = [k.public_key for k in world.root_keys]
    with pytest.raises(KeyUnusableError, match="threshold"):
        ceremony.new_root(ceremony.RoleKeys(three, role, role, role, 1), NOW, 10)


def test_rotation_needs_the_old_and_the_new_threshold() -> None:
    world = World()
    fresh = [World().root_keys[0], World().root_keys[1], world.root_keys[2]]
    unsigned = world.root(fresh, [])
    assert ceremony.complete(unsigned, world.roots[0])[0] is False
    only_new = ceremony.sign(ceremony.sign(unsigned, fresh[0]), fresh[1])
    assert ceremony.complete(only_new, world.roots[0])[0] is False
    both = ceremony.sign(ceremony.sign(only_new, world.root_keys[0]), world.root_keys[1])
    assert ceremony.complete(both, world.roots[0])[0] is True


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the library of a fresh software token with one ECDSA P-256 key."""
    library = next((Path(p) for p in LIBRARIES if Path(p).is_file()), None)
    tool = shutil.which("softhsm2-util")
    if library is None or tool is None:
        pytest.fail("install softhsm2: the PKCS#11 test needs a token")
    (tmp_path / "tokens").mkdir()
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    argv = [tool, "--init-token", "--free", "--label", "release", "--pin", "1234"]
    subprocess.run([*argv, "--so-pin", "5678"], check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", MAKE_KEY, str(library)], check=True, capture_output=True)
    # The library reads its configuration once a process: other tests may have loaded it before.
    pkcs11.lib(str(library)).reinitialize()
    return library


MAKE_KEY = """
import sys, pkcs11
from pkcs11.util.ec import encode_named_curve_parameters
from pkcs11 import Attribute, KeyType
token = pkcs11.lib(sys.argv[1]).get_token(token_label="release")
with token.open(user_pin="1234", rw=True) as session:
    parameters = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True)
    parameters.generate_keypair(store=True, label="release", id=bytes([2]))
"""


def test_signing_with_a_pkcs11_token(token: Path, tmp_path: Path) -> None:
    public = import_hsm(tmp_path / "hsm.key", token, "release", 2, says("1234"))
    held = (tmp_path / "hsm.key").read_text()
    assert "sealed" not in held
    world = World()
    role = [public]
    keys = ceremony.RoleKeys([k.public_key for k in world.root_keys], role, role, role)
    root = ceremony.new_root(keys, NOW, 100)
    for holder in world.root_keys[:2]:
        root = ceremony.sign(root, holder)
    world.roots = [root]
    signer = load_signer(tmp_path / "hsm.key", says("1234"))
    (tmp_path / "medium").mkdir()
    repository = Repository(tmp_path / "medium", LIMITS)
    repository.add(Item("docs/a", b"text" * 3000))
    repository.sign(1, Signers([root], signer, signer, signer), NOW)
    medium = load(tmp_path / "medium")
    trusted = load_trusted(medium, Anchor(root), NOW, LIMITS)
    assert verify(medium, trusted, LIMITS, NoProgress()).ok
    assert Metadata.from_bytes(trusted.targets).signatures.keys() == {public.keyid}
    assert ask(tmp_path / "medium", world) == 0
    later = trusted.timestamp.replace(b'"expires":"2026', b'"expires":"2029')
    assert later != trusted.timestamp
    (tmp_path / "medium" / "metadata" / "timestamp.json").write_bytes(later)
    assert ask(tmp_path / "medium", world) == 1


def test_wrong_pin_and_missing_key(token: Path, tmp_path: Path) -> None:
    import_hsm(tmp_path / "hsm.key", token, "release", 2, says("1234"))
    signer = load_signer(tmp_path / "hsm.key", says("0000"))
    root = World().roots[0]
    with pytest.raises(KeyUnusableError):
        ceremony.sign(root, signer)
    with pytest.raises(KeyUnusableError):
        import_hsm(tmp_path / "no.key", token, "release", 9, says("1234"))
