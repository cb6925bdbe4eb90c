"""``appliance doctor``: whether the appliance is healthy, and a bundle for support."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, json_option

if TYPE_CHECKING:
    from appliance.core.home import Home
    from appliance.core.settings import Settings
    from appliance.host.doctor import Finding, Look


@click.command()
@click.option(
    "--support-bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a redacted bundle for support here (.tar.gz).",
)
@click.option("--look", "only", multiple=True, help="Only this look (repeatable; default: all).")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context, /, support_bundle: Path | None, only: tuple[str, ...], as_json: bool
) -> int:
    """Say in one answer whether the appliance is healthy; exit code 1 when it is not."""
    from appliance.core.clock import SystemClock
    from appliance.core.errors import SettingsInvalidError
    from appliance.core.settings import Settings, load_settings
    from appliance.host.doctor import Doctor, examine

    home = get_home(ctx)
    try:
        settings = load_settings(home.settings_file)
    except SettingsInvalidError:
        settings = Settings()  # its own line says what is wrong; the others go on
    clock = SystemClock()
    looks = _chosen(Doctor(home, settings, clock).looks() | _beside(home, settings), only)
    value = examine(looks)
    if support_bundle is not None:
        from appliance.audit.recorder import open_recorder
        from appliance.host.support import write_bundle

        with open_recorder(home, "doctor") as recorder, recorder.action("doctor.support_bundle"):
            value["support_bundle"] = write_bundle(home, settings, support_bundle, value, clock)
    lines = [
        f"{'ok' if c['ok'] else 'BAD':<4}{c['name']:<14}{c['detail']}" for c in value["checks"]
    ]
    emit(value, as_json=as_json, text="\n".join(lines))
    return answer(value["ok"])


def _chosen(looks: dict[str, Look], only: tuple[str, ...]) -> dict[str, Look]:
    unknown = sorted(set(only) - looks.keys())
    if unknown:
        raise click.UsageError(f"expected one of {', '.join(looks)}; found {', '.join(unknown)}")
    return {name: look for name, look in looks.items() if not only or name in only}


def _beside(home: Home, settings: Settings) -> dict[str, Look]:
    """Return the looks at parts that the host package may not import."""
    from appliance.host.doctor import Finding, provision_file

    def bundle() -> Finding:
        from appliance.bundle.install.store import Store

        current = Store(home).current()
        if current is None:
            return Finding("bundle", ok=True, detail="none installed: run from a source tree")
        record: dict[str, Any] = current.record()
        ready = current.ready
        return Finding("bundle", ok=ready, detail=f"{current.id} of {record.get('installed')}")

    def hardware() -> Finding:
        from appliance.hardware.check import CheckRequest, run_check

        request = CheckRequest(
            profile=settings.hardware.profile, record=None, replay=None, answers={}, language="en"
        )
        result, _ = run_check(request, settings.hardware, home)
        bad = [c.name for c in result.checks if c.status in {"fail", "unknown"}]
        must = provision_file(home).is_file()
        said = f"not as {settings.hardware.profile}: {', '.join(bad)}" if bad else "as the profile"
        return Finding("hardware", ok=result.ok or not must, detail=said[:400])

    def machine() -> Finding:
        from appliance.cli.host import look_at_machine

        if not provision_file(home).is_file():
            return Finding("host", ok=True, detail="not provisioned by this appliance")
        checks = look_at_machine(home, settings.host)
        bad = [c.name for c in checks if not c.ok]
        said = f"not as declared: {', '.join(bad)}" if bad else f"{len(checks)} checks"
        return Finding("host", ok=not bad, detail=said)

    return {"bundle": bundle, "hardware": hardware, "host": machine}
