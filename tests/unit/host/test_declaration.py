from __future__ import annotations

from pathlib import Path

import pytest

from appliance.core.errors.host import DeclarationInvalidError
from appliance.core.settings.host import HostSettings, Networks
from appliance.host.declaration import SERVICES, declaration

ROOT = Path(__file__).resolve().parents[3]
POLICY = ROOT / "security" / "firewall.yaml"
SITE = HostSettings(
    networks=Networks(admin=("10.1.0.0/24",), clients=("10.2.0.0/16", "fd00:2::/48"))
)


def test_the_shipped_policy_opens_what_the_site_names_and_nothing_else() -> None:
    found = declaration(SITE, POLICY)
    assert [str(o) for o in found.host_ports] == ["10.1.0.0/24 -> 22/tcp"]
    assert [str(o) for o in found.published] == [
        "10.2.0.0/16 -> 8443/tcp",
        "fd00:2::/48 -> 8443/tcp",
    ]
    assert found.open_to("10.2.3.4") == {(8443, "tcp")}
    assert found.open_to("10.1.0.9") == {(22, "tcp")}
    assert found.open_to("198.18.7.2") == frozenset()


def test_by_default_nothing_is_open_to_anybody() -> None:
    found = declaration(HostSettings(), POLICY)
    assert found.host_ports == found.published == ()


def test_the_services_that_must_run_are_those_of_the_compose_file() -> None:
    import yaml

    services = yaml.safe_load((ROOT / "images" / "compose.yaml").read_text())["services"]
    always = {name for name, service in services.items() if "profiles" not in service}
    assert set(SERVICES) == always


@pytest.mark.parametrize("archive", ["trainer.oci.tar", "trainer-cuda.oci.tar"])
def test_the_trainer_must_run_where_its_image_was_brought(tmp_path: Path, archive: str) -> None:
    policy = tmp_path / "security" / "firewall.yaml"
    policy.parent.mkdir()
    policy.write_bytes(POLICY.read_bytes())
    assert declaration(SITE, policy).services == SERVICES
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / archive).write_bytes(b"x")
    assert declaration(SITE, policy).services == (*SERVICES, "trainer")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema: 2\ninbound: []\n",
        "schema: 1\ninbound: [{service: x, port: 0, network: admin, by: host, reason: y}]\n",
        "schema: 1\ninbound: [{service: x, port: 1, network: all, by: host, reason: y}]\n",
        "schema: 1\ninbound: [{service: x, port: 1, network: admin, by: host}]\n",
        "a: [\n",
    ],
)
def test_a_policy_that_is_not_understood_concludes_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "firewall.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationInvalidError):
        declaration(SITE, path)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationInvalidError):
        declaration(SITE, tmp_path / "none.yaml")
