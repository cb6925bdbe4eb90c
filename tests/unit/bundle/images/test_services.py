"""The compose file says what the container tests then see; here it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.bundle.images.recipe import load_defaults, load_image, names
from appliance.bundle.images.services import (
    Plan,
    carried,
    container_options,
    read_plan,
    substitute,
)
from appliance.core.errors import BundleRecipeError
from tests.unit.bundle.images.memory_engine import small_archive

ROOT = Path(__file__).resolve().parents[4]
IMAGES = ROOT / "images"


@pytest.fixture
def plan() -> Plan:
    return read_plan(IMAGES / "compose.yaml", {"APPLIANCE_SECURITY": str(ROOT / "security")})


def test_every_service_is_hardened_and_limited(plan: Plan) -> None:
    for name in plan.services:
        options = container_options(plan, name)
        assert options["read_only"] is True, name
        assert options["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in options["security_opt"], name
        assert any(o.startswith("seccomp={") for o in options["security_opt"]), name
        assert options["pids_limit"] <= 1024 and options["mem_limit"], name
        assert "privileged" not in plan.services[name] and "cap_add" not in plan.services[name]
        assert plan.services[name]["pull_policy"] == "never"


def test_only_what_clients_call_is_on_a_network_that_leads_outside(plan: Plan) -> None:
    outside = {n for n, s in plan.services.items() if "lan" in s.get("networks", [])}
    assert outside == {"gateway", "console"}
    assert plan.networks["inside"]["internal"] is True
    masquerade = "com.docker.network.bridge.enable_ip_masquerade"
    assert plan.networks["lan"]["driver_opts"][masquerade] == "false"
    for name in ("inference", "trainer"):
        assert plan.services[name]["network_mode"] == "none"


def test_ports_are_published_on_one_named_address(plan: Plan) -> None:
    for service in plan.services.values():
        for port in service.get("ports", []):
            assert port.count(":") == 2
    given = read_plan(IMAGES / "compose.yaml", {"APPLIANCE_LAN_ADDRESS": "192.0.2.7"})
    assert given.services["gateway"]["ports"] == ["192.0.2.7:8443:8443"]


def test_a_host_with_apparmor_gets_its_profile() -> None:
    found = read_plan(IMAGES / "compose.yaml", {}, apparmor="appliance-service")
    assert "apparmor=appliance-service" in container_options(found, "gateway")["security_opt"]
    text = (ROOT / "security" / "apparmor" / "appliance-service").read_text(encoding="utf-8")
    assert "profile appliance-service " in text


def test_a_bundle_for_cards_brings_other_images_and_their_containers_get_the_cards(
    plan: Plan, tmp_path: Path
) -> None:
    """The shipped recipe for NVIDIA has NAME-cuda where the compose file says NAME."""
    for name in ("gateway", "inference-cuda", "trainer-cuda", "console", "console-cuda"):
        small_archive(tmp_path / f"{name}.oci.tar", f"appliance/{name}:7")
    found = carried(plan, tmp_path)
    images = {name: service["image"] for name, service in found.services.items()}
    assert images["inference"] == "appliance/inference-cuda:7"
    assert images["trainer"] == "appliance/trainer-cuda:7"
    assert {n for n, s in images.items() if s != plan.services[n]["image"]} == {
        "inference",
        "trainer",
    }
    request = container_options(found, "inference")["device_requests"]
    assert [(r.driver, r.device_ids) for r in request] == [("cdi", ["nvidia.com/gpu=all"])]
    assert "device_requests" not in container_options(found, "gateway")
    assert carried(plan, tmp_path / "nothing") == plan


def test_no_service_may_talk_to_the_engine_that_runs_it() -> None:
    assert "docker.sock" not in (IMAGES / "compose.yaml").read_text(encoding="utf-8")


def test_a_key_that_would_be_ignored_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text("name: x\nservices: {a: {image: b, privileged: true}}\n", encoding="utf-8")
    with pytest.raises(BundleRecipeError, match="privileged"):
        read_plan(path, {})


def test_a_variable_without_a_value_is_refused() -> None:
    assert substitute("${A:-1} ${B}", {"B": "2"}) == "1 2"
    with pytest.raises(BundleRecipeError, match="MISSING"):
        substitute("${MISSING}", {})


def test_every_image_of_the_compose_file_has_a_recipe(plan: Plan) -> None:
    used = {s["image"].split("/")[1].split(":")[0] for s in plan.services.values()}
    assert used <= set(names(IMAGES))


@pytest.mark.parametrize("name", names(IMAGES))
def test_recipes_are_sound(name: str) -> None:
    image = load_image(IMAGES, name)
    assert image.user >= 1000
    assert image.health is not None or name.startswith(("agent", "base", "trainer"))
    assert all((IMAGES / name / source).is_file() for source in image.files)
    assert not image.shell


def test_the_shared_time_is_fixed() -> None:
    assert load_defaults(IMAGES).source_date_epoch == 1793491200


def test_the_seccomp_profile_refuses_by_default_and_names_no_dangerous_call() -> None:
    profile = json.loads((ROOT / "security" / "seccomp" / "appliance.json").read_text("utf-8"))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")
        for name in rule["names"]
    }
    dangerous = {
        *("mount", "umount2", "unshare", "setns", "ptrace", "bpf", "keyctl", "add_key", "clone"),
        *("request_key", "perf_event_open", "init_module", "finit_module", "kexec_load", "clone3"),
        *("reboot", "swapon", "userfaultfd", "io_uring_setup", "process_vm_readv", "socket"),
        *("process_vm_writev", "open_by_handle_at", "pivot_root", "chroot", "mknod", "mknodat"),
        *("settimeofday", "clock_settime", "personality", "quotactl", "syslog", "move_mount"),
    }
    assert not allowed & dangerous


def test_an_unknown_key_in_a_recipe_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "image.yaml").write_text("title: x\nuser: 10001\nprivileged: true\n", "utf-8")
    with pytest.raises(BundleRecipeError, match="privileged"):
        load_image(tmp_path, "odd")
    (folder / "image.yaml").write_text("title: x\nuser: 0\n", "utf-8")
    with pytest.raises(BundleRecipeError, match="user"):
        load_image(tmp_path, "odd")
