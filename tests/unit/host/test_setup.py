"""The first set-up installs a part of the packages: all that is needed before an installation."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
# May be imported by the code below, but by nothing that runs before an installation.
_LATER = {
    "llama_cpp", "numpy", "pkcs11", "proxmoxer", "pymerkle", "pynvml", "segno",
}  # fmt: skip


def test_the_set_up_installs_what_provisioning_and_installing_import() -> None:
    setup = (PLAYBOOKS / "setup.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = [x for x in setup.splitlines() if x.startswith("from_bundle ansible-core")]
    wanted = _closure(line.split()[1:])
    package = PLAYBOOKS.parent / "appliance"
    known = packages_distributions()
    missing = set()
    for part in ("core", "audit", "host", "bundle", "hardware"):
        for path in (package / part).rglob("*.py"):
            for name in _imports(path) - _LATER - set(sys.stdlib_module_names) - {"appliance"}:
                if not wanted & {_plain(d) for d in known.get(name, [])}:
                    missing.add(f"{name} in {path.relative_to(package)}")
    assert sorted(missing) == []


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _closure(names: Iterable[str]) -> set[str]:
    """Return the packages with all they need here."""
    found: set[str] = set()
    left = [_plain(name) for name in names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            needs = [Requirement(text) for text in distribution(name).requires or []]
            here = [r for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]
            left += [_plain(r.name) for r in here]
    return found
