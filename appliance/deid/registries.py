"""Numbers that someone's register gave: professional councils, plates, records and visits."""

from __future__ import annotations

from typing import Final

from appliance.deid.numbers import UF
from appliance.deid.rules import DASH, GAP, LEFT, RIGHT, SEP, Entity, Rule

COUNCILS: Final = r"(?:CRM|COREN|CRESS|CREFITO|CRBM|CREFONO|CREMESP|CREMERJ|RQE)"
# These also abbreviate something clinical (CRP, CRF) or are parts of words: only with a state or
# a region.
COUNCILS_OF_STATE: Final = r"(?:CRO|CRF|CRP|CRN|CRFA|CRBIO|RMS)"
_COUNCIL_VALUE = (
    rf"(?P<v>\d(?:[.\s]?\d){{2,7}}(?:{DASH}[A-Z]{{1,3}})?(?:\s?[/\-]\s?{UF})?)(?![^\W_])"
)
PROFESSIONAL = Entity(
    "BR_PROFESSIONAL",
    "CONSELHO",
    (
        Rule(
            "council",
            rf"{LEFT}{COUNCILS}(?:{SEP}{{0,2}}{UF}(?![^\W\d_]))?{GAP}{_COUNCIL_VALUE}",
            0.95,
        ),
        Rule(
            "council of a state",
            rf"{LEFT}{COUNCILS_OF_STATE}{SEP}{{0,2}}(?:{UF}|\d{{1,2}}/)(?![^\W\d_]){GAP}"
            rf"{_COUNCIL_VALUE}",
            0.9,
        ),
    ),
    words=(
        "crm",
        "coren",
        "cress",
        "crefito",
        "crbm",
        "crefono",
        "cremesp",
        "cremerj",
        "rqe",
        "cro",
        "crf",
        "crp",
        "crn",
        "crbio",
        "rms",
    ),
    priority=6,
)

PLATE = Entity(
    "BR_PLATE",
    "PLACA",
    (
        Rule(
            "labelled",
            rf"{LEFT}(?:placas?|ve[\u00edi]culo|autom[\u00f3o]vel|carro|moto(?:cicleta)?)"
            rf"[^\d\n]{{0,40}}?{LEFT}(?P<v>(?-i:[A-Z]{{3}})[\s\-]?\d(?:\d|(?-i:[A-Z]))\d{{2}}){RIGHT}",
            0.9,
        ),
        Rule(
            "labelled, small letters",
            rf"{LEFT}placas?{GAP}(?P<v>[a-z]{{3}}[\s\-]?\d[\da-z]\d{{2}}){RIGHT}",
            0.9,
        ),
    ),
    words=(
        "placa",
        "placas",
        "veículo",
        "veiculo",
        "automóvel",
        "automovel",
        "carro",
        "moto",
        "motocicleta",
    ),
    priority=2,
)

_RECORD_STRONG = (
    r"(?:prontu[\u00e1a]rio|pront\.|matr[\u00edi]cula|carteirinha|same|BAM|MRN|medical\srecord"
    r"|accession|bilhete)"
)
_RECORD_WEAK = (
    r"(?:registro|atendimento|atend\.|interna[\u00e7c][\u00e3a]o|visita|boletim|guia|protocolo"
    r"|ficha|encounter|visit|conv[\u00eae]nio|pedido|amostra|laudo|AIH)"
)
_RECORD_OF = (
    r"(?:\s(?:hospitalar|m[\u00e9e]dico|eletr[\u00f4o]nico|do\spaciente|da\spaciente|do\sexame"
    r"|de\sinterna[\u00e7c][\u00e3a]o|de\satendimento|number|no\.?))?"
)
_RECORD_VALUE = r"(?P<v>(?:[A-Z]{1,5}[\-/.]?)?\d(?:[\d.\-/]{1,18}\d)(?:[\-/][A-Z]{1,3})?)"
RECORD = Entity(
    "RECORD_NUMBER",
    "REGISTRO",
    (
        Rule(
            "record",
            rf"{LEFT}{_RECORD_STRONG}{_RECORD_OF}{GAP}{_RECORD_VALUE}{RIGHT}",
            0.9,
        ),
        Rule(
            "visit",
            rf"{LEFT}{_RECORD_WEAK}{_RECORD_OF}\s{{0,2}}"
            r"(?:n[\u00ba\u00b0o.]{1,2}|n[\u00fau]mero|num\.?|:|#)[\s:.#]{0,3}"
            rf"(?!\d{{1,2}}[/.\-]\d{{1,2}}[/.\-]\d{{2}}){_RECORD_VALUE}{RIGHT}",
            0.85,
        ),
        Rule(
            "visit, no mark",
            rf"{LEFT}{_RECORD_WEAK}{_RECORD_OF}\s(?P<v>(?:[A-Z]{{1,4}}-)?\d{{5,14}}){RIGHT}",
            0.7,
        ),
    ),
    words=(
        "prontuário",
        "prontuario",
        "pront",
        "matrícula",
        "matricula",
        "carteirinha",
        "same",
        "bam",
        "mrn",
        "medical",
        "accession",
        "bilhete",
        "registro",
        "atendimento",
        "atend",
        "internação",
        "internacao",
        "internaçao",
        "internacão",
        "visita",
        "boletim",
        "guia",
        "protocolo",
        "ficha",
        "encounter",
        "visit",
        "convênio",
        "convenio",
        "pedido",
        "amostra",
        "laudo",
        "aih",
    ),
    priority=1,
)

ENTITIES: Final = (PROFESSIONAL, PLATE, RECORD)
