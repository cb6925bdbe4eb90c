"""The key ceremony as a test holds it: three root holders, two sign, one release key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HOLDERS = ("r1", "r2", "r3")


@dataclass(frozen=True)
class Ceremony:
    """What came of it: files in one folder, worth nothing elsewhere."""

    root: Path
    targets_key: Path
    passphrase: Path

    def arguments(self) -> list[str]:
        """Return what ``bundle build`` is told of it."""
        return [
            *("--root", str(self.root)),
            *("--targets-key", str(self.targets_key)),
            *("--passphrase-file", str(self.passphrase)),
        ]


def hold(folder: Path, agent: Callable[..., object]) -> Ceremony:
    """Hold it in ``folder`` with the agent's own commands; ``agent`` runs one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Ceremony(folder / "1.root.json", folder / "release.key", folder / "passphrase")
    made.passphrase.write_text("a passphrase of a test's own keys\n", encoding="utf-8")
    told = ("--passphrase-file", str(made.passphrase))
    keys = {name: str(folder / f"{name}.key") for name in HOLDERS}
    for path in (*keys.values(), str(made.targets_key)):
        agent("bundle", "keys", "new", path, *told)
    holders = [word for path in keys.values() for word in ("--root-key", path)]
    release = ("--targets-key", str(made.targets_key))
    agent("bundle", "keys", "root", *holders, *release, "--out", str(made.root))
    for name in ("r1", "r3"):
        agent("bundle", "keys", "sign", str(made.root), "--key", keys[name], *told)
    return made
