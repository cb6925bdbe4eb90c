from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.core.errors import ApplianceError
from appliance.core.settings.datasets import DatasetsSettings
from appliance.datasets.readers.base import Refusal, Source
from appliance.datasets.readers.detect import FORMATS, read
from appliance.datasets.record import Record

LIMITS = DatasetsSettings()


def parsed(path: Path, fmt: str | None = None) -> tuple[str, list[Record], list[Refusal]]:
    name, items = read(Source(path, LIMITS), fmt)
    found = list(items)
    return (
        name,
        [item for item in found if isinstance(item, Record)],
        [item for item in found if isinstance(item, Refusal)],
    )


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def lines(*values: object) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def test_pubmedqa(tmp_path: Path) -> None:
    entry = {"QUESTION": "Is it?", "CONTEXTS": ["One.", "Two."], "LONG_ANSWER": "It is."}
    document = {
        "21645374": {**entry, "MESHES": [], "final_decision": "yes"},
        "2": {**entry, "QUESTION": " "},
        "3": {**entry, "final_decision": "perhaps"},
        "4": "not an object",
    }
    name, records, refused = parsed(write(tmp_path, "p.json", json.dumps(document)))
    assert name == "pubmedqa"
    assert [(r.id, r.kind, r.context, r.label, r.language) for r in records] == [
        ("pubmedqa:21645374", "qa", "One.\nTwo.", "yes", "en")
    ]
    assert [(r.where, r.reason) for r in refused] == [
        ("key 2", "no question"),
        ("key 3", "final_decision is not yes, no or maybe"),
        ("key 4", "the entry is not an object"),
    ]


ALPACA = [{"instruction": "Traduza", "input": "dor", "output": "pain"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ALPACA),
        json.dumps({key: [value] for key, value in ALPACA[0].items()}),
        lines(*ALPACA),
    ],
)
def test_alpaca_in_all_three_forms(tmp_path: Path, text: str) -> None:
    name, records, refused = parsed(write(tmp_path, "a.json", text))
    assert (name, refused) == ("alpaca", [])
    assert [(r.kind, r.question, r.context, r.answer) for r in records] == [
        ("instruction", "Traduza", "dor", "pain")
    ]


def test_delimited(tmp_path: Path) -> None:
    text = (
        "[|Contexto|] Clínica [|eContexto|]\n[|Pergunta|] Qual? [|ePergunta|]\n"
        "[|Resposta|] Esta. [|eResposta|]\n\n"
        "[|Contexto|] Outro [|eContexto|]\n[|Pergunta|] Sem fim?\n"
        "[|Resposta|] Não. [|eResposta|]\n"
        "[|Contexto|] Fim [|eContexto|][|Pergunta|] E esta? [|ePergunta|]"
        "[|Resposta|] Sim. [|eResposta|]\n"
    )
    name, records, refused = parsed(write(tmp_path, "d.txt", text))
    assert name == "delimited"
    assert [(r.context, r.question, r.answer) for r in records] == [
        ("Clínica", "Qual?", "Esta."),
        ("Fim", "E esta?", "Sim."),
    ]
    assert [(r.where, r.reason) for r in refused] == [("line 5", "Pergunta is not closed")]


def test_chat_and_preference(tmp_path: Path) -> None:
    system = {"role": "system", "content": "S"}
    user = {"role": "user", "content": [{"type": "text", "text": "Oi?"}]}
    good = {"role": "assistant", "content": "Olá."}
    chat = write(
        tmp_path, "c.jsonl", lines({"messages": [system, user, good]}, {"messages": [user]})
    )
    name, records, refused = parsed(chat)
    assert (name, records[0].question, records[0].answer) == ("chat", "Oi?", "Olá.")
    assert records[0].turns == (("system", "S"),)
    assert refused[0].where == "line 2"
    pair = {
        "input": {"messages": [user]},
        "preferred_output": [good],
        "non_preferred_output": [{"role": "assistant", "content": "Tome 2 g."}],
    }
    name, records, _ = parsed(write(tmp_path, "p.jsonl", lines(pair)))
    assert (name, records[0].safe, records[0].forbidden) == ("preference", "Olá.", "Tome 2 g.")


PAIR_TABLES = {
    "pairs.csv": "Pergunta,Resposta Proibida,Resposta Segura,Categoria\n"
    '"Posso, sim?",Tome 2 g.,"Procure a UBS.",doses\n',
    "pairs.tsv": "question\tforbidden\tsafe\tcategory\n"
    "Posso, sim?\tTome 2 g.\tProcure a UBS.\tdoses\n",
    "semi.csv": "pergunta;proibida;segura;categoria\nPosso, sim?;Tome 2 g.;Procure a UBS.;doses\n",
    "pairs.md": "# Pares\n\n| Pergunta | Resposta proibida | Resposta segura | Categoria |\n"
    "|---|:--|---|---|\n| Posso, sim? | Tome 2 g. | Procure a UBS. | doses |\n",
    "pairs.jsonl": lines(
        {
            "question": "Posso, sim?",
            "forbidden": "Tome 2 g.",
            "safe": "Procure a UBS.",
            "category": "doses",
        }
    ),
}


@pytest.mark.parametrize("name", PAIR_TABLES)
def test_contrastive_pairs_in_every_form(tmp_path: Path, name: str) -> None:
    fmt, records, refused = parsed(write(tmp_path, name, PAIR_TABLES[name]))
    assert (fmt, refused) == ("contrastive", [])
    assert [(r.question, r.forbidden, r.safe, r.category) for r in records] == [
        ("Posso, sim?", "Tome 2 g.", "Procure a UBS.", "doses")
    ]


