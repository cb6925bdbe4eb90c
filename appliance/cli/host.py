"""``appliance host``: plan, provision and verify the machine."""

from __future__ import annotations

import click

from appliance.cli.host_vm import vm


@click.group()
def host() -> None:
    """Plan, provision and verify the machine."""


host.add_command(vm)
