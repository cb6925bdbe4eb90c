"""Names of people that a label announces: patient, mother, doctor.

This finds names after a word that says so, in any case (MARIA, Maria, maria). A name with no
such word beside it is left to the trained name model.
"""

from __future__ import annotations

from typing import Final

from appliance.deid.rules import LEFT, Entity, Rule

_UP = r"(?-i:[A-Z\u00c0-\u00d6\u00d8-\u00de])"
_LOW = r"[^\W\d_]"
_PART = rf"{_LOW}(?:{_LOW}|['\u2019\-](?={_LOW})){{1,24}}"
_PARTICLE = r"(?:d[aeo]s?|e|del|von|van|di)"
_NOT_NAME = (
    r"(?!(?:paciente|sexo|idade|anos|ano|data|nascid[oa]|portador|portadora|refere|nega|feminino"
    r"|masculino|com|sem|para|por|em|no|na|que|foi|est[\u00e1a]|tem|cpf|rg|cns|tel|telefone|leito"
    r"|quarto|solteir[oa]|casad[oa]|divorciad[oa]|vi[\u00fau]v[oa]|falecid[oa]|hipertens[oa]"
    r"|diab[\u00e9e]tic[oa]|n[\u00e3a]o|desconhecid[oa]|crm|coren|do|da|de|dos|das|e|prontu[\u00e1a]rio"
    r"|internad[oa]|admitid[oa]|evolui|mora|reside|ontem|hoje|plantonista|respons[\u00e1a]vel"
    r"|assistente|cl[\u00edi]nico|m[\u00e9e]dic[oa]|a|o|as|os|um|uma|ao|\u00e0|is|was|with|the|of|and)(?![^\W_]))"
)
_CAPITAL = rf"{_UP}(?:{_LOW}|['\u2019\-](?={_LOW})|\.(?=\s{_UP})){{0,24}}"
# Two to seven words that begin with a capital, with particles between them.
CAPITALS: Final = rf"{_NOT_NAME}{_CAPITAL}(?:\s(?:{_PARTICLE}\s)?{_NOT_NAME}{_CAPITAL}){{0,6}}"
# After a label and a colon the case says nothing.
ANY_CASE: Final = rf"{_NOT_NAME}{_PART}(?:[ \t](?:{_PARTICLE}[ \t])?{_NOT_NAME}{_PART}){{0,6}}"

_PATIENT = (
    r"(?:(?:nome|paciente|pcte|pct|cliente|usu[\u00e1a]ri[oa]|benefici[\u00e1a]ri[oa]|titular"
    r"|m[\u00e3a]e|pai|filia[\u00e7c][\u00e3a]o|genitora?|c[\u00f4o]njuge|esposa|esposo|marido"
    r"|companheir[oa]|filh[oa]|irm[\u00e3a]o?|av[\u00f3\u00f4o]|acompanhante|respons[\u00e1a]vel"
    r"|cuidador[a]?|informante|contato|m[\u00e9e]dic[oa]|enfermeir[oa]|t[\u00e9e]cnic[oa]"
    r"|fisioterapeuta|psic[\u00f3o]log[oa]|nutricionista|solicitante|assinado\spor|assinatura"
    r"|patient|name|mother|father)"
    r"(?:\s(?:completo|social|civil|do\spaciente|da\spaciente|da\sm[\u00e3a]e|do\spai|assistente"
    r"|respons[\u00e1a]vel|legal|solicitante|name))?)"
)
_TITLE = (
    r"(?:dr\.?|dra\.?|dr\(a\)\.?|doutor|doutora|prof\.?|profa\.?|sr\.?|sra\.?|sr\(a\)\.?|srta\.?"
    r"|dona|seu|enf\.?|enfa\.?|enf\u00aa\.?|m[\u00e9e]dic[oa]|enfermeir[oa]|(?-i:Mr|Mrs|Ms)\.?)"
)
_KIN = (
    r"(?:paciente|pcte|m[\u00e3a]e|pai|filh[oa]|espos[oa]|marido|irm[\u00e3a]o?|acompanhante|cuidadora?"
    r"|sobrinh[oa]|net[oa]|av[\u00f3\u00f4]|ti[oa]|vizinh[oa]|nora|genro|companheir[oa])"
)
PERSON: Final = Entity(
    "PERSON",
    "PESSOA",
    (
        Rule("labelled", rf"{LEFT}{_PATIENT}\s?[:=|]\s{{0,3}}(?P<v>{ANY_CASE})", 0.9),
        Rule("title", rf"{LEFT}{_TITLE}\s{{1,2}}(?P<v>{CAPITALS})", 0.85),
        Rule(
            "relation",
            rf"{LEFT}{_KIN}(?:\sdo\spaciente|\sda\spaciente)?\s?,?\s"
            rf"(?P<v>{_NOT_NAME}{_CAPITAL}(?:\s(?:{_PARTICLE}\s)?{_NOT_NAME}{_CAPITAL}){{1,6}})",
            0.75,
        ),
        Rule(
            "called",
            rf"{LEFT}(?:chamad[oa]|de\snome|nomead[oa]|sou\s[oa]|me\schamo|chama-se|named)\s"
            rf"(?P<v>{CAPITALS})",
            0.8,
        ),
    ),
    words=(
        "nome",
        "paciente",
        "pcte",
        "pct",
        "cliente",
        "usuário",
        "usuária",
        "usuario",
        "usuaria",
        "beneficiário",
        "beneficiária",
        "beneficiario",
        "beneficiaria",
        "titular",
        "mãe",
        "mae",
        "pai",
        "filiação",
        "filiacao",
        "filiaçao",
        "filiacão",
        "genitor",
        "genitora",
        "cônjuge",
        "conjuge",
        "esposa",
        "esposo",
        "marido",
        "companheiro",
        "companheira",
        "filho",
        "filha",
        "irmã",
        "irma",
        "irmão",
        "irmao",
        "avó",
        "avô",
        "avo",
        "acompanhante",
        "responsável",
        "responsavel",
        "cuidador",
        "cuidadora",
        "informante",
        "contato",
        "médico",
        "médica",
        "medico",
        "medica",
        "enfermeiro",
        "enfermeira",
        "técnico",
        "técnica",
        "tecnico",
        "tecnica",
        "fisioterapeuta",
        "psicólogo",
        "psicóloga",
        "psicologo",
        "psicologa",
        "nutricionista",
        "solicitante",
        "assinado",
        "assinatura",
        "patient",
        "name",
        "mother",
        "father",
        "dr",
        "dra",
        "doutor",
        "doutora",
        "prof",
        "profa",
        "sr",
        "sra",
        "srta",
        "dona",
        "seu",
        "enf",
        "enfa",
        "enfª",
        "mr",
        "mrs",
        "ms",
        "sobrinho",
        "sobrinha",
        "neto",
        "neta",
        "tio",
        "tia",
        "vizinho",
        "vizinha",
        "nora",
        "genro",
        "chamado",
        "chamada",
        "nomeado",
        "nomeada",
        "sou",
        "chamo",
        "chama",
        "named",
    ),
    priority=3,
)

ENTITIES: Final = (PERSON,)
