"""Which licences a text speaks of, by the words of the licences themselves.

For copyright files and licence files that name none in a form made for machines. The answer is what
is found, joined by AND, not a judgement of which file of a package is under which: that is in the
text, which travels in the package.
"""

from __future__ import annotations

import re

_LEADERS = re.compile(r"^[\s>*#|;/.-]*", re.MULTILINE)
_SPACE = re.compile(r"\s+")
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+(?:-\d+(?:\.\d+)*)?)")
# "GNU Lesser General Public License as published by the FSF; either version 2.1 of the License, or
# (at your option) any later version", in its many spellings.
_GNU = re.compile(
    r"gnu (?P<family>lesser |library |free documentation )?(?:general public )?licen[sc]e"
    r"(?: \(l?gpl\))?,?(?: as published by the free software foundation[;,:]?)?"
    r"(?: under the terms of)?(?: either)?,? (?:version|v) ?(?P<version>\d(?:\.\d)?)"
    r"(?P<more>.{0,60})"
)
_LATER = re.compile(
    r"^[^.]{0,30}\b(?:or |and )?\(?(?:at your option\)? )?(?:any later|later|newer)\b"
)
_SHORT = re.compile(r"\b(?P<family>l?gpl)[ -]?v(?:ersion )?(?P<version>\d(?:\.\d)?)(?P<later>\+)?")
_FAMILY = {
    "lesser ": "LGPL",
    "library ": "LGPL",
    "free documentation ": "GFDL",
    "lgpl": "LGPL",
    "gpl": "GPL",
}
_WORDS = (
    ("MIT", r"permission is hereby granted, free of charge, to any person obtaining a copy"),
    (
        "ISC",
        r"to use, copy, modify,? and(?:/or)? distribute this software for any purpose with or",
    ),
    (
        "HPND",
        r"permission to use, copy, modify,? and distribute this software and its documentation",
    ),
    ("Apache-2.0", r"apache license,?\s?\(?version 2\.0"),
    ("PSF-2.0", r"(?:psf|python software foundation) license version 2\b"),
    ("MPL-2.0", r"mozilla public license,? v(?:ersion)? ?\.? ?2\.0"),
    (
        "Zlib",
        r"provided .as-is., without any express or implied warranty\. in no event will the authors",
    ),
    ("OpenSSL", r"includes software developed by the openssl project"),
    ("Artistic", r"the .{0,3}artistic license"),
    ("public-domain", r"\b(?:in|into|is|are) (?:the )?public domain\b"),
    ("GPL-3+ WITH GCC-exception-3.1", r"gcc runtime library exception"),
)
# The end of the GPL's own text: a model for others, which says "or any later version".
_MODEL = re.compile(r"how to apply these terms to your new .{0,2500}?any later version")
_BSD = "redistribution and use in source and binary forms"
_BSD_FOUR = "all advertising materials mentioning features"
_BSD_THREE = re.compile(r"neither the names? of|used to endorse or promote products derived")


def licences_of(text: str) -> list[str]:
    """Return the names of the licences whose words stand in ``text``, sorted."""
    plain = _MODEL.sub("", _SPACE.sub(" ", _LEADERS.sub("", text)).lower())
    found = {name for name, words in _WORDS if re.search(words, plain)} | _gnu(plain)
    if _BSD in plain:
        found.add(_bsd(plain))
    for name in _COMMON.findall(text):
        family, _, version = name.partition("-")
        known = any(f == name or f.startswith(f"{name}+") for f in found)
        # A bare "GPL" is the newest one: named only when no version is.
        if not known and (version or not any(f.startswith(family) for f in found)):
            found.add(name)
    return sorted(found)


def _gnu(plain: str) -> set[str]:
    found = set()
    for match in _GNU.finditer(plain):
        family = _FAMILY[match["family"]] if match["family"] else "GPL"
        later = "+" if _LATER.search(match["more"]) else ""
        found.add(f"{family}-{match['version'].removesuffix('.0')}{later}")
    for match in _SHORT.finditer(plain):
        found.add(f"{_FAMILY[match['family']]}-{match['version']}{match['later'] or ''}")
    return {name for name in found if f"{name}+" not in found}


def _bsd(plain: str) -> str:
    if _BSD_FOUR in plain:
        return "BSD-4-Clause"
    return "BSD-3-Clause" if _BSD_THREE.search(plain) else "BSD-2-Clause"
