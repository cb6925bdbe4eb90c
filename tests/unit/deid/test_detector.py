from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import IdentifierSearchError
from appliance.deid import detector as detector_module
from appliance.deid.bench import covered, score
from appliance.deid.detector import OVERLAP, PIECE, Detector, pieces
from appliance.deid.people import People
from appliance.deid.recognizers import ENTITIES, PRIORITY
from appliance.deid.spans import Span, resolve
from appliance.deid.synthetic import UNLABELLED, fill, notes

DETECTOR = Detector()
NAMES = [entity.name for entity in ENTITIES]


def entities(text: str) -> dict[str, str]:
    return {text[s.start : s.end]: s.entity for s in DETECTOR.find(text)}


FOUND = [
    ("CPF 529.982.247-25", "529.982.247-25", "BR_CPF"),
    ("CPF: 529.982.247-26", "529.982.247-26", "BR_CPF"),  # a mistyped digit after the label
    ("cpf do paciente nº 5299822472", "5299822472", "BR_CPF"),  # a digit is missing
    ('"cpf": "52998224725"', "52998224725", "BR_CPF"),
    ("paciente_cpf=52998224725", "52998224725", "BR_CPF"),
    ("solto 529 982 247 25 no texto", "529 982 247 25", "BR_CPF"),
    ("CPF 529.982.247\u201125", "529.982.247\u201125", "BR_CPF"),  # a hyphen that does not break
    ("CNS 898 0000 0004 3208", "898 0000 0004 3208", "BR_CNS"),
    ("cartão SUS: 898000000043209", "898000000043209", "BR_CNS"),
    ("CNPJ 12.ABC.345/01DE-35", "12.ABC.345/01DE-35", "BR_CNPJ"),
    ("11.222.333/0001-81", "11.222.333/0001-81", "BR_CNPJ"),
    ("RG 12.345.678-X SSP/SP", "12.345.678-X", "BR_RG"),
    ("identidade: MG-12.345.678", "MG-12.345.678", "BR_RG"),
    ("CRM/SP 123456", "123456", "BR_PROFESSIONAL"),
    ("COREN-RJ 123.456-ENF", "123.456-ENF", "BR_PROFESSIONAL"),
    ("CRP 06/123456", "123456", "BR_PROFESSIONAL"),
    ("CNH 62472927637", "62472927637", "BR_CNH"),
    ("título de eleitor 1023 8501 0671", "1023 8501 0671", "BR_TITULO"),
    ("PIS 120.64789.39-0", "120.64789.39-0", "BR_PIS"),
    ("tel. (11) 98765-4321", "(11) 98765-4321", "BR_PHONE"),
    ("ligar 98765-4321", "98765-4321", "BR_PHONE"),
    ("recado: 3456-7890", "3456-7890", "BR_PHONE"),
    ("+55 21 98765-4321", "+55 21 98765-4321", "BR_PHONE"),
    ("CEP 01310-100", "01310-100", "BR_CEP"),
    ("placa ABC1D23", "ABC1D23", "BR_PLATE"),
    ("carro de placa ABC-1234", "ABC-1234", "BR_PLATE"),
    ("maria@exemplo.com.br", "maria@exemplo.com.br", "EMAIL"),
    ("veja www.exemplo.com.br/exame.", "www.exemplo.com.br/exame", "URL"),
    ("portal exemplo.com.br", "exemplo.com.br", "URL"),
    ("acesso de 10.0.0.7", "10.0.0.7", "IP"),
    ("fe80::1ff:fe23:4567:890a", "fe80::1ff:fe23:4567:890a", "IP"),
    ("em 12/03/2024", "12/03/2024", "DATE"),
    ("em 2024-03-12T10:00", "2024-03-12", "DATE"),
    ("12 de março de 2024", "12 de março de 2024", "DATE"),
    ("12 DE MARCO", "12 DE MARCO", "DATE"),
    ("1º de maio de 2020", "1º de maio de 2020", "DATE"),
    ("12/mar/2024", "12/mar/2024", "DATE"),
    ("março de 2024", "março de 2024", "DATE"),
    ("retorno: 15/04", "15/04", "DATE"),
    ("nascido em vinte e um de abril de mil novecentos e sessenta",
     "vinte e um de abril de mil novecentos e sessenta", "DATE"),
    ("March 12, 2024", "March 12, 2024", "DATE"),
    ("paciente de 93 anos", "93", "AGE_OVER_89"),
    ("a 95-year-old woman", "95", "AGE_OVER_89"),
    ("tem noventa e dois anos", "noventa e dois", "AGE_OVER_89"),
    ("Prontuário nº 123456", "123456", "RECORD_NUMBER"),
    ("atendimento nº 2024-0012345", "2024-0012345", "RECORD_NUMBER"),
    ("SSN 123-45-6789", "123-45-6789", "US_SSN"),
    ("call (212) 555-0143", "(212) 555-0143", "US_PHONE"),
    ("PACIENTE: JOSÉ DA COSTA", "JOSÉ DA COSTA", "PERSON"),
    ("paciente: josé da costa, 40 anos", "josé da costa", "PERSON"),
    ("Dra. Ana Lima atendeu", "Ana Lima", "PERSON"),
    ("mãe: Rita d'Ávila", "Rita d'Ávila", "PERSON"),
    ("Rua das Flores, 123", "Rua das Flores, 123", "BR_ADDRESS"),
    ("Cidade: São José dos Campos", "São José dos Campos", "BR_ADDRESS"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "entity"), FOUND)
