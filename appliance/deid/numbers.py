"""Brazilian numbers: documents, phones, postcodes."""

from __future__ import annotations

from typing import Final

from appliance.deid import checks
from appliance.deid.rules import (
    DASH,
    GAP,
    LEFT,
    NO_DIGIT_AFTER,
    NO_DIGIT_BEFORE,
    OWNER,
    RIGHT,
    SEP,
    Entity,
    Rule,
    run,
)

UF: Final = "(?:AC|AL|AP|AM|BA|CE|DF|ES|GO|MA|MT|MS|MG|PA|PB|PR|PE|PI|RJ|RN|RS|RO|RR|SC|SP|SE|TO)"
# Area codes in use (Anatel).
DDD: Final = r"(?:1[1-9]|2[12478]|3[1-578]|4[1-9]|5[1345]|6[1-9]|7[134579]|8[1-9]|9[1-9])"
SEVEN_DIGITS: Final = r"\d(?:[ .\-/()\u00a0\u2010-\u2015\u2212]{0,3}\d){6}"
_NOT_YEARS: Final = rf"(?<!p\.\s)(?<!p\.)(?!(?:19|20)\d\d{DASH}(?:19|20)\d\d(?!\d))"

CPF = Entity(
    "BR_CPF",
    "CPF",
    (
        Rule(
            "labelled",
            rf"{LEFT}C\.?P\.?F\.?(?:/MF)?{OWNER}{GAP}(?P<v>{run(9, 12)})",
            1.0,
            checks.cpf_ok,
            0.95,
        ),
        Rule(
            "formatted",
            rf"{NO_DIGIT_BEFORE}\d{{3}}\.\d{{3}}\.\d{{3}}{DASH}\d{{2}}{NO_DIGIT_AFTER}",
            1.0,
            checks.cpf_ok,
            0.6,
        ),
        Rule(
            "separated",
            rf"{NO_DIGIT_BEFORE}\d{{3}}{SEP}\d{{3}}{SEP}\d{{3}}{SEP}\d{{2}}{NO_DIGIT_AFTER}",
            0.9,
            checks.cpf_ok,
            0.3,
        ),
        Rule(
            "bare",
            rf"{NO_DIGIT_BEFORE}\d{{11}}{NO_DIGIT_AFTER}",
            0.7,
            checks.cpf_ok,
            0.1,
        ),
    ),
    shapes=(SEVEN_DIGITS,),
    priority=9,
)

_CNPJ_ROOT = r"[0-9A-Z]{2}\.?[0-9A-Z]{3}\.?[0-9A-Z]{3}/?[0-9A-Z]{4}"
CNPJ = Entity(
    "BR_CNPJ",
    "CNPJ",
    (
        Rule(
            "labelled",
            rf"{LEFT}CNPJ(?:/MF)?{GAP}(?P<v>{_CNPJ_ROOT}{DASH}?\d{{1,3}}){RIGHT}",
            1.0,
            checks.cnpj_ok,
            0.95,
        ),
        Rule(
            "formatted",
            rf"{LEFT}[0-9A-Z]{{2}}\.[0-9A-Z]{{3}}\.[0-9A-Z]{{3}}/[0-9A-Z]{{4}}{DASH}\d{{2}}{RIGHT}",
            1.0,
            checks.cnpj_ok,
            0.7,
        ),
        Rule("bare", rf"{NO_DIGIT_BEFORE}\d{{14}}{NO_DIGIT_AFTER}", 0.7, checks.cnpj_ok, 0.1),
    ),
    words=("cnpj",),
    shapes=(r"/[0-9A-Za-z\u017f\u212a]{4}[\-\u2010-\u2015\u2212]\d\d", r"\d{14}"),
    priority=8,
)

CNS = Entity(
    "BR_CNS",
    "CNS",
    (
        Rule(
            "labelled",
            rf"{LEFT}(?:C\.?N\.?S\.?|cart[\u00e3a]o\s(?:nacional\sde\ssa[\u00fau]de|(?:do\s)?SUS)|SUS)"
            rf"{OWNER}{GAP}(?P<v>{run(13, 16)})",
            1.0,
            checks.cns_ok,
            0.95,
        ),
        Rule(
            "grouped",
            rf"{NO_DIGIT_BEFORE}[12789]\d{{2}}{SEP}\d{{4}}{SEP}\d{{4}}{SEP}\d{{4}}{NO_DIGIT_AFTER}",
            1.0,
            checks.cns_ok,
            0.55,
        ),
        Rule("bare", rf"{NO_DIGIT_BEFORE}[12789]\d{{14}}{NO_DIGIT_AFTER}", 0.9, checks.cns_ok, 0.2),
    ),
    shapes=(SEVEN_DIGITS,),
    priority=8,
)

PIS = Entity(
    "BR_PIS",
    "PIS",
    (
        Rule(
            "labelled",
            rf"{LEFT}(?:PIS|PASEP|PIS/PASEP|NIS|NIT){GAP}(?P<v>{run(10, 12)})",
            1.0,
            checks.pis_ok,
            0.95,
        ),
        Rule(
            "formatted",
            rf"{NO_DIGIT_BEFORE}\d{{3}}\.\d{{5}}\.\d{{2}}{DASH}\d{NO_DIGIT_AFTER}",
            0.95,
            checks.pis_ok,
            0.55,
        ),
    ),
    shapes=(SEVEN_DIGITS,),
    priority=7,
)

