"""Languages: gettext catalogues read from their .po sources when the console starts."""

from __future__ import annotations

import gettext
import io
from datetime import date, datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Final

LANGUAGES: Final = {"pt-BR": "pt_BR", "en": "en"}
LOCALES: Final = Path(__file__).parent / "locales"


def catalogue_path(locale: str) -> Path:
    """Return the source of a locale's catalogue."""
    return LOCALES / locale / "LC_MESSAGES" / "console.po"


@cache
def translations(language: str) -> gettext.NullTranslations:
    """Return the messages of ``language``; English stands in the code itself."""
    locale = LANGUAGES[language]
    path = catalogue_path(locale)
    if not path.exists():
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with path.open("rb") as stream:
        catalogue = read_po(stream, locale=locale)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def pick_language(cookie: str | None, default: str) -> str:
    """Return the language that was chosen, or the hospital's."""
    return cookie if cookie in LANGUAGES else default


def show_time(moment: datetime, language: str, zone: tzinfo, *, seconds: bool = True) -> str:
    """Return a moment in words of the place, such as ``20/11/2026 08:15:02``."""
    local = moment.astimezone(zone)
    form = "%d/%m/%Y %H:%M" if language == "pt-BR" else "%Y-%m-%d %H:%M"
    return local.strftime(f"{form}:%S" if seconds else form)


def show_day(day: date, language: str) -> str:
    """Return a day in words of the place."""
    return day.strftime("%d/%m/%Y" if language == "pt-BR" else "%Y-%m-%d")


def show_number(value: int, language: str) -> str:
    """Return a number with the separators of the language."""
    text = f"{value:,}"
    return text.replace(",", ".") if language == "pt-BR" else text