def test_a_table_row_with_too_few_cells_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "question,forbidden,safe\na,b,c\nd,e\nf,g,\n")
    _, records, refused = parsed(path)
    assert len(records) == 1
    assert [(r.where, r.reason) for r in refused] == [
        ("line 3", "2 cells under 3 columns"),
        ("line 4", "no safe"),
    ]


@pytest.mark.parametrize("answer", ["B", "b", 1, "dois"])
def test_multiple_choice(tmp_path: Path, answer: object) -> None:
    value = {"question": "Um mais um?", "options": ["um", "dois"], "answer": answer}
    name, records, _ = parsed(write(tmp_path, "m.jsonl", lines(value)))
    assert (name, records[0].label, records[0].options) == ("choice", "B", ("um", "dois"))


def test_a_choice_whose_answer_is_no_option_is_refused(tmp_path: Path) -> None:
    value = {"question": "?", "options": {"A": "um", "B": "dois"}, "answer": "C"}
    _, records, refused = parsed(write(tmp_path, "m.jsonl", lines(value)))
    assert records == []
    assert refused[0].reason == "the answer is not one of the options"


def test_notes_as_text_and_rtf(tmp_path: Path) -> None:
    plain = parsed(write(tmp_path, "Maria Silva.txt", "Evolução: estável.\n"))[1][0]
    rtf = parsed(write(tmp_path, "n.rtf", r"{\rtf1\ansi Evolu\'e7\'e3o: est\'e1vel.}"))[1][0]
    assert plain.context == rtf.context == "Evolução: estável."
    assert "Maria" not in json.dumps(plain.to_dict())


def test_fhir_ndjson(tmp_path: Path) -> None:
    data = base64.b64encode("Maria está bem.".encode()).decode()
    values: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": "1", "name": [{"given": ["Maria"], "family": "Lima"}],
         "birthDate": "1950-01-02"},
        {"resourceType": "DocumentReference", "id": "d", "subject": {"reference": "Patient/1"},
         "content": [{"attachment": {"contentType": "text/plain", "data": data}}]},
        {"resourceType": "Observation", "id": "o",
         "subject": {"reference": "https://h/fhir/Patient/1"},
         "code": {"text": "Hemoglobina"}, "valueQuantity": {"value": 13.2, "unit": "g/dL"}},
        {"resourceType": "Claim", "id": "c"},
        {"resourceType": "DocumentReference", "id": "x",
         "content": [{"attachment": {"contentType": "text/plain", "data": "%%"}}]},
    ]  # fmt: skip
    name, records, refused = parsed(write(tmp_path, "f.ndjson", lines(*values)))
    assert name == "fhir"
    assert {r.group for r in records} == {"Patient/1"}
    assert [r.context for r in records][1:] == ["Maria está bem.", "Hemoglobina: 13.2 g/dL"]
    assert [r.where for r in refused] == ["line 4", "line 5"]


def test_refusals_never_hold_the_text(tmp_path: Path) -> None:
    secret = "SEGREDO"
    values = [
        {"question": "q", "forbidden": "f", "safe": "s"},
        {"question": secret, "forbidden": "f"},
        {"question": [secret], "forbidden": "f", "safe": "s"},
        {secret: secret},
        [secret],
    ]
    text = lines(*values) + '{"question": "SEGREDO\n'
    _, records, refused = parsed(write(tmp_path, "r.jsonl", text))
    assert (len(records), len(refused)) == (1, 5)
    assert secret not in str([r.to_dict() for r in refused])


def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "s.jsonl", '{"question": "\\ud800", "forbidden": "f", "safe": "s"}\n')
    assert parsed(path)[2][0].reason == "question is not valid Unicode"


def test_texts_come_out_composed(tmp_path: Path) -> None:
    path = write(tmp_path, "n.jsonl", lines({"question": "ma\u0303e?", "answer": "a"}))
    assert parsed(path)[1][0].question == "m\u00e3e?"


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".md", ".txt", ".rtf", ".ndjson"])
@given(
    data=st.binary(max_size=300) | st.text(max_size=200).map(str.encode),
    fmt=st.sampled_from([None, *FORMATS]),
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_bytes_give_records_refusals_or_one_of_our_errors(
    tmp_path: Path, suffix: str, data: bytes, fmt: str | None
) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(ApplianceError):
        _, items = read(Source(path, LIMITS), fmt)
        assert all(isinstance(item, Record | Refusal) for item in items)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["QUESTION", "CONTEXTS", "LONG_ANSWER", "instruction", "input", "output", "messages",
             "role", "content", "preferred_output", "non_preferred_output", "question", "options",
             "answer", "forbidden", "safe", "text", "resourceType", "id", "kind", "turns",
             "subject",
             "name", "code", "valueQuantity", "value", "1"]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(
    value=_JSON, fmt=st.sampled_from([None, *FORMATS]), suffix=st.sampled_from([".json", ".jsonl"])
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_json_gives_records_refusals_or_one_of_our_errors(
    tmp_path: Path, value: object, fmt: str | None, suffix: str
) -> None:
    path = write(tmp_path, f"any{suffix}", json.dumps(value))
    with contextlib.suppress(ApplianceError):
        _, items = read(Source(path, LIMITS), fmt)
        for item in items:
            if isinstance(item, Record):
                assert Record.from_dict(item.to_dict()) == item


@given(depth=st.integers(2000, 100_000))
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_deep_nesting_is_refused(tmp_path: Path, depth: int) -> None:
    path = write(
        tmp_path, "deep.jsonl", '{"question": "q", "safe": "s", "forbidden": "f"}\n' + "[" * depth
    )
    assert len(parsed(path)[2]) == 1