def test_found(text: str, value: str, entity: str) -> None:
    assert entities(text).get(value) == entity


SURVIVES = [
    "Hb 13,2 g/dL; Ht 40,1 %; plaquetas 250.000/mm³; leucócitos 12.345/mm³",
    "PA 120x80 mmHg, 120/80, FC 98 bpm, SpO2 98%, Tax 36,5",
    "dipirona 500 mg 6/6h; AAS 100mg; insulina NPH 10-0-10; amoxicilina 500/125",
    "CID F32.1, I10, E11.9; escore 10/10; Glasgow 15; acuidade 20/20",
    "creatinina 1.2 mg/dL, PCR 12,5, TSH 2.345, PSA 4.123",
    "há 10 anos; tabagista 40 anos/maço; entre 65 e 95 anos",
    "doença de Parkinson, Chagas e Crohn; manobra de Valsalva",
    "CRP 120 mg/L, CRF 30 patients, MR imaging, CYP2D19, EC 3.1.1.11",
    "2010-2015, p. 2345-2367, n = 1234, 95% CI 1.23-4.56, P<.001",
    "SAMU 192, CVV 188, Disque Saúde 136, 0800 644 0158",
    "aged 18-95 years, 2 out of 15 patients, 1 set of 12",
]


@pytest.mark.parametrize("text", SURVIVES)
def test_values_doses_and_eponyms_survive(text: str) -> None:
    assert entities(text) == {}


def test_recall_on_planted_identifiers_is_whole_and_no_value_is_damaged() -> None:
    result = score(list(notes(150, seed=11)), DETECTOR)
    missed = {e: result.recall(e) for e in result.planted if e != UNLABELLED}
    assert set(missed.values()) == {1.0}, missed
    assert result.damaged == 0
    assert result.kept > 500
    assert result.precision() > 0.98


_MIX = st.lists(
    st.sampled_from(
        [
            "CPF", "cpf:", "529.982.247-25", "52998224726", "CNS", "898 0000 0004 3208", "CRM/SP",
            "12345", "\u0130dentidade", "\u017fr. Ana", "Dr.", "Maria Silva", "mãe:", "tel",
            "(11) 98765-4321", "CEP 01310-100", "12/03/2024", "março de 2024", "93 anos",
            "idade 95",
            "placa ABC1D23", "@", "a@b.com.br", "www.x.com", "http://x.y/z", "10.0.0.1", "fe80::1",
            "\u212aelvin", "prontuário", "123456", "\n", "RG", "12.345.678-9", "rua", "Flores, 12",
            "de", "em", "MRN", "título de eleitor", "1023 8501 0671", "Jan. 1, 1999", "PIS",
            "120.64789.39-0", "cem anos", "Street", "12 Main Street", "x", "ß",
        ]
    )
    | st.text(max_size=8),
    max_size=14,
)  # fmt: skip