CNH = Entity(
    "BR_CNH",
    "CNH",
    (
        Rule(
            "labelled",
            rf"{LEFT}(?:CNH|carteira\s(?:nacional\sde\shabilita[\u00e7c][\u00e3a]o|de\smotorista)"
            rf"|habilita[\u00e7c][\u00e3a]o){GAP}(?P<v>{run(9, 12)})",
            1.0,
            checks.cnh_ok,
            0.95,
        ),
    ),
    shapes=(SEVEN_DIGITS,),
    priority=7,
)

TITULO = Entity(
    "BR_TITULO",
    "TITULO",
    (
        Rule(
            "labelled",
            rf"{LEFT}t[\u00edi]tulo\s(?:de\seleitor|eleitoral){GAP}(?P<v>{run(11, 13)})",
            1.0,
            checks.titulo_ok,
            0.95,
        ),
    ),
    shapes=(SEVEN_DIGITS,),
    priority=7,
)

RENAVAM = Entity(
    "BR_RENAVAM",
    "RENAVAM",
    (
        Rule(
            "labelled",
            rf"{LEFT}RENAVAM{GAP}(?P<v>{run(9, 12)})",
            1.0,
            checks.renavam_ok,
            0.95,
        ),
    ),
    words=("renavam",),
    priority=7,
)

RG = Entity(
    "BR_RG",
    "RG",
    (
        Rule(
            "labelled",
            rf"{LEFT}(?:R\.?G\.?|(?:carteira|c[\u00e9e]dula)\sde\sidentidade|registro\sgeral"
            rf"|identidade|CIN){OWNER}{GAP}(?P<v>(?:{UF}{SEP}?|M{SEP}?)?\d(?:{SEP}?\d){{4,11}}"
            rf"(?:{SEP}?X)?){RIGHT}",
            0.9,
        ),
        Rule(
            "formatted",
            rf"{NO_DIGIT_BEFORE}\d{{2}}\.\d{{3}}\.\d{{3}}{DASH}[\dX]{RIGHT}{NO_DIGIT_AFTER}",
            0.7,
        ),
    ),
    words=("rg", "identidade", "registro", "cin"),
    parts=("r.g",),
    shapes=(r"\d\d\.\d{3}\.\d{3}[\-\u2010-\u2015\u2212]",),
    priority=6,
)

PHONE = Entity(
    "BR_PHONE",
    "TELEFONE",
    (
        Rule(
            "labelled",
            rf"{LEFT}(?:tel(?:efone)?s?|fone|cel(?:ular)?|whats\s?app|zap|contato|fax|recado)"
            rf"{OWNER}[\s:.()]{{0,5}}{GAP}(?P<v>(?:\+?55[\s\-]?)?(?:\(?0?{DDD}\)?[\s.\-]{{0,2}})?"
            rf"\d{{4,5}}[\s.\-\u2010-\u2015]{{0,2}}\d{{4}})(?!\d)",
            0.95,
        ),
        Rule(
            "international",
            rf"(?<!\d)\+\s?55[\s\-]?\(?0?{DDD}\)?[\s.\-]{{0,2}}9?\d{{4}}[\s.\-]?\d{{4}}(?!\d)",
            0.95,
        ),
        Rule(
            "area code",
            rf"(?<!\d)\(\s?0?{DDD}\s?\)\s{{0,2}}9?\s?\d{{4}}[\s.\-\u2010-\u2015]{{0,2}}\d{{4}}(?!\d)",
            0.9,
        ),
        Rule(
            "area code, no brackets",
            rf"{NO_DIGIT_BEFORE}0?{DDD}[\s.\-]9\d{{4}}[\s.\-]?\d{{4}}{NO_DIGIT_AFTER}",
            0.75,
        ),
        Rule(
            "area code, fixed line",
            rf"{NO_DIGIT_BEFORE}0?{DDD}[\s.\-][2-5]\d{{3}}[\s.\-]\d{{4}}{NO_DIGIT_AFTER}",
            0.7,
        ),
        Rule(
            "mobile, no area code",
            rf"{NO_DIGIT_BEFORE}9\s?\d{{4}}{DASH}\d{{4}}{NO_DIGIT_AFTER}",
            0.6,
        ),
        Rule(
            "mobile, digits only",
            rf"{NO_DIGIT_BEFORE}{DDD}9[6-9]\d{{7}}{NO_DIGIT_AFTER}",
            0.6,
        ),
        Rule(
            "fixed line, no area code",
            rf"{NO_DIGIT_BEFORE}{_NOT_YEARS}[2-5]\d{{3}}{DASH}\d{{4}}{NO_DIGIT_AFTER}",
            0.5,
        ),
    ),
    shapes=(SEVEN_DIGITS,),
    priority=4,
)

CEP = Entity(
    "BR_CEP",
    "CEP",
    (
        Rule(
            "labelled", rf"{LEFT}CEP{GAP}(?P<v>\d{{2}}\.?\d{{3}}[\s\-]{{0,2}}\d{{3}})(?!\d)", 0.95
        ),
        Rule("dotted", rf"{NO_DIGIT_BEFORE}\d{{2}}\.\d{{3}}{DASH}\d{{3}}{NO_DIGIT_AFTER}", 0.8),
        Rule("formatted", rf"{NO_DIGIT_BEFORE}\d{{5}}{DASH}\d{{3}}{NO_DIGIT_AFTER}", 0.6),
    ),
    shapes=(SEVEN_DIGITS,),
    priority=3,
)

ENTITIES: Final = (CPF, CNPJ, CNS, PIS, CNH, TITULO, RENAVAM, RG, PHONE, CEP)
