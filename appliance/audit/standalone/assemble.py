"""Joins ``core.py`` and one program into the single file that leaves the house.

The joined file is plain Python source with the licence line and its own name on top. It runs
under ``python3 -I -S`` (no site packages, no environment) from Python 3.8 on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROGRAMS: Final = {"verify": "verify.py", "witness": "witness.py"}
_HERE = Path(__file__).parent
_FUTURE: Final = "from __future__ import annotations\n"
_SHARED: Final = {"verify": ("core", "verify_text"), "witness": ("core",)}


def _body(name: str) -> tuple[str, str]:
    """Return a module's docstring and what follows its future import."""
    text = (_HERE / f"{name}.py").read_text(encoding="utf-8")
    docstring, found, body = text.partition(_FUTURE)
    if not found:
        raise ValueError(f"{name}.py has no future import")
    return docstring, body.strip()


def assemble(program: str) -> bytes:
    """Return the source of ``program`` (``verify`` or ``witness``) with the core in it."""
    docstring, main = _body(f"{program}_main")
    parts = []
    for name in _SHARED[program]:
        parts.append(_body(name)[1])
        before, found, rest = main.partition(f"from appliance.audit.standalone.{name} import (")
        if not found:
            raise ValueError(f"{program}_main.py does not import {name} as expected")
        main = before.rstrip() + "\n" + rest.partition("\n)\n")[2]
    return "\n".join(
        [
            "#!/usr/bin/env python3",
            "# SPDX-License-Identifier: Apache-2.0",
            docstring + _FUTURE,
            "\n\n\n".join([*parts, main]),
            "",
        ]
    ).encode()
