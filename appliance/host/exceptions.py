"""The register of rules this machine does not follow, and why: ``security/exceptions.yaml``.

An exception that has expired fails verification; so does one without a reason, a compensating
control or an owner.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from appliance.host.checks import Check, Question

_FIELDS = ("rule", "reason", "control", "owner", "expires")
_SOON = timedelta(days=30)


def register_check(path: Path, today: date) -> Check:
    """Judge the register in ``path``."""
    question = Question(
        "exceptions",
        "every exception has rule, reason, control, owner and a date that is not past",
        "Review the named exception: remove it, or let its owner sign a new date.",
    )
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return question.unknown(f"there is no {path.name} beside the playbooks")
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return question.unknown(f"{path.name} cannot be read: {type(error).__name__}")
    rows = value.get("exceptions") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        return question.unknown(f"{path.name} holds no list of exceptions")
    wrong, soon = judge_register(rows, today)
    if wrong:
        return question.judged(ok=False, found="; ".join(wrong))
    return question.judged(not soon, "; ".join(soon) or f"{len(rows)} in force", otherwise="warn")


def judge_register(rows: list[Any], today: date) -> tuple[list[str], list[str]]:
    """Return what is wrong with the register, and what will be within 30 days."""
    wrong: list[str] = []
    soon: list[str] = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            wrong.append(f"entry {number} is not a table")
            continue
        name = str(row.get("rule") or f"entry {number}")
        missing = [key for key in _FIELDS if not row.get(key)]
        if missing:
            wrong.append(f"{name} lacks {', '.join(missing)}")
            continue
        try:
            until = date.fromisoformat(str(row["expires"]))
        except ValueError:
            wrong.append(f"{name}: the date is no date")
            continue
        if until < today:
            wrong.append(f"{name} expired on {until}")
        elif until - today <= _SOON:
            soon.append(f"{name} expires on {until}")
    return wrong, soon
