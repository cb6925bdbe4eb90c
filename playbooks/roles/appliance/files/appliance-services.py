#!/usr/bin/env python3
"""Start and stop the appliance's containers from the proven bundle; run by systemd.

    python appliance-services.py up|down|status|trainer|trainer-image CONTENT

CONTENT is the bundle's folder: images/compose.yaml, images/*.oci.tar and security/. An archive is
proven before the engine gets it, and the engine's image is compared with what was proven.
``status`` prints one JSON object; exit code 1 when a service is not healthy. ``trainer`` keeps the
trainer's container up until SIGTERM (a run that is under way writes its checkpoint first).
``trainer-image`` prints the id of the trainer's image, or nothing when the bundle has none.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

PROFILE = "appliance-service"
TRAINER = "trainer"
WAIT_S = 300  # a large model is read from the disk before its service is healthy
LOOK_S = 5  # how soon it is noticed that the trainer's container ended
LOADED_PROFILES = Path("/sys/kernel/security/apparmor/profiles")


def has_profile() -> bool:
    """Return True when the kernel enforces the services' profile."""
    try:
        lines = LOADED_PROFILES.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return f"{PROFILE} (enforce)" in lines


def always(plan: Any) -> Any:
    """Return the plan with the services that always run: those without a profile."""
    services = {name: value for name, value in plan.services.items() if not value.get("profiles")}
    return replace(plan, services=services)


def health(client: Any, project: str, names: list[str]) -> dict[str, str]:
    """Return what each service that should run does."""
    found = {}
    for name in names:
        rows = client.containers.list(all=True, filters={"name": f"^{project}-{name}$"})
        state: Any = rows[0].attrs["State"] if rows else {"Status": "missing"}
        found[name] = state.get("Health", {}).get("Status", state["Status"])
    return found


def well(states: dict[str, str]) -> bool:
    """Return True when every service runs and is not known to be ill."""
    return set(states.values()) <= {"running", "healthy"}


def wait(client: Any, plan: Any) -> dict[str, str]:
    """Wait until every service is well, or the time is over."""
    until = time.monotonic() + WAIT_S
    names = list(plan.services)
    while not well(states := health(client, plan.project, names)) and time.monotonic() < until:
        time.sleep(2)
    return states


def trainer_archive(content: Path) -> Path | None:
    """Return the archive of the trainer's image, or None when the bundle has none."""
    archives = [content / "images" / f"{name}.oci.tar" for name in (TRAINER, f"{TRAINER}-cuda")]
    return next((archive for archive in archives if archive.is_file()), None)


def train(client: Any, plan: Any, archive: Path) -> int:
    """Keep the trainer's container up; return 1 when it ends by itself."""
    from appliance.bundle.images import engine, oneoff

    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    with oneoff.serving(client, plan, engine.bring(client, archive)) as container:
        while not asked.wait(LOOK_S):
            container.reload()
            if container.status != "running":
                sys.stderr.write(container.logs(tail=20).decode("utf-8", "replace"))
                return 1
    return 0


def main() -> int:
    """Run."""
    from appliance.bundle.images import engine
    from appliance.bundle.images.proof import identify
    from appliance.bundle.images.services import carried, down, read_plan, remove_others, up

    verb, content = sys.argv[1], Path(sys.argv[2])
    archive = trainer_archive(content)
    if verb == "trainer-image":
        sys.stdout.write(identify(archive)[1] if archive else "")
        return 0
    client = engine.connect()
    profile = PROFILE if has_profile() else None
    read = read_plan(content / "images" / "compose.yaml", dict(os.environ), apparmor=profile)
    whole = carried(read, content / "images")
    plan = always(whole)
    if verb == TRAINER:
        return train(client, whole, archive) if archive else 0
    if verb == "up":
        for image in sorted((content / "images").glob("*.oci.tar")):
            engine.bring(client, image)
    if verb in {"up", "down"}:
        down(client, plan)
        remove_others(client, whole)
    if verb == "up":
        up(client, plan)
        states = wait(client, plan)
    else:
        names = [*plan.services, *([TRAINER] if archive else [])]
        states = health(client, plan.project, names)
    sys.stdout.write(json.dumps({"ok": well(states), "services": states}, sort_keys=True) + "\n")
    return 0 if verb == "down" or well(states) else 1


if __name__ == "__main__":
    sys.exit(main())
