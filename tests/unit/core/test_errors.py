from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import appliance.core.errors as tree

for _module in pkgutil.iter_modules(tree.__path__):
    importlib.import_module(f"{tree.__name__}.{_module.name}")


def test_ids_and_exit_codes_are_unique_and_in_range() -> None:
    errors = tree.all_errors()
    assert len({e.id for e in errors}) == len(errors)
    assert len({e.exit_code for e in errors}) == len(errors)
    assert all(3 <= e.exit_code <= 125 for e in errors)


def test_every_error_says_expected_found_and_what_to_do() -> None:
    for cls in tree.all_errors():
        error = cls(expected="an apple", found="a pear")
        text = str(error)
        assert "an apple" in text
        assert "a pear" in text
        assert error.todo in text
        assert cls.headline().endswith(".")
        assert error.to_dict()["exit_code"] == cls.exit_code
        assert 400 <= cls.http_status <= 599


def test_the_docs_list_every_error() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "reference" / "errors.md"
    text = page.read_text(encoding="utf-8")
    missing = [e.id for e in tree.all_errors() if f"| `{e.id}` |" not in text]
    assert missing == []
