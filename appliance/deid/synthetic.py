"""Synthetic clinical notes with planted identifiers: for the demo, the bench and the tests.

The text and the exact place of every identifier come out together, so recall is measured, not
guessed. Values that must survive (laboratory, doses, eponyms) are planted too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from appliance.deid.people import People
from appliance.deid.spans import Span

UNLABELLED: Final = "PERSON_UNLABELLED"  # a name that no label announces: for a name model


@dataclass(frozen=True)
class Note:
    """A note, where its identifiers are, and what must not be touched."""

    text: str
    spans: tuple[Span, ...]
    keep: tuple[str, ...]


class _Writer:
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self.spans: list[Span] = []
        self.keep: list[str] = []

    def add(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)

    def plant(self, entity: str, value: str) -> None:
        self.spans.append(Span(self._length, self._length + len(value), entity))
        self.add(value)

    def kept(self, text: str) -> None:
        self.keep.append(text)
        self.add(text)

    def note(self) -> Note:
        return Note("".join(self._parts), tuple(self.spans), tuple(self.keep))


# {entity} plants an identifier, {+...} something that must survive.
HEADERS: Final = (
    (
        "Paciente: {PERSON}\nNascimento: {DATE}\nCPF: {BR_CPF}  CNS: {BR_CNS}\n"
        "Endereço: {BR_ADDRESS} - CEP {BR_CEP}\nTelefone: {BR_PHONE}\nProntuário: {RECORD_NUMBER}\n"
    ),
    (
        "NOME: {PERSON_UPPER}\nNOME DA MÃE: {PERSON_UPPER}\nRG: {BR_RG}   CPF {BR_CPF_WRONG}\n"
        "Atendimento nº {RECORD_NUMBER} em {DATE}. Convênio CNPJ {BR_CNPJ}\n"
    ),
    (
        "paciente: {PERSON_LOWER}, {AGE_OVER_89} anos, cartão SUS {BR_CNS}, cel {BR_PHONE}, "
        "e-mail {EMAIL}\n"
    ),
    (
        "Sr. {PERSON}, CPF nº {BR_CPF}, PIS {BR_PIS}, "
        "título de eleitor {BR_TITULO}, CNH {BR_CNH}.\n"
        "Acompanhante: {PERSON} (filha), contato {BR_PHONE}.\n"
    ),
)
BODIES: Final = (
    (
        "Deu entrada em {DATE} com dor torácica há {+2 horas}. PA {+150x90 mmHg}, FC {+98 bpm}, "
        "SpO2 {+96%}, dor {+8/10}.\n"
    ),
    (
        "Exames: Hb {+13,2 g/dL}; leucócitos {+12.345/mm³}; plaquetas {+250.000/mm³}; creatinina "
        "{+1,3 mg/dL}; TGO {+45 U/L}; glicemia {+126 mg/dL}; INR {+2,5}.\n"
    ),
    (
        "Prescrição: dipirona {+500 mg 6/6h}; AAS {+100 mg/dia}; insulina NPH {+10-0-10 UI}; "
        "losartana {+50 mg 12/12h}; paracetamol {+750 mg} se dor.\n"
    ),
    (
        "Antecedentes: doença de {+Parkinson} há {+10 anos}, doença de {+Chagas}, retocolite "
        "versus {+Crohn}; CID {+I10}, {+E11.9}.\n"
    ),
    "Retorno marcado para {DATE}. Avisar a mãe, {PERSON}, pelo telefone {BR_PHONE}.\n",
    "Veículo placa {BR_PLATE} envolvido em colisão em {DATE}; vítima trazida pelo SAMU {+192}.\n",
    "Resultado disponível em https://laudos.exemplo.com.br/{URL_TAIL} (acesso de {IP}).\n",
    "Escore de Glasgow {+15}, ECOG {+1}, IMC {+27,4 kg/m²}, clearance {+58 mL/min/1,73m²}.\n",
    "{UNLABELLED} refere melhora da tosse desde ontem e nega febre.\n",
    "Conversei com {UNLABELLED} sobre o plano; família de acordo.\n",
)
FOOTERS: Final = (
    "Dr. {PERSON} - CRM/{STATE} {BR_PROFESSIONAL}\n",
    "Enfermeira: {PERSON}, COREN-{STATE} {BR_PROFESSIONAL}-ENF\n",
    "Dra. {PERSON}, CRM {BR_PROFESSIONAL}\nAlta em {DATE}.\n",
)


DRAW: Final[dict[str, tuple[str, Callable[[People], str]]]] = {
    "PERSON": ("PERSON", People.name),
    "PERSON_UPPER": ("PERSON", lambda p: p.name().upper()),
    "PERSON_LOWER": ("PERSON", lambda p: p.name().lower()),
    "UNLABELLED": (UNLABELLED, People.name),
    "DATE": ("DATE", People.date),
    "BR_CPF": ("BR_CPF", People.cpf),
    "BR_CPF_WRONG": ("BR_CPF", People.mistyped_cpf),
    "BR_CNS": ("BR_CNS", People.cns),
    "BR_CNPJ": ("BR_CNPJ", People.cnpj),
    "BR_PIS": ("BR_PIS", People.pis),
    "BR_CNH": ("BR_CNH", People.cnh),
    "BR_TITULO": ("BR_TITULO", People.titulo),
    "BR_RG": ("BR_RG", People.rg),
    "BR_PHONE": ("BR_PHONE", People.phone),
    "BR_CEP": ("BR_CEP", People.cep),
    "BR_ADDRESS": ("BR_ADDRESS", People.address),
    "BR_PLATE": ("BR_PLATE", People.plate),
    "BR_PROFESSIONAL": ("BR_PROFESSIONAL", People.council),
    "RECORD_NUMBER": ("RECORD_NUMBER", People.record),
    "EMAIL": ("EMAIL", People.email),
    "URL_TAIL": ("URL", People.record),
    "IP": ("IP", lambda p: f"10.{p.random.randrange(256)}.{p.random.randrange(256)}.7"),
    "AGE_OVER_89": ("AGE_OVER_89", lambda p: str(p.random.randint(90, 112))),
}


def notes(count: int, seed: int = 1, *, unlabelled: bool = True) -> Iterator[Note]:
    """Yield ``count`` notes; the same seed gives the same ones.

    ``unlabelled`` plants names that no label announces as well.
    """
    people = People(seed)
    bodies = [b for b in BODIES if unlabelled or "{UNLABELLED}" not in b]
    for _ in range(count):
        chosen = people.random.sample(bodies, people.random.randint(3, 6))
        template = people.pick(*HEADERS) + "".join(chosen) + people.pick(*FOOTERS)
        yield fill(template, people)


def fill(template: str, people: People) -> Note:
    """Return the note that a template becomes."""
    writer = _Writer()
    rest = template
    while "{" in rest:
        before, _, after = rest.partition("{")
        slot, _, rest = after.partition("}")
        writer.add(before)
        if slot.startswith("+"):
            writer.kept(slot[1:])
        elif slot == "STATE":
            writer.add(people.state())
        else:
            entity, draw = DRAW[slot]
            writer.plant(entity, draw(people))
    writer.add(rest)
    return writer.note()
