"""``appliance bundle keys``: the key ceremony, rotation, revocation, downgrade exceptions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from appliance.cli.common import answer, emit, json_option

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
NEW = click.Path(path_type=Path, dir_okay=False)

passphrase_option = click.option(
    "--passphrase-file", type=FILE, help="Read passphrase or PIN from here (default: ask)."
)


def ask_secret(passphrase_file: Path | None) -> Callable[[str], str]:
    """Return how passphrases are asked for: a file's first line, or the terminal."""

    def ask(what: str) -> str:
        if passphrase_file is not None:
            lines = passphrase_file.read_text(encoding="utf-8").splitlines()
            return lines[0] if lines else ""
        answered: str = click.prompt(what, hide_input=True, err=True)
        return answered

    return ask


@click.group()
def keys() -> None:
    """Make and use the signing keys: root 2 of 3, targets, snapshot, timestamp."""


@keys.command()
@click.argument("path", type=NEW)
@passphrase_option
@json_option
def new(path: Path, passphrase_file: Path | None, as_json: bool) -> int:
    """Make a key file sealed with a passphrase."""
    from appliance.bundle.keyfile import create

    public = create(path, ask_secret(passphrase_file)(f"new passphrase for {path.name}"))
    emit({"ok": True, "keyid": public.keyid}, as_json=as_json, text=f"key id {public.keyid}")
    return 0


@keys.command("import-hsm")
@click.argument("path", type=NEW)
@click.option("--library", required=True, type=FILE, help="The token's PKCS#11 library.")
@click.option("--label", required=True, help="The token's label.")
@click.option("--key-id", type=int, default=2, show_default=True)
@passphrase_option
@json_option
def import_hsm(
    path: Path, library: Path, label: str, key_id: int, passphrase_file: Path | None, as_json: bool
) -> int:
    """Refer to an ECDSA key on a PKCS#11 token; the private key stays there."""
    from appliance.bundle.keyfile import import_hsm as run

    public = run(path, library, label, key_id, ask_secret(passphrase_file))
    emit({"ok": True, "keyid": public.keyid}, as_json=as_json, text=f"key id {public.keyid}")
    return 0


@keys.command()
@click.option("--root-key", "root_keys", multiple=True, required=True, type=FILE)
@click.option("--threshold", type=click.IntRange(min=2), default=2, show_default=True)
@click.option("--targets-key", "targets", multiple=True, required=True, type=FILE)
@click.option("--snapshot-key", "snapshot", multiple=True, type=FILE)
@click.option("--timestamp-key", "timestamp", multiple=True, type=FILE)
@click.option("--previous", type=FILE, help="The root before: rotation or revocation.")
@click.option("--days", type=click.IntRange(min=1), help="Validity (default: the setting).")
@click.option("--out", required=True, type=NEW)
@json_option
def root(
    root_keys: tuple[Path, ...],
    threshold: int,
    targets: tuple[Path, ...],
    snapshot: tuple[Path, ...],
    timestamp: tuple[Path, ...],
    previous: Path | None,
    days: int | None,
    out: Path,
    as_json: bool,
) -> int:
    """Write an unsigned root; each holder then runs `keys sign`.

    A key that the new root does not list is revoked.
    """
    from appliance.bundle.ceremony import RoleKeys, new_root
    from appliance.bundle.keyfile import load_public
    from appliance.core.clock import SystemClock
    from appliance.core.durable import write_bytes
    from appliance.core.settings.bundle import BundleSettings

    second = snapshot or targets
    groups = (root_keys, targets, second, timestamp or second)
    one, two, three, four = ([load_public(p).key for p in group] for group in groups)
    data = new_root(
        RoleKeys(one, two, three, four, threshold),
        SystemClock().now(),
        days or BundleSettings().root_days,
        previous.read_bytes() if previous else None,
    )
    write_bytes(out, data, mode=0o644)
    text = f"unsigned root at {out}: let {threshold} holders run `appliance bundle keys sign`"
    emit({"ok": True, "out": str(out)}, as_json=as_json, text=text)
    return 0


@keys.command()
@click.argument("path", type=FILE)
@click.option("--key", required=True, type=FILE)
@passphrase_option
@json_option
def sign(path: Path, key: Path, passphrase_file: Path | None, as_json: bool) -> int:
    """Add one signature to a root or to a downgrade exception."""
    from appliance.bundle import ceremony, exception
    from appliance.bundle.keyfile import load_signer
    from appliance.core.durable import write_bytes

    data = path.read_bytes()
    signer = load_signer(key, ask_secret(passphrase_file))
    is_exception = exception.TYPE.encode() in data[:400]
    signed = exception.sign(data, signer) if is_exception else ceremony.sign(data, signer)
    write_bytes(path, signed, mode=0o644)
    emit({"ok": True}, as_json=as_json, text=f"signed {path}")
    return 0


@keys.command()
@click.argument("path", type=FILE)
@click.option("--previous", type=FILE, help="The root before, for a rotation.")
@json_option
def show(path: Path, previous: Path | None, as_json: bool) -> int:
    """Show a root: fingerprint for the paper, signatures made and wanted, keys of each role."""
    from appliance.bundle.ceremony import ROLES, complete
    from appliance.bundle.trust import fingerprint, grouped
    from appliance.bundle.tufapi import Metadata

    data = path.read_bytes()
    ok, got, wanted = complete(data, previous.read_bytes() if previous else None)
    signed = Metadata.from_bytes(data).signed
    found: dict[str, Any] = {
        "ok": ok,
        "version": signed.version,
        "expires": signed.expires.isoformat(),
        "fingerprint": grouped(fingerprint(data)),
        "signatures": got,
        "threshold": wanted,
        "roles": {r: list(signed.roles[r].keyids) for r in ROLES},
    }
    text = (
        f"root version {found['version']}, valid until {found['expires'][:10]}\n"
        f"signatures  {got} good, {wanted} wanted: {'complete' if ok else 'NOT complete'}\n"
        f"fingerprint {found['fingerprint']}"
    )
    emit(found, as_json=as_json, text=text)
    return answer(ok)


@keys.command("allow-downgrade")
@click.option("--bundle", "bundle_id", required=True, help="The older bundle's full id.")
@click.option("--reason", required=True)
@click.option("--judged-at", required=True, type=click.DateTime(["%Y-%m-%d"]))
@click.option("--until", required=True, type=click.DateTime(["%Y-%m-%d"]))
@click.option("--out", required=True, type=NEW)
@json_option
def allow_downgrade(
    bundle_id: str, reason: str, judged_at: datetime, until: datetime, out: Path, as_json: bool
) -> int:
    """Write an unsigned exception for one older bundle; the root holders sign it.

    --judged-at is a date at which the older bundle's signatures were still valid.
    """
    from datetime import UTC

    from appliance.bundle.exception import DowngradeException
    from appliance.core.durable import write_bytes

    made = DowngradeException(
        bundle_id, reason, judged_at.replace(tzinfo=UTC), until.replace(tzinfo=UTC)
    )
    write_bytes(out, made.to_file(), mode=0o644)
    emit({"ok": True, "out": str(out)}, as_json=as_json, text=f"unsigned exception at {out}")
    return 0
