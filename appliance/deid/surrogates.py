"""Made-up values of the same form. Numbers get wrong check digits, so none is a real person's."""

from __future__ import annotations

from typing import Final

GIVEN: Final = (
    "Alba", "Breno", "Celina", "Davi", "Eunice", "Fausto", "Glaucia", "Heitor", "Iara", "Juca",
    "Kelvia", "Lauro", "Mirela", "Nilo", "Odete", "Plinio", "Quiteria", "Rui", "Selma", "Tadeu",
    "Ursula", "Valdir", "Wanda", "Xenia", "Yuri", "Zilda",
)  # fmt: skip
FAMILY: Final = (
    "Abreu", "Bastos", "Caldas", "Dantas", "Esteves", "Falcao", "Godoi", "Horta", "Inacio",
    "Junqueira", "Kruger", "Lobato", "Mourao", "Neves", "Osorio", "Paiva", "Quadros", "Rangel",
    "Seabra", "Teles", "Uchoa", "Varela", "Wanderley", "Xavier", "Yano", "Zanini",
)  # fmt: skip
# Entities whose last digits are check digits.
_CHECKED: Final = frozenset({"BR_CPF", "BR_CNPJ", "BR_CNS", "BR_PIS", "BR_CNH", "BR_TITULO"})


def surrogate(entity: str, value: str, digest: bytes) -> str:
    """Return a made-up value of the form of ``value``, the same for the same ``digest``."""
    number = int.from_bytes(digest[:8])
    if entity == "PERSON":
        name = f"{GIVEN[number % len(GIVEN)]} {FAMILY[number // 101 % len(FAMILY)]}"
        return name.upper() if value.isupper() else name
    if entity == "EMAIL":
        return f"pessoa{number % 10**8}@exemplo.invalid"
    if entity == "URL":
        return f"https://exemplo.invalid/{number % 10**8}"
    if entity == "IP":
        return f"192.0.2.{number % 254 + 1}"
    if entity in {"BR_ADDRESS", "US_ADDRESS"}:
        return f"Rua Exemplo {number % 900 + 100}"
    return _same_form(value, digest, spoil=entity in _CHECKED)


def _same_form(value: str, digest: bytes, *, spoil: bool) -> str:
    """Replace each digit and letter of ``value`` by another one drawn from ``digest``."""
    from appliance.deid.checks import cnh_ok, cnpj_ok, cns_ok, cpf_ok, pis_ok, titulo_ok

    out = []
    for position, character in enumerate(value):
        drawn = digest[(8 + position) % len(digest)] + position // len(digest)
        if character.isdecimal():
            out.append(str(drawn % 10))
        elif character.isalpha():
            out.append(chr((65 if character.isupper() else 97) + drawn % 26))
        else:
            out.append(character)
    text = "".join(out)
    tests = (cpf_ok, cnpj_ok, cns_ok, pis_ok, cnh_ok, titulo_ok)
    while spoil and any(test(text) for test in tests):
        last = max(i for i, c in enumerate(text) if c.isdecimal())
        text = f"{text[:last]}{(int(text[last]) + 1) % 10}{text[last + 1 :]}"
    return text
