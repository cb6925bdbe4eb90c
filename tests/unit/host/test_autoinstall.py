from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from appliance.cli.host_autoinstall import autoinstall as command
from appliance.core.errors.host import AutoinstallInvalidError
from appliance.core.home import Home
from appliance.host.autoinstall import KEYFILE, Wanted, autoinstall, render, storage

KEY = "ssh-ed25519 " + "A" * 68 + " admin@hospital.example"
HASH = "$6$" + "s" * 16 + "$" + "h" * 86
WANTED = Wanted("appliance-1", "appliance-admin", HASH, (KEY,), "S5GXNX0T000001")
EXAMPLE = Path(__file__).parents[3] / "images" / "autoinstall" / "example"


@pytest.fixture(scope="session")
def schema(shared_dir: Path) -> Any:
    path = shared_dir / "vectors" / "autoinstall" / "autoinstall-schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _by_id(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in document["autoinstall"]["storage"]["config"]}


def test_the_seed_is_valid_under_the_published_schema(schema: Any) -> None:
    jsonschema.validate(autoinstall(WANTED)["autoinstall"], schema)


def test_every_key_is_one_the_schema_knows_and_wrong_types_are_refused(schema: Any) -> None:
    value = autoinstall(WANTED)["autoinstall"]
    assert value.keys() <= schema["properties"].keys()
    for key, wrong in (("ssh", "yes"), ("shutdown", "never"), ("identity", {"hostname": "a"})):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value | {key: wrong}, schema)


def test_everything_but_boot_lies_in_the_encrypted_volume() -> None:
    items = _by_id(autoinstall(WANTED))
    assert items["crypt"]["volume"] == "secret"
    assert items["vg"]["devices"] == ["crypt"]
    mounts = {i["path"]: i["device"] for i in items.values() if i["type"] == "mount"}
    assert {"/", "/var", "/var/log", "/var/log/audit", "/home"} <= mounts.keys()
    clear = {p for p, d in mounts.items() if items[items[d]["volume"]]["type"] != "lvm_partition"}
    assert clear == {"/boot", "/boot/efi"}


def test_every_item_names_items_that_come_before_it() -> None:
    seen: set[str] = set()
    for item in storage("S5GXNX0T000001")["config"]:
        for key in ("device", "volume", "volgroup"):
            assert item.get(key) is None or item[key] in seen, item
        seen.add(item["id"])


def test_the_disk_is_named_by_its_serial_never_by_its_place() -> None:
    assert _by_id(autoinstall(WANTED))["disk"]["match"] == {"serial": "S5GXNX0T000001"}
    assert "/dev/" not in render(WANTED).replace("/dev/console", "")


def test_no_passphrase_is_in_the_seed_and_it_is_asked_for() -> None:
    value = autoinstall(WANTED)["autoinstall"]
    assert _by_id({"autoinstall": value})["crypt"] == {
        "id": "crypt",
        "type": "dm_crypt",
        "volume": "secret",
        "dm_name": "system",
        "keyfile": KEYFILE,
    }
    assert KEYFILE in value["early-commands"][0][2]


def test_no_network_no_updates_no_passwords_over_ssh() -> None:
    value = autoinstall(WANTED)["autoinstall"]
    assert value["network"] == {"version": 2, "ethernets": {}}
    assert value["apt"]["fallback"] == "offline-install"
    assert value["refresh-installer"] == {"update": False}
    assert value["ssh"] == {"install-server": True, "allow-pw": False, "authorized-keys": [KEY]}


def test_the_file_reads_back_as_what_was_meant() -> None:
    text = render(WANTED)
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == autoinstall(WANTED)
    assert text == render(WANTED)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostname", "Bad_Name"),
        ("hostname", "a\nb"),
        ("user", "root; rm"),
        ("disk_serial", "../sda"),
        ("password_hash", "secret"),
        ("password_hash", "$1$abc$def"),
        ("keys", ()),
        ("keys", ("not a key",)),
        ("keys", (KEY, KEY + "\nssh-rsa other")),
        ("locale", "x\n- y"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(AutoinstallInvalidError) as caught:
        render(replace(WANTED, **{field: value}))
    assert str(value) not in caught.value.found


@given(st.text(max_size=80))
def test_no_text_gets_out_of_its_field(text: str) -> None:
    try:
        value = yaml.safe_load(render(replace(WANTED, hostname=text, disk_serial=text)))
    except AutoinstallInvalidError:
        return
    assert value["autoinstall"]["identity"]["hostname"] == text
    assert value.keys() == {"autoinstall"}


def test_the_example_is_what_the_code_writes() -> None:
    assert (EXAMPLE / "user-data").read_text(encoding="utf-8") == render(WANTED)


def test_the_command_writes_both_files(home: Home, tmp_path: Path) -> None:
    home.settings_file.write_text(f'[host]\nadmin_keys = ["{KEY}"]\n', encoding="utf-8")
    (tmp_path / "hash").write_text(HASH + "\n", encoding="utf-8")
    arguments = [
        str(tmp_path / "seed"),
        "--hostname",
        "appliance-1",
        "--disk-serial",
        "S5GXNX0T000001",
    ]
    arguments += ["--password-hash-file", str(tmp_path / "hash"), "--json"]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert done.return_value == 0
    assert json.loads(done.stdout)["files"] == ["meta-data", "user-data"]
    assert (tmp_path / "seed" / "user-data").read_text(encoding="utf-8") == render(WANTED)
    assert (tmp_path / "seed" / "user-data").stat().st_mode & 0o777 == 0o600
