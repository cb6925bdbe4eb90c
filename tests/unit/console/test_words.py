"""Every word is translated; the vendored file is the one that was looked at."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from appliance.console import i18n, labels

CONSOLE = Path(i18n.__file__).parent
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


def used() -> set[str]:
    found = extract_from_dir(
        CONSOLE,
        [("**.py", "python"), ("templates/**.html", "jinja2")],
        keywords={"_": None, "N_": None, "words": None, "ngettext": (1, 2)},
    )
    return {str(message) for _, _, message, _, _ in found}


def test_every_message_is_translated_and_nothing_else_stands_in_the_catalogue() -> None:
    with i18n.catalogue_path("pt_BR").open("rb") as stream:
        catalogue = read_po(stream, locale="pt_BR")
    messages = {str(m.id): m for m in catalogue if m.id}
    assert set(messages) == used()
    assert len(messages) > 300
    for ident, message in messages.items():
        assert message.string, f"not translated: {ident}"
        assert not message.fuzzy
        assert sorted(PLACEHOLDER.findall(ident)) == sorted(
            PLACEHOLDER.findall(str(message.string))
        )


def test_english_is_what_stands_in_the_code() -> None:
    assert i18n.translations("en").gettext("Log in") == "Log in"
    assert i18n.translations("pt-BR").gettext("Log in") == "Entrar"


def test_one_is_one_and_more_are_more() -> None:
    for language, one, many in (("pt-BR", "alerta", "alertas"), ("en", "flag", "flags")):
        say = i18n.translations(language).ngettext
        found = [say("flag to review", "flags to review", n).split()[0] for n in (0, 1, 2)]
        assert found == [many, one, many]


def test_an_unknown_language_is_the_hospitals() -> None:
    assert i18n.pick_language("xx", "pt-BR") == "pt-BR"
    assert i18n.pick_language(None, "en") == "en"
    assert i18n.pick_language("en", "pt-BR") == "en"


def test_the_vendored_script_is_unchanged_and_its_licence_named() -> None:
    data = (CONSOLE / "static" / "htmx.min.js").read_bytes()
    assert hashlib.sha256(data).hexdigest() == HTMX
    notice = (CONSOLE / "static" / "NOTICE").read_text()
    assert HTMX in notice
    assert "0BSD" in notice


def test_pages_hold_no_inline_script_or_style_and_name_no_other_host() -> None:
    for path in [*(CONSOLE / "templates").iterdir(), CONSOLE / "static" / "console.css"]:
        text = path.read_text()
        assert "style=" not in text
        assert "<style" not in text
        assert not re.search(r"<script(?! src=\"/static/)", text)
        assert not re.search(r"\son\w+=", text)
        assert not re.search(r"https?://", text), path.name


def test_every_role_and_state_has_a_word() -> None:
    assert {"auditor", "reviewer", "officer", "administrator"} <= set(labels.ROLES)
    assert set(labels.ROLE_HINTS) <= set(labels.ROLES)
