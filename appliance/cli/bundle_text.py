"""What `appliance bundle` prints for people."""

from __future__ import annotations

from typing import Any


def built(done: dict[str, Any]) -> str:
    """Say what was built, and what belongs on paper."""
    return (
        f"bundle {done['version']} ({done['bundle'][:16]}): {done['files']} files, "
        f"{done['bytes']} bytes, {done['bytes_on_medium']} on the medium\n"
        f"print on paper:\n  root fingerprint  {done['paper']['root_fingerprint']}\n"
        f"  verify_bundle.py  {done['paper']['verifier_sha256']}"
    )


def verified(found: dict[str, Any]) -> str:
    """Say what was proven and what was found."""
    lines = [
        f"root fingerprint  {found['root_fingerprint_grouped']}  (from {found['root_from']})",
        (
            f"judged at         {found['judged_at'][:10]} ({found['date_source']}), "
            f"valid until {found['expires'][:10]}"
        ),
        f"proven            {found['blocks']} blocks, {found['bytes']} bytes",
    ]
    lines += [f"DAMAGED  {f['path']} ({f['what']}): {f['found']}" for f in found["faults"]]
    lines += [f"UNLISTED {name}" for name in found["unlisted"]]
    if found["ok"]:
        lines.append("VERIFIED: every byte is signed and nothing else is there")
    elif found["intact"]:
        lines.append("NOT YET TRUSTED: compare the fingerprint with paper: --fingerprint")
    else:
        lines.append("REFUSED: `appliance bundle repair MEDIUM --from MEDIUM2`")
    return "\n".join(lines)


def inspected(found: dict[str, Any]) -> str:
    """Say what a bundle has."""
    lines = [
        (
            f"{found['name']} {found['version']} (sequence {found['sequence']}), "
            f"made {found['created'][:10]}, for {found['machine']['distribution']} "
            f"{found['machine']['release']}"
        )
    ]
    lines += [f"  {kind:<12} {count}" for kind, count in sorted(found["kinds"].items())]
    for change in found["differences"]:
        lines.append(f"  {change['change']:<8} {change['name']} {change['from']} {change['to']}")
    for hit in found["advisories"]:
        lines.append(
            f"  ADVISORY {hit['advisory']} {hit['part']} {hit['version']}: {hit['summary']}"
        )
    return "\n".join(lines)


def afterwards(done: dict[str, Any]) -> list[str]:
    """Say what followed the switch: what was restarted, what did not come back, warnings."""
    lines = [f"warning: {warning}" for warning in done["warnings"]]
    if "restart" in done:
        lines.append(f"units of the machine: {done['restart']}")
    if done.get("restarted"):
        lines.append(f"restarted: {', '.join(done['restarted'])}")
    lines += [
        f"NOT RUNNING: {name}: systemctl status {name}" for name in done.get("not_running", ())
    ]
    return lines
