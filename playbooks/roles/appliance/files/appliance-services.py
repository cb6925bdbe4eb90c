#!/usr/bin/env python3
"""Start and stop the appliance's containers from the proven bundle; run by systemd.

    python appliance-services.py up|down|status CONTENT

CONTENT is the bundle's folder: images/compose.yaml, images/*.oci.tar and security/. Every archive
is proven before the engine gets it, and the engine's image is compared with what was proven.
``status`` prints one JSON object; exit code 1 when a service is not healthy.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PROFILE = "appliance-service"
WAIT_S = 300  # a large model is read from the disk before its service is healthy
LOADED_PROFILES = Path("/sys/kernel/security/apparmor/profiles")


def has_profile() -> bool:
    """Return True when the kernel enforces the services' profile."""
    try:
        lines = LOADED_PROFILES.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return f"{PROFILE} (enforce)" in lines


def health(client: Any, plan: Any) -> dict[str, str]:
    """Return what each service that should run does."""
    found = {}
    for name, service in plan.services.items():
        if service.get("profiles"):
            continue
        rows = client.containers.list(all=True, filters={"name": f"^{plan.project}-{name}$"})
        state = rows[0].attrs["State"] if rows else {"Status": "missing"}
        found[name] = state.get("Health", {}).get("Status", state["Status"])
    return found


def well(states: dict[str, str]) -> bool:
    """Return True when every service runs and is not known to be ill."""
    return set(states.values()) <= {"running", "healthy"}


def wait(client: Any, plan: Any) -> dict[str, str]:
    """Wait until every service is well, or the time is over."""
    until = time.monotonic() + WAIT_S
    while not well(states := health(client, plan)) and time.monotonic() < until:
        time.sleep(2)
    return states


def main() -> int:
    """Run."""
    from appliance.bundle.images.engine import connect, load
    from appliance.bundle.images.services import down, read_plan, up

    verb, content = sys.argv[1], Path(sys.argv[2])
    client = connect()
    profile = PROFILE if has_profile() else None
    plan = read_plan(content / "images" / "compose.yaml", dict(os.environ), apparmor=profile)
    if verb in {"up", "down"}:
        down(client, plan)
    if verb == "up":
        for archive in sorted((content / "images").glob("*.oci.tar")):
            load(client, archive)
        up(client, plan)
    states = wait(client, plan) if verb == "up" else health(client, plan)
    sys.stdout.write(json.dumps({"ok": well(states), "services": states}, sort_keys=True) + "\n")
    return 0 if verb == "down" or well(states) else 1


if __name__ == "__main__":
    sys.exit(main())
