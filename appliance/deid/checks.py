"""Check digits of the Brazilian numbers. Pure: text in, yes or no out.

Sources: Receita Federal (CPF; CNPJ, alphanumeric since July 2026 by IN RFB 2.229/2024),
DATASUS (CNS), Caixa (PIS), TSE Resolucao 21.538/2003 (titulo), Senatran (CNH, RENAVAM).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CPF_DIGITS: Final = 11
CNPJ_DIGITS: Final = 14
CNS_DIGITS: Final = 15
PIS_DIGITS: Final = 11
CNH_DIGITS: Final = 11
TITULO_DIGITS: Final = 12
TEN: Final = 10
TITULO_STATES: Final = 28
SAO_PAULO: Final = 1
MINAS_GERAIS: Final = 2

_CPF_WEIGHTS: Final = (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
_CNPJ_WEIGHTS: Final = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
_PIS_WEIGHTS: Final = (3, 2, 9, 8, 7, 6, 5, 4, 3, 2)


def digits(text: str) -> list[int]:
    """Return the decimal digits of ``text``, whatever stands between them."""
    return [int(c) for c in text if c.isdecimal()]


def compact(text: str) -> str:
    """Return the letters and digits of ``text``, upper case, digits as ASCII."""
    return "".join(str(int(c)) if c.isdecimal() else c.upper() for c in text if c.isalnum())


def weighted(values: Sequence[int], weights: Sequence[int]) -> int:
    """Return the sum of the products."""
    return sum(v * w for v, w in zip(values, weights, strict=True))


def mod11_digit(values: Sequence[int], weights: Sequence[int]) -> int:
    """Return the check digit 11 - (sum mod 11), where 10 and 11 count as 0."""
    rest = weighted(values, weights) % 11
    return 0 if rest < 2 else 11 - rest  # noqa: PLR2004 - 11 - 0 and 11 - 1 have two digits


def cpf_ok(text: str) -> bool:
    """Tell whether ``text`` holds a CPF with the right check digits."""
    d = digits(text)
    if len(d) != CPF_DIGITS or len(set(d)) == 1:
        return False
    first = mod11_digit(d[:9], _CPF_WEIGHTS[1:])
    return d[9] == first and d[10] == mod11_digit(d[:10], _CPF_WEIGHTS)


def cnpj_ok(text: str) -> bool:
    """Tell whether ``text`` holds a CNPJ, numeric or alphanumeric, with the right digits."""
    c = compact(text)
    if len(c) != CNPJ_DIGITS or not c.isascii() or not c[12:].isdecimal() or len(set(c)) == 1:
        return False
    values = [ord(character) - 48 for character in c]
    first = mod11_digit(values[:12], _CNPJ_WEIGHTS[1:])
    return values[12] == first and values[13] == mod11_digit(values[:13], _CNPJ_WEIGHTS)


def cns_ok(text: str) -> bool:
    """Tell whether ``text`` holds a Cartao Nacional de Saude.

    For every valid number the sum of digit times (15 - position) is a multiple of 11; definitive
    ones (1, 2) also have a block 000 or 001 before the check digit.
    """
    d = digits(text)
    if len(d) != CNS_DIGITS or d[0] not in {1, 2, 7, 8, 9}:
        return False
    if d[0] in {1, 2} and d[11:14] not in ([0, 0, 0], [0, 0, 1]):
        return False
    return weighted(d, range(15, 0, -1)) % 11 == 0


def pis_ok(text: str) -> bool:
    """Tell whether ``text`` holds a PIS/PASEP/NIS with the right check digit."""
    d = digits(text)
    if len(d) != PIS_DIGITS or len(set(d)) == 1:
        return False
    return d[10] == mod11_digit(d[:10], _PIS_WEIGHTS)


def renavam_ok(text: str) -> bool:
    """Tell whether ``text`` holds a RENAVAM: its check digit is computed like that of a PIS."""
    return pis_ok(text)


def cnh_ok(text: str) -> bool:
    """Tell whether ``text`` holds a driving licence number with the right check digits."""
    d = digits(text)
    if len(d) != CNH_DIGITS or len(set(d)) == 1:
        return False
    return d[9:] == list(cnh_digits(d[:9]))


def cnh_digits(base: Sequence[int]) -> tuple[int, int]:
    """Return the two check digits of the nine first digits of a CNH."""
    first = weighted(base, range(9, 0, -1)) % 11
    carry = 2 if first >= TEN else 0
    first = 0 if first >= TEN else first
    second = weighted(base, range(1, 10)) % 11 - carry
    if second < 0:
        second += 11
    return first, 0 if second >= TEN else second


def titulo_ok(text: str) -> bool:
    """Tell whether ``text`` holds a voter's number with the right check digits."""
    d = digits(text)
    if len(d) != TITULO_DIGITS:
        return False
    state = d[8] * 10 + d[9]
    return 1 <= state <= TITULO_STATES and d[10:] == list(titulo_digits(d[:8], state))


def titulo_digits(base: Sequence[int], state: int) -> tuple[int, int]:
    """Return the two check digits of the eight first digits and the state of a titulo."""
    lenient = state in {SAO_PAULO, MINAS_GERAIS}

    def fold(total: int) -> int:
        rest = total % 11
        if rest == 0 and lenient:
            return 1
        return 0 if rest == TEN else rest

    first = fold(weighted(base, range(2, 10)))
    return first, fold(weighted((state // 10, state % 10, first), (7, 8, 9)))
