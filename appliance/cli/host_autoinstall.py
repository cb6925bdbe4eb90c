"""``appliance host autoinstall``: the seed of an unattended Ubuntu installation."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--hostname", required=True, help="Name of the machine.")
@click.option("--disk-serial", required=True, help="Serial of the system disk (lsblk -o SERIAL).")
@click.option(
    "--password-hash-file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File with the output of: openssl passwd -6.",
)
@click.option("--locale", default="en_US.UTF-8", show_default=True, help="Language of the system.")
@click.option("--keyboard", default="br", show_default=True, help="Layout of the keyboard.")
@json_option
@click.pass_context
def autoinstall(
    ctx: click.Context,
    /,
    out: Path,
    hostname: str,
    disk_serial: str,
    password_hash_file: Path,
    locale: str,
    keyboard: str,
    as_json: bool,
) -> int:
    """Write user-data and meta-data into OUT, for a medium labelled CIDATA.

    Account, keys and time zone come from the [host] table of the settings. The passphrase of the
    disk is asked by the installer; it is not in the files.
    """
    from appliance.core.durable import os_errors, write_bytes
    from appliance.host.autoinstall import Wanted, render

    site = get_settings(get_home(ctx)).host
    with os_errors(password_hash_file):
        password = password_hash_file.read_text(encoding="utf-8").strip()
    wanted = Wanted(
        hostname=hostname,
        user=site.admin,
        password_hash=password,
        keys=tuple(site.admin_keys),
        disk_serial=disk_serial,
        locale=locale,
        keyboard=keyboard,
        timezone=site.timezone,
    )
    text = render(wanted)
    with os_errors(out):
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_bytes(out / "user-data", text.encode(), mode=0o600)
    write_bytes(out / "meta-data", f"instance-id: {hostname}\n".encode(), mode=0o600)
    emit(
        {"ok": True, "folder": str(out), "files": ["meta-data", "user-data"]},
        as_json=as_json,
        text=f"Written to {out}. Put both files onto a medium with the label CIDATA.",
    )
    return answer(ok=True)
