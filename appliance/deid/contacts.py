"""Addresses on the network and on the map, and the identifiers of the United States."""

from __future__ import annotations

import functools
import ipaddress
from typing import Final

from appliance.deid.rules import LEFT, NO_DIGIT_AFTER, NO_DIGIT_BEFORE, Entity, Rule


@functools.cache
def _suffixes() -> object:
    """Return the extractor with the suffix list of its own package: no cache, no fetch."""
    import tldextract

    return tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), fallback_to_snapshot=True)


@functools.lru_cache(maxsize=4096)
def domain_ok(text: str) -> bool:
    """Tell whether ``text`` begins with a domain under a public suffix."""
    found = _suffixes()(text)  # type: ignore[operator]  # the library is untyped
    return bool(found.domain and found.suffix)


def ip_ok(text: str) -> bool:
    """Tell whether ``text`` is an IP address that could name a machine."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified


def ssn_ok(text: str) -> bool:
    """Tell whether a US social security number was ever issued in this range."""
    area, group, serial = text[:3], text[4:6], text[7:]
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


EMAIL: Final = Entity(
    "EMAIL",
    "EMAIL",
    (
        Rule(
            "address",
            r"(?<![\w.+\-])[\w.+%\-]{1,64}\s?(?:@|\(at\)|\[at\])\s?"
            r"(?:[\w\-]{1,63}\.){1,6}[^\W\d_]{2,24}(?![\w\-])",
            0.95,
        ),
    ),
    parts=("@", "(at)", "[at]"),
    priority=9,
)

URL: Final = Entity(
    "URL",
    "URL",
    (
        Rule(
            "scheme", r"(?<![^\W_])(?:https?|ftps?|sftp)://[^\s<>\"')\]]{2,2000}(?<![.,;:!?])", 0.95
        ),
        Rule("www", r"(?<![^\W_])www\d?\.[\w\-]{1,63}\.[^\s<>\"')\]]{2,2000}(?<![.,;:!?])", 0.9),
        Rule(
            "domain",
            r"(?<![\w@.\-/])(?:[a-z0-9\-]{1,63}\.){1,4}(?:com|org|gov|net|edu|med|jus|leg|mil)\.br"
            r"(?:/[^\s<>\"')\]]{0,500})?(?<![.,;:!?])(?![\w\-])",
            0.8,
            domain_ok,
            0.0,
        ),
        Rule(
            "domain with a path",
            r"(?<![\w@.\-/])(?:[a-z0-9\-]{1,63}\.){1,4}[a-z]{2,12}/[a-z][^\s<>\"')\]]{1,500}"
            r"(?<![.,;:!?])",
            0.6,
            domain_ok,
            0.0,
        ),
    ),
    parts=("://", "www", ".br"),
    shapes=(r"\.[a-z]{2,12}/[a-z]",),
    priority=5,
)

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
IP: Final = Entity(
    "IP",
    "IP",
    (
        Rule(
            "v4",
            rf"(?<![\w.])(?<!EC\s)(?<!EC:)(?:{_OCTET}\.){{3}}{_OCTET}(?![\w]|\.\d)",
            0.8,
            ip_ok,
            0.0,
        ),
        Rule(
            "v6",
            r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{1,4}(?![\w:])",
            0.7,
            lambda text: ip_ok(text) and any(c.isdigit() for c in text),
            0.0,
        ),
        Rule("mac", r"(?<![\w:\-])(?:[0-9a-f]{2}[:\-]){5}[0-9a-f]{2}(?![\w:\-])", 0.8),
    ),
    shapes=(
        r"\d\.\d{1,3}\.\d{1,3}\.\d",
        r"[0-9a-f]{0,4}:[0-9a-f]{0,4}:",
        r"[0-9a-f]{2}-[0-9a-f]{2}-",
    ),
    priority=5,
)

SSN: Final = Entity(
    "US_SSN",
    "SSN",
    (
        Rule(
            "formatted",
            rf"{NO_DIGIT_BEFORE}\d{{3}}-\d{{2}}-\d{{4}}{NO_DIGIT_AFTER}",
            0.85,
            ssn_ok,
            0.2,
        ),
    ),
    shapes=(r"\d{3}-\d\d-\d{4}",),
    priority=5,
)

US_PHONE: Final = Entity(
    "US_PHONE",
    "PHONE",
    (
        Rule(
            "area code",
            rf"(?<![\d\-.])(?:\+?1[\s.\-])?(?:\([2-9]\d{{2}}\)\s?|[2-9]\d{{2}}[\-.])"
            rf"[2-9]\d{{2}}[\-.]\d{{4}}{NO_DIGIT_AFTER}",
            0.8,
        ),
    ),
    shapes=(r"\d{3}[\-.]\d{4}",),
    priority=3,
)

US_ADDRESS: Final = Entity(
    "US_ADDRESS",
    "ADDRESS",
    (
        Rule(
            "street",
            rf"{NO_DIGIT_BEFORE}\d{{1,5}}\s(?-i:[A-Z][a-z]{{1,20}}\s){{1,3}}"
            r"(?-i:Street|St\.|Avenue|Ave\.|Road|Rd\.|Boulevard|Blvd\.|Lane|Drive)(?![^\W_])",
            0.8,
        ),
    ),
    words=("street", "st", "avenue", "ave", "road", "rd", "boulevard", "blvd", "lane", "drive"),
    priority=2,
)

_STREET = (
    r"(?:rua|avenida|travessa|alameda|pra[\u00e7c]a|rodovia|estrada|viela|ladeira|quadra"
    r"|condom[\u00edi]nio)"
)
# Short for something else as well: only before a name with a capital.
_STREET_SHORT = r"(?:r\.|av\.?|tv\.|al\.|p[\u00e7c]a\.?|rod\.|qd\.|largo|vila)"
_CAPITAL_NEXT = r"(?=\s{1,2}(?:d[aeo]s?\s)?(?-i:[A-Z\u00c0-\u00dd]))"
_WORD = r"[^\W_][\w.'\u2019]{0,24}"
ADDRESS: Final = Entity(
    "BR_ADDRESS",
    "ENDERECO",
    (
        Rule(
            "street and number",
            rf"{LEFT}(?<!et\s)(?:{_STREET}|{_STREET_SHORT}{_CAPITAL_NEXT})\s{{1,2}}{_WORD}(?:\s{_WORD}){{0,6}}\s?,?\s{{0,2}}"
            r"(?:n[\u00ba\u00b0o.]{1,2}\s?|n[\u00fau]mero\s)?\d{1,5}(?![\d,.]\d)"
            r"(?:\s?[,\-\u2013]?\s?(?:apto?\.?|apartamento|bloco|bl\.|casa|fundos|sala|lote|lt\.)"
            r"(?:\s\w{1,5})?){0,3}",
            0.75,
        ),
        Rule(
            "labelled",
            rf"{LEFT}(?:endere[\u00e7c]o|logradouro|resid[\u00eae]ncia|mora\s[n][ao]|reside\s[n][ao])"
            r"\s{0,2}:?\s{1,3}(?P<v>(?=[^\n;]{0,120}\d)[^\n;]{4,120}?)(?=\s*(?:\n|;|$|\.\s|CEP|-\sCEP))",
            0.7,
        ),
        Rule(
            "place, labelled",
            rf"{LEFT}(?:bairro|cidade|munic[\u00edi]pio|naturalidade|natural\sde|procedente\sde"
            rf"|proced[\u00eae]ncia)\s{{0,2}}:?\s{{1,2}}"
            rf"(?P<v>(?-i:[A-Z\u00c0-\u00dd])[\w'\u2019]{{1,24}}"
            rf"(?:\s(?:(?:d[aeo]s?|e)\s)?(?-i:[A-Z\u00c0-\u00dd])[\w'\u2019]{{1,24}}){{0,4}})",
            0.8,
        ),
    ),
    words=(
        "rua",
        "r",
        "avenida",
        "av",
        "travessa",
        "tv",
        "alameda",
        "al",
        "praça",
        "praca",
        "pça",
        "pca",
        "rodovia",
        "rod",
        "estrada",
        "largo",
        "viela",
        "ladeira",
        "quadra",
        "qd",
        "condomínio",
        "condominio",
        "vila",
        "endereço",
        "endereco",
        "logradouro",
        "residência",
        "residencia",
        "mora",
        "reside",
        "bairro",
        "cidade",
        "município",
        "municipio",
        "naturalidade",
        "natural",
        "procedente",
        "procedência",
        "procedencia",
    ),
    priority=2,
)

ENTITIES: Final = (EMAIL, URL, IP, SSN, US_PHONE, US_ADDRESS, ADDRESS)