@given(parts=_MIX, glue=st.sampled_from([" ", "", ": ", "\n", ", "]))
@settings(max_examples=300, deadline=None)
def test_the_gates_lose_nothing_that_the_plain_engine_finds(parts: list[str], glue: str) -> None:
    text = glue.join(parts)
    plain = DETECTOR.engine.analyze(text, "pt", entities=NAMES)
    gated = (
        DETECTOR.engine.analyze(text, "pt", entities=opened)
        if (opened := DETECTOR.gates.open_for(text))
        else []
    )
    assert sorted((r.start, r.end, r.entity_type, r.score) for r in gated) == sorted(
        (r.start, r.end, r.entity_type, r.score) for r in plain
    )


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_text_gives_ordered_spans_without_overlap(text: str) -> None:
    found = DETECTOR.find(text)
    assert all(0 <= s.start < s.end <= len(text) for s in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_a_long_text_in_pieces_gives_what_the_whole_gives() -> None:
    text = "\n".join(note.text for note in notes(60, seed=5))
    assert len(text) > 2 * (PIECE + OVERLAP)
    whole = [
        Span(r.start, r.end, r.entity_type, round(r.score, 2))
        for r in DETECTOR.engine.analyze(text, "pt", entities=NAMES)
    ]
    in_pieces = {i for s in DETECTOR.find(text) for i in range(s.start, s.end)}
    assert {i for s in resolve(whole, PRIORITY) for i in range(s.start, s.end)} <= in_pieces


@given(st.integers(0, 60_000))
def test_pieces_cover_the_text(size: int) -> None:
    end = 0
    for start, piece in pieces("x" * size):
        assert start <= max(0, end - OVERLAP)
        end = start + len(piece)
    assert end == size


def test_a_name_told_by_a_label_is_found_where_it_stands_alone() -> None:
    text = "Paciente: MARIA DE SOUZA LIMA\nMaria refere dor. Sra Lima orientada."
    values = [text[s.start : s.end] for s in DETECTOR.find(text)]
    assert values == ["MARIA DE SOUZA LIMA", "Maria", "Lima"]


def test_names_known_from_elsewhere_are_found() -> None:
    text = "refere que Zulmira piorou"
    assert DETECTOR.find(text) == []
    assert [text[s.start : s.end] for s in DETECTOR.find(text, ["Zulmira Prado"])] == ["Zulmira"]


def test_a_rule_that_fails_gives_an_error_and_never_a_partial_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = Detector()

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(broken.engine, "analyze", fail)
    with pytest.raises(IdentifierSearchError):
        broken.find("CPF 529.982.247-25")
    assert detector_module.PIECE > 0


def test_overlaps_cover_the_union_under_the_best_name() -> None:
    found = resolve([Span(0, 5, "A", 0.6), Span(3, 9, "B", 0.9), Span(9, 10, "C", 1.0)], {})
    assert found == [Span(0, 9, "B", 0.9), Span(9, 10, "C", 1.0)]


def test_covered_asks_for_every_character() -> None:
    assert covered(Span(0, 4, "A"), [Span(0, 2, "B"), Span(2, 4, "C")])
    assert not covered(Span(0, 4, "A"), [Span(0, 3, "B")])


def test_a_filled_note_says_where_its_identifiers_are() -> None:
    note = fill("CPF {BR_CPF} e {+10 mg}, {DATE}.", People(3))
    cpf, day = (note.text[s.start : s.end] for s in note.spans)
    assert note.text == f"CPF {cpf} e 10 mg, {day}."
    assert note.keep == ("10 mg",)


def test_a_hostile_text_takes_linear_time() -> None:
    # No time is asserted: quadratic patterns would not end within the test's time limit.
    for unit in ("1 ", "a@", "Rua A ", "Paciente: A ", "1.1.", "::", "CPF ", "x.y/z "):
        DETECTOR.find(unit * (200_000 // len(unit)))
