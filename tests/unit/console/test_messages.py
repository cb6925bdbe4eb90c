"""Every sentence that an error or a verification can put on a page has its translation."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.console import i18n, messages
from appliance.core.errors import all_errors

APPLIANCE = Path(i18n.__file__).resolve().parents[1]
TRANSLATE = i18n.translations("pt-BR").gettext
# Where sentences that reach a page are made. The server's own start is not a page.
SOURCES = [
    *(p for p in (APPLIANCE / "console").rglob("*.py") if p.name != "server.py"),
    *(
        APPLIANCE / "audit" / name
        for name in (
            "bundles.py",
            "evidence.py",
            "index.py",
            "verify.py",
            "verifylog.py",
            "verifyrest.py",
            "verifystrays.py",
            "witness.py",
        )
    ),
]
ARGUMENTS = {"expected", "found", "remedy"}


def text_of(node: ast.expr) -> str | None:
    """A text as it may be at run time: every hole holds a number."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [str(v.value) if isinstance(v, ast.Constant) else "17" for v in node.values]
        return "".join(parts)
    return None


def sentences() -> Iterator[str]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found: list[ast.expr] = []
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found += [k.value for k in node.keywords if k.arg in ARGUMENTS]
                found += node.args[2:3] if name in {"Problem", "wrong"} else []
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "what":
                found.append(node.value)
            for one in found:
                for branch in (one.body, one.orelse) if isinstance(one, ast.IfExp) else (one,):
                    text = text_of(branch)
                    if text and any(c.isalpha() for c in text):
                        yield text


# Only notes of a verification, which a page does not show, and what a page cannot bring about.
UNSHOWN = {
    "a key of 17 bytes in 17",
    "an audit log in 17",
    "an entry 17 the period, which shows that nothing was cut off there",  # before, after
    "an interrupted write",
    "ends inside a record after 17 bytes, as a crash leaves it",
    "17 entries wait for the next checkpoint",
    "spent on the last words of a full disk",
    "not readable here",
    "of a key rotation that was not finished; the next one replaces it",
}


@pytest.mark.parametrize("text", sorted(set(sentences()) - UNSHOWN))
def test_every_sentence_is_said_in_portuguese(text: str) -> None:
    assert messages.said(text, TRANSLATE) != text or text == TRANSLATE(text) == "17 bytes"


def test_every_headline_and_remedy_a_page_can_show_is_translated() -> None:
    shown = {"input-missing", "state-damaged", "tool-failed", "appliance-error"}
    for kind in all_errors():
        part = kind.__module__.rsplit(".", 1)[1]
        if kind.id in shown or (part in {"audit", "console"} and kind.id != "console-insecure"):
            error = kind(expected="x", found="y")
            for text in (error.headline(), error.todo):
                assert TRANSLATE(text) != text, (kind.id, text)


def test_numbers_and_names_are_kept() -> None:
    said = messages.said("5013 entries were signed and kept, 302 are here", TRANSLATE)
    assert said == "5013 entradas foram assinadas e guardadas, 302 estão aqui"
    assert messages.said("the role reviewer, officer", TRANSLATE) == (
        "o papel Revisor(a), Oficial (DPO)"
    )
    nested = "expected a checkpoint over 0 to 9 entries, found one over 12"
    assert messages.said(nested, TRANSLATE) == (
        "esperado: um checkpoint de 0 a 9 entradas; encontrado: um de 12"
    )
    english = i18n.translations("en").gettext
    assert messages.said(nested, english) == nested
    assert messages.said("100% other", TRANSLATE) == "100% other"
    line = messages.problem("older-copy", "log-0001: entry 17", "in another order", TRANSLATE)
    assert line == "cópia antiga: log-0001: entrada 17: em outra ordem"
