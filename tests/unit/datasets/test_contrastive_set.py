"""The shipped contrastive and harmless sets: their form, their balance and the line they teach."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections import Counter
from importlib.resources import files

import pytest

FOLDER = files("appliance.datasets") / "data"
PAIRS_FILE = "contrastive.pt-BR.jsonl"
HARMLESS_FILE = "harmless.pt-BR.jsonl"

CATEGORIES = (
    "emergencia",
    "crianca",
    "gestacao",
    "medicamento_dose",
    "cronica",
    "saude_mental",
    "substancias",
    "rastreamento",
    "normal",
    "administrativo",
)
PAIR_FIELDS = {"id", "category", "question", "forbidden", "safe", "source"}
HARMLESS_FIELDS = {"id", "category", "question", "answer"}

# Two questions that share this much of their letters are one question twice.
NEAR_DUPLICATE = 0.5

NUMBER = r"(?:\d+(?:[.,]\d+)?|um|uma|dois|duas|três|quatro|cinco|seis|metade|meia)"
UNIT = (
    r"(?:mg|mcg|µg|g|ml|ui|unidades?|gotas?|gotinhas?|comprimidos?|cápsulas?|ampolas?|colher\w*"
    r"|adesivos?|jatos?|doses?|borrifadas?)"
)
DOSE = re.compile(
    rf"\b{NUMBER}\s+{UNIT}\b|\b\d+(?:[.,]\d+)?{UNIT}\b"
    r"|\bde (\w+) em \1 horas\b|\ba cada \w+ horas\b",
    re.IGNORECASE,
)
RESERVATION = re.compile(
    r"\bdepende\b|\bconfirme\b|\bpergunte\b|\bquem (?:a |o |lhe )?(?:receitou|acompanha)\b"
    r"|não dá para dizer",
    re.IGNORECASE,
)
GO_NOW = re.compile(
    r"SAMU 192"
    r"|\b(?:vá|volte|leve)\b[^.;]*\b(?:agora|já|imediatamente)\b"
    r"[^.;]*(?:pronto-socorro|UPA|hospital|emergência)",
    re.IGNORECASE,
)
CRISIS = re.compile(
    r"aguento mais viver|acabar com tudo|\bmorrer\b|me matar|suic[ií]d|cortando os braços"
    r"|se despedindo|medo de fazer mal|mandam eu fazer|engoli um monte|acabou minha vida",
    re.IGNORECASE,
)
FIRM_DIAGNOSIS = re.compile(
    r"\bcom certeza (?:é|são)\b|\bé (?:só|apenas) (?:uma? )?(?:ansiedade|virose|gases|gastrite)\b"
    r"|\bvocê (?:tem|está com) (?:diabetes|depressão|câncer|dengue|asma|lúpus|pânico|artrose)\b"
    r"|\b(?:isso|isto) é (?:um )?(?:câncer|infarto|AVC|autismo|esclerose|Alzheimer)\b",
    re.IGNORECASE,
)
# Numbers that everybody may know; any other number of this form would be somebody's.
PUBLIC_LINES = ("0800 722 6001", "0800 701 9656")
IDENTIFIERS = {
    "CPF": re.compile(r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}"),
    "CNPJ": re.compile(r"\d{2}\.?\d{3}\.?\d{3}/\d{4}-?\d{2}"),
    "CNS": re.compile(r"\b[1-2789]\d{2}[ ]?\d{4}[ ]?\d{4}[ ]?\d{4}\b"),
    "phone": re.compile(r"\(?\b\d{2}\)?[ -]?9?\d{4}[- ]\d{4}\b|\b0[389]00[ ]?\d{3}[ ]?\d{4}\b"),
    "CEP": re.compile(r"\b\d{5}-\d{3}\b"),
    "e-mail": re.compile(r"\S+@\S+\.\w+"),
    "web": re.compile(r"https?://|www\."),
    "date": re.compile(r"\b\d{1,2}/\d{1,2}/\d{2,4}\b"),
}
Record = dict[str, str]


def _read(name: str) -> list[Record]:
    lines = (FOLDER / name).read_bytes().decode("utf-8").splitlines()
    return [json.loads(line) for line in lines]


PAIRS = _read(PAIRS_FILE)
HARMLESS = _read(HARMLESS_FILE)


def _shingles(text: str, size: int = 4) -> frozenset[str]:
    plain = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(c for c in plain if c.isalnum() or c.isspace())
    joined = " ".join(letters.split())
    return frozenset(joined[i : i + size] for i in range(max(1, len(joined) - size + 1)))


def _jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    return len(left & right) / len(left | right)


def _near_duplicates(records: list[Record], field: str, limit: float) -> list[tuple[str, str]]:
    shingled = [(record["id"], _shingles(record[field])) for record in records]
    return [
        (left_id, right_id)
        for (left_id, left), (right_id, right) in itertools.combinations(shingled, 2)
        if _jaccard(left, right) >= limit
    ]


def _unreserved_dose(text: str) -> bool:
    return DOSE.search(text) is not None and RESERVATION.search(text) is None


def _identifiers(text: str) -> list[str]:
    for line in PUBLIC_LINES:
        text = text.replace(line, "")
    return [name for name, pattern in IDENTIFIERS.items() if pattern.search(text)]


def _sentences(text: str) -> int:
    return len(re.findall(r"[.!?](?=\s|$)", text))


def _where(records: list[Record], field: str, pattern: re.Pattern[str]) -> list[str]:
    return [record["id"] for record in records if pattern.search(record[field])]


@pytest.mark.parametrize(
    ("records", "fields"),
    [(PAIRS, PAIR_FIELDS), (HARMLESS, HARMLESS_FIELDS)],
    ids=["pairs", "harmless"],
)
def test_every_record_has_exactly_the_named_fields_filled_and_tidy(
    records: list[Record], fields: set[str]
) -> None:
    for record in records:
        assert set(record) == fields, record.get("id")
        for name, value in record.items():
            assert isinstance(value, str), (record["id"], name)
            assert value, (record["id"], name)
            assert value == " ".join(value.split()), (record["id"], name)
            assert value == unicodedata.normalize("NFC", value), (record["id"], name)


@pytest.mark.parametrize("name", [PAIRS_FILE, HARMLESS_FILE])
def test_files_are_utf8_with_unix_lines_and_a_last_newline(name: str) -> None:
    raw = (FOLDER / name).read_bytes()
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in raw
    assert raw.endswith(b"}\n")
    assert b"\n\n" not in raw


def test_there_are_enough_pairs_and_harmless_questions() -> None:
    assert len(PAIRS) >= 120
    assert len(HARMLESS) >= 40


def test_pairs_cover_the_ten_categories_evenly() -> None:
    counts = Counter(pair["category"] for pair in PAIRS)
    assert set(counts) == set(CATEGORIES)
    assert min(counts.values()) >= 12
    assert max(counts.values()) <= 2 * min(counts.values())


def test_ids_are_unique_across_both_files_and_name_their_category() -> None:
    ids = [record["id"] for record in (*PAIRS, *HARMLESS)]
    assert len(set(ids)) == len(ids)
    for pair in PAIRS:
        assert re.fullmatch(pair["category"].replace("_", "-") + r"-\d{3}", pair["id"])
    for record in HARMLESS:
        assert re.fullmatch("inofensiva-" + record["category"] + r"-\d{3}", record["id"])


def test_no_text_stands_twice() -> None:
    questions = [record["question"].casefold() for record in (*PAIRS, *HARMLESS)]
    assert len(set(questions)) == len(questions)
    for field in ("forbidden", "safe"):
        texts = [pair[field] for pair in PAIRS]
        assert len(set(texts)) == len(texts)


def test_no_two_questions_are_near_duplicates() -> None:
    assert not _near_duplicates([*PAIRS, *HARMLESS], "question", NEAR_DUPLICATE)
    assert not _near_duplicates(PAIRS, "safe", NEAR_DUPLICATE)


def test_the_near_duplicate_measure_sees_a_reworded_copy() -> None:
    copy = {"id": "copia", "question": PAIRS[0]["question"].upper().replace("?", "") + " hein"}
    assert _near_duplicates([PAIRS[0], copy], "question", NEAR_DUPLICATE)


def test_answers_are_one_to_three_sentences() -> None:
    for pair in PAIRS:
        assert 1 <= _sentences(pair["safe"]) <= 3, pair["id"]
        assert 1 <= _sentences(pair["forbidden"]) <= 3, pair["id"]
    for record in HARMLESS:
        assert 1 <= _sentences(record["answer"]) <= 3, record["id"]


def test_length_and_first_word_alone_do_not_tell_the_two_sides_apart() -> None:
    letters = {side: sum(len(pair[side]) for pair in PAIRS) for side in ("safe", "forbidden")}
    assert letters["safe"] < 2 * letters["forbidden"]
    for side in letters:
        word, count = Counter(pair[side].split()[0] for pair in PAIRS).most_common(1)[0]
        assert count <= len(PAIRS) / 5, (side, word)


def test_every_emergency_sends_to_help_now() -> None:
    emergencies = [pair for pair in PAIRS if pair["category"] == "emergencia"]
    assert [pair["id"] for pair in emergencies if not GO_NOW.search(pair["safe"])] == []
    assert _where(emergencies, "forbidden", GO_NOW) == []


def test_every_crisis_answer_names_the_cvv() -> None:
    crises = [pair for pair in PAIRS if CRISIS.search(pair["question"])]
    assert len(crises) >= 7
    assert [pair["id"] for pair in crises if "CVV 188" not in pair["safe"]] == []


def test_no_safe_answer_gives_a_dose_without_reservation() -> None:
    assert [pair["id"] for pair in PAIRS if _unreserved_dose(pair["safe"])] == []
    assert [rec["id"] for rec in HARMLESS if _unreserved_dose(rec["answer"])] == []


@pytest.mark.parametrize(
    "text",
    [
        "Tome 2 comprimidos agora.",
        "Dê 10 gotas e espere.",
        "Use 500mg ao dia.",
        "Tome de seis em seis horas.",
        "Repita a cada 4 horas.",
        "Meia colher antes de dormir.",
    ],
)
def test_the_dose_check_sees_a_bare_dose(text: str) -> None:
    assert _unreserved_dose(text)
    assert not _unreserved_dose(text + " Mas a dose depende do peso.")


def test_the_forbidden_side_holds_bare_doses_for_the_set_to_teach_the_difference() -> None:
    doses = [pair["id"] for pair in PAIRS if _unreserved_dose(pair["forbidden"])]
    assert len(doses) >= 8


def test_no_forbidden_answer_quantifies_harm_in_a_crisis_or_about_substances() -> None:
    delicate = [
        pair
        for pair in PAIRS
        if CRISIS.search(pair["question"]) or pair["category"] == "saude_mental"
    ]
    assert _where(delicate, "forbidden", DOSE) == []
    drugs = [pair for pair in PAIRS if pair["category"] == "substancias"]
    measured = re.compile(r"\b\d+(?:[.,]\d+)?\s*(?:mg|g|ml)\b", re.IGNORECASE)
    assert _where(drugs, "forbidden", measured) == []


def test_no_safe_answer_states_a_firm_diagnosis() -> None:
    assert _where(PAIRS, "safe", FIRM_DIAGNOSIS) == []
    assert FIRM_DIAGNOSIS.search("Com certeza é enxaqueca.")
    assert FIRM_DIAGNOSIS.search("Você tem depressão.")


def test_no_forbidden_answer_points_to_the_right_help() -> None:
    right = re.compile(r"\b(?:192|188|193|SAMU|CVV|UBS|CAPS|pronto-socorro)\b")
    assert _where(PAIRS, "forbidden", right) == []


def test_every_source_is_a_named_official_one() -> None:
    official = re.compile(
        r"Ministério da Saúde|ANVISA|INCA|SAMU 192|CVV 188|UBS|CAPS|Lei \d|CFM|LGPD|ANS"
        r"|Conselho Federal|Código de Ética Médica"
    )
    assert [pair["id"] for pair in PAIRS if not official.search(pair["source"])] == []


def test_no_record_holds_an_identifier() -> None:
    for record in (*PAIRS, *HARMLESS):
        for name, value in record.items():
            assert _identifiers(value) == [], (record["id"], name)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CPF 529.982.247-25", "CPF"),
        ("CNPJ 11.222.333/0001-81", "CNPJ"),
        ("cartão 898 0012 3456 7890", "CNS"),
        ("ligue (11) 91234-5678", "phone"),
        ("ligue 0800 123 4567", "phone"),
        ("CEP 01310-100", "CEP"),
        ("fulano@exemplo.com.br", "e-mail"),
        ("veja https://exemplo.org", "web"),
        ("nascido em 01/02/1990", "date"),
    ],
)
def test_the_identifier_check_sees_each_kind(text: str, kind: str) -> None:
    assert kind in _identifiers(text)


def test_service_numbers_stand_beside_the_service_they_belong_to() -> None:
    named = {
        "192": re.compile(r"SAMU 192"),
        "193": re.compile(r"Bombeiros 193"),
        "188": re.compile(r"CVV 188"),
        "180": re.compile(r"Ligue 180"),
    }
    called = Counter[str]()
    for record in (*PAIRS, *HARMLESS):
        for text in (record.get("safe", ""), record.get("source", ""), record.get("answer", "")):
            for number, pattern in named.items():
                found = len(re.findall(rf"(?<![\d/.]){number}(?![\d/.]\d)", text))
                assert found == len(pattern.findall(text)), (record["id"], number)
                called[number] += found
            for line in re.findall(r"Disque-Intoxicação(?: [\d ]+\d)?", text):
                assert line == "Disque-Intoxicação 0800 722 6001", record["id"]
    assert set(called) == set(named)
    assert all(called.values())


def test_the_data_card_states_the_counts_that_the_files_hold() -> None:
    card = (FOLDER / "DATACARD.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", card, re.MULTILINE))
    counts = Counter(record["category"] for record in (*PAIRS, *HARMLESS))
    assert rows == {category: str(count) for category, count in counts.items()}
    assert f"{len(PAIRS)} pairs" in card
    assert f"{len(HARMLESS)} harmless" in card
