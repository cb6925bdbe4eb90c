"""Dates in all spellings of Portuguese, ISO and full English ones; ages over 89."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from appliance.deid.rules import DASH, LEFT, NO_DIGIT_AFTER, NO_DIGIT_BEFORE, RIGHT, Entity, Rule

MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "janeiro jan january",
            "fevereiro fev february feb",
            "mar\u00e7o marco mar march",
            "abril abr april apr",
            "maio mai may",
            "junho jun june",
            "julho jul july",
            "agosto ago august aug",
            "setembro set september sep sept",
            "outubro out october oct",
            "novembro nov november",
            "dezembro dez december dec",
        ),
        start=1,
    )
    for name in names.split()
}
_PT_FULL = (
    r"(?:janeiro|fevereiro|mar[\u00e7c]o|abril|maio|junho|julho|agosto|setembro|outubro|novembro"
    r"|dezembro)"
)
_PT_SHORT = r"(?:jan|fev|mar|abr|mai|jun|jul|ago|set|out|nov|dez)\.?"
_EN = (
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december"
    r"|jan\.?|feb\.?|mar\.?|apr\.?|jun\.?|jul\.?|aug\.?|sept?\.?|oct\.?|nov\.?|dec\.?)"
    r"(?![^\W\d_])"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_YEAR = r"(?:1[89]|20)\d{2}"
_UNITS = r"(?:um|dois|tr[\u00eae]s|quatro|cinco|seis|sete|oito|nove)"
_DAY_WORD = (
    rf"(?:primeiro|vinte(?:\se\s{_UNITS})?|trinta(?:\se\sum)?|{_UNITS}|dez|onze|doze|treze"
    r"|quatorze|catorze|quinze|dezesseis|dezessete|dezoito|dezenove)"
)
_YEAR_WORD = (
    r"(?:dois\smil|mil\snovecentos)(?:\se\s(?:vinte|trinta|quarenta|cinquenta|sessenta|setenta"
    rf"|oitenta|noventa|dez|onze|doze|treze|quatorze|catorze|quinze|dezesseis|dezessete|dezoito"
    rf"|dezenove|{_UNITS})){{0,2}}"
)
_OF = r"\s?(?:de\s|do\s|[/.\-]\s?|\s)?"
_OF_YEAR = rf"(?:\s?(?:de\s|do\sano\sde\s|[/.,\-]\s?|\s)\s?(?:{_YEAR}|'?\d{{2}}(?!\d)))?"
_NUMBERS = re.compile(r"\d+")
_WHOLE_YEAR = re.compile(r"(?<!\d)(?:1[89]|20)\d{2}(?!\d)")
_LETTERS = re.compile(r"[^\W\d_]{3,}")
CENTURY: Final = 100
PIVOT: Final = 40


def parse(text: str) -> date | None:
    """Return the day that ``text`` names, day before month; None when it is not a whole date."""
    numbers = [int(n) for n in _NUMBERS.findall(text)]
    words = [MONTHS[w] for w in _LETTERS.findall(text.lower()) if w in MONTHS]
    if len(words) == 1 and len(numbers) == 2:  # noqa: PLR2004 - day and year
        day, year, month = numbers[0], numbers[1], words[0]
    elif len(numbers) >= 3 and not words:  # noqa: PLR2004 - day, month, year
        day, month, year = numbers[:3]
        if day > 31:  # noqa: PLR2004 - no day: the year came first
            day, year = year, day
        elif month > 12:  # noqa: PLR2004 - no month: the American order
            day, month = month, day
    else:
        return None
    if year < CENTURY:
        year += 2000 if year < PIVOT else 1900
    try:
        return date(year, month, day)
    except ValueError:
        return None


def year_of(text: str) -> str:
    """Return the four-digit year that ``text`` names, written out; empty when there is none."""
    if found := _WHOLE_YEAR.search(text):
        return found[0]
    day = parse(text)
    return f"{day.year}" if day else ""


def numeric_ok(text: str) -> bool:
    """Tell whether a date in numbers could be one (also one with a wrong day, like 31/02)."""
    numbers = [int(n) for n in _NUMBERS.findall(text)]
    if numbers[0] > 31:  # noqa: PLR2004 - the year comes first
        numbers.reverse()
    day, month = numbers[0], numbers[1]
    return 1 <= min(day, month) <= 12 and 1 <= max(day, month) <= 31  # noqa: PLR2004 - months, days


DATE: Final = Entity(
    "DATE",
    "DATA",
    (
        Rule(
            "day/month/year",
            rf"{NO_DIGIT_BEFORE}\d{{1,2}}\s?([/\-.])\s?\d{{1,2}}\s?\1\s?{_YEAR}(?!\d)(?!{DASH}\d)",
            0.9,
            numeric_ok,
            0.0,
        ),
        Rule(
            "day/month/yy",
            rf"{NO_DIGIT_BEFORE}\d{{1,2}}/\d{{1,2}}/\d{{2}}{NO_DIGIT_AFTER}",
            0.8,
            numeric_ok,
            0.0,
        ),
        Rule(
            "dd.mm.yy",
            rf"{NO_DIGIT_BEFORE}\d{{2}}([.\-])\d{{2}}\1\d{{2}}{NO_DIGIT_AFTER}",
            0.6,
            numeric_ok,
            0.0,
        ),
        Rule(
            "ISO",
            rf"{NO_DIGIT_BEFORE}{_YEAR}([/\-.])\d{{1,2}}\1\d{{1,2}}(?!\d)(?!{DASH}\d)",
            0.9,
            numeric_ok,
            0.0,
        ),
        Rule(
            "compact, labelled",
            rf"{LEFT}(?:data|nascimento|DN|nasc\.?)[\s:=\"']{{1,4}}"
            rf"(?P<v>(?:\d{{2}}\d{{2}}{_YEAR}|{_YEAR}\d{{4}}))(?!\d)",
            0.85,
        ),
        Rule(
            "day of month",
            rf"(?<![\d.,])(?<!\d[/\-]){_DAY}\s?[\u00ba\u00b0o]?(?:{_OF}{_PT_FULL}(?![^\W\d_])"
            rf"|(?:\sde\s|[/\-.])\s?{_PT_SHORT}(?![^\W\d_])){_OF_YEAR}",
            0.85,
        ),
        Rule(
            "day, short month, year",
            rf"(?<![\d.,])(?<!\d[/\-]){_DAY}\s{_PT_SHORT}\s(?:de\s)?{_YEAR}(?!\d)",
            0.85,
        ),
        Rule(
            "day of month in words",
            rf"{LEFT}{_DAY_WORD}\sde\s{_PT_FULL}(?:\sde\s(?:{_YEAR}|{_YEAR_WORD}))?{RIGHT}",
            0.85,
        ),
        Rule(
            "month and year",
            rf"{LEFT}(?:{_PT_FULL}(?:\s?(?:de|do\sano\sde|/|,|\-)?\s?)|{_PT_SHORT}\s?[/\-]\s?"
            rf"|{_PT_SHORT}\sde\s){_YEAR}(?!\d)",
            0.8,
        ),
        Rule(
            "month/year",
            rf"{LEFT}(?:em|desde|at[\u00e9e]|de|data|compet[\u00eae]ncia)\s?:?\s"
            rf"(?P<v>(?:0[1-9]|1[0-2])/{_YEAR})(?!\d)",
            0.75,
        ),
        Rule(
            "day/month",
            rf"{LEFT}(?:em|dia|data|desde|at[\u00e9e]|retorno|alta|interna[\u00e7c][\u00e3a]o|no\sdia"
            r"|amanh[\u00e3a]|ontem|hoje)\s?[:,(]?\s"
            r"(?P<v>(?:0?[1-9]|[12]\d|3[01])/(?:0[1-9]|1[0-2]))(?![\d/])",
            0.7,
        ),
        Rule(
            "English, month first",
            rf"{LEFT}{_EN}\s{_DAY}(?:st|nd|rd|th)?,?\s{_YEAR}(?!\d)",
            0.85,
        ),
        Rule(
            "English, day first",
            rf"(?<![\d.,])(?<!\d[/\-]){_DAY}(?:st|nd|rd|th)?\s(?:of\s)?{_EN},?\s{_YEAR}(?!\d)",
            0.85,
        ),
    ),
    words=(
        "janeiro",
        "fevereiro",
        "março",
        "marco",
        "abril",
        "maio",
        "junho",
        "julho",
        "agosto",
        "setembro",
        "outubro",
        "novembro",
        "dezembro",
        "data",
        "nascimento",
        "dn",
        "nasc",
    ),
    shapes=(
        r"\d\s?[/\-.]\s?\d{1,2}\s?[/\-.]\s?\d\d",
        (
            r"\d[\s\u00ba\u00b0o/.\-a-z]{0,6}(?:jan|fe[vb]|mar|a[bp]r|ma[iy]|jun|jul|a[gu][og]|se[tp]"
            r"|o[uc]t|nov|de[zc])"
        ),
        (
            r"(?:jan|fe[vb]|mar|a[bp]r|ma[iy]|jun|jul|a[gu][og]|se[tp]|o[uc]t|nov|de[zc])"
            r"[a-z.]{0,7}[\s/\-][\s\-a-z/]{0,4}(?:1[89]|20|\d{1,2}[,\sa-z])"
        ),
        r"\d/[01]\d",
    ),
    priority=5,
)

_OLD = r"(?:9\d|1[0-4]\d)"
_NO_RANGE = (
    r"(?<![\d,.\-\u2013/])(?<!\d\sa\s)(?<!\d\se\s)(?<!\d\sand\s)(?<!\d\sto\s)(?<!\d\s-\s)"
    r"(?<!at\u00e9\s)(?<!ate\s)(?<!h\u00e1\s)(?<!ha\s)(?<!por\s)(?<!em\s)"
)
_NINETY = rf"(?:noventa|cento|cem)(?:\se\s{_UNITS}|\se\sdez)?"
AGE: Final = Entity(
    "AGE_OVER_89",
    "IDADE",
    (
        Rule(
            "years",
            rf"{_NO_RANGE}{_OLD}(?=\s{{0,2}}(?:anos|a\.(?=\s|$)|aninhos)(?![^\W_]))",
            0.85,
        ),
        Rule(
            "labelled",
            rf"{LEFT}(?:idade|age[d]?)\s?[:=]?\s(?P<v>{_OLD})(?![\d\-\u2013/,.]\d)"
            rf"(?![\d+])(?!\s?(?:to|a|e|and|-|\u2013)\s?\d)",
            0.85,
        ),
        Rule(
            "labelled, the second",
            rf"{LEFT}(?:idade|age[d]?)\s?[:=]?\s{_OLD}\+?\s(?:or|ou)\s(?P<v>{_OLD})(?![\d+])",
            0.85,
        ),
        Rule("English", rf"{_NO_RANGE}{_OLD}(?=[\s\-](?:years?[\s\-]old|y/?o(?![^\W_])))", 0.85),
        Rule("in words", rf"{LEFT}{_NINETY}(?=\sanos{RIGHT})", 0.8),
    ),
    words=("noventa", "cento", "cem"),
    shapes=(
        r"(?:9|1[0-4])\d\s{0,2}(?:an|a\.)",
        r"(?:9|1[0-4])\d[\s\-]y",
        r"(?:idade|aged?)[\s:=]{1,3}(?:9|1[0-4])\d",
    ),
    priority=1,
)

ENTITIES: Final = (DATE, AGE)
