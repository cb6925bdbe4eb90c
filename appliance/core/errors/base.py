"""The root of the error tree: what every error of the appliance carries."""

from __future__ import annotations

from typing import Any, ClassVar


class ApplianceError(Exception):
    """Something the appliance refuses or could not do.

    The first line of a subclass's docstring is the headline a person reads. A subclass sets
    ``id`` (stable, never reused), ``exit_code`` (3 to 125, unique), ``http_status`` and
    ``remedy`` (what to do, used when the raiser knows nothing better). Messages never carry
    prompt text, patient data or keys.
    """

    id: ClassVar[str] = "appliance-error"
    exit_code: ClassVar[int] = 3
    http_status: ClassVar[int] = 500
    remedy: ClassVar[str] = "Run the command again with --json and send the support bundle."

    def __init__(self, *, expected: str, found: str, remedy: str | None = None) -> None:
        """Describe the refusal: what was expected, what was found and what to do."""
        self.expected = expected
        self.found = found
        self.todo = remedy or type(self).remedy
        super().__init__(f"{self.headline()} Expected: {expected}. Found: {found}. {self.todo}")

    @classmethod
    def headline(cls) -> str:
        """Return the first line of the class docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form used by ``--json`` and by HTTP answers."""
        return {
            "id": self.id,
            "headline": self.headline(),
            "expected": self.expected,
            "found": self.found,
            "remedy": self.todo,
            "exit_code": self.exit_code,
        }


def all_errors() -> list[type[ApplianceError]]:
    """Return every error class of the tree, sorted by exit code (for the docs and the tests)."""
    seen: dict[str, type[ApplianceError]] = {}
    queue: list[type[ApplianceError]] = [ApplianceError]
    while queue:
        cls = queue.pop()
        seen[cls.__qualname__] = cls
        queue.extend(cls.__subclasses__())
    return sorted(seen.values(), key=lambda c: c.exit_code)
