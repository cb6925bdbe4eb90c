"""Train a small name model from made-up sentences: no download, the same result for a seed.

It learns where names stand in notes (after "refere", before "nega", beside a relative), in all
three cases and without accents, and what only looks like one: eponyms, hospitals, medicines.
"""

from __future__ import annotations

import random
import shutil
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.core.durable import new_folder
from appliance.core.progress import NoProgress, Progress
from appliance.deid.people import People
from appliance.deid.recognizers import LANGUAGE

LABEL: Final = "PERSON"
BATCH: Final = 64
DROPOUT: Final = 0.2
WITHOUT_SHARE: Final = 0.6  # of the sentences hold no name, as in a note

# N stands for a full name, G for a given name alone.
WITH_NAMES: Final = (
    "{N} queixa-se de tontura ao levantar.",
    "{G} refere dor abdominal há 2 dias.",
    "Expliquei a {N} os riscos do procedimento.",
    "Atendida por {N} no pronto-socorro.",
    "Discutido o caso com {N}, que orienta manter antibiótico.",
    "{N} , 45 anos, casada, costureira, procura a UBS por cefaleia.",
    "Paciente {N} evolui bem no pós-operatório.",
    "Compareceu {N} acompanhada de {N}.",
    "Segundo {N}, irmã, houve queda da própria altura.",
    "A filha {G} relata que a mãe não dorme.",
    "Solicito parecer de {N} quanto à conduta.",
    "Laudo assinado eletronicamente por {N} em 12/03/2024.",
    "{N} nega alergias e uso de medicamentos.",
    "Entrego os exames a {N} , que assina o termo.",
    "Plantão passado para {N} às 19h.",
    "Visita de {G} e {G} no horário combinado.",
    "Identificação: {N} - leito 12.",
    "{N}: PA 120x80 mmHg, FC 88 bpm.",
    "O senhor {N} recusa a internação.",
    "Ciente e de acordo, {N}.",
    "Requerente: {N} e outros.",
    "Relator o ministro {N}, julgado em sessão.",
    "Vistos os autos em que {N} pede o medicamento.",
)
WITHOUT: Final = (
    "Doença de Parkinson há 10 anos, em uso de Prolopa.",
    "Doença de Chagas e megacólon; retocolite versus Crohn.",
    "Síndrome de Guillain-Barré em investigação; sinal de Babinski presente.",
    "Encaminhado ao Hospital das Clínicas de São Paulo.",
    "Transferida do Hospital Santa Casa de Misericórdia.",
    "Escala de Glasgow 15, Sinal de Blumberg negativo.",
    "Prescrito Losartana 50 mg, Sinvastatina 20 mg e Dipirona.",
    "Manobra de Valsalva sem alterações; Murphy negativo.",
    "Exames: Hb 13,2 g/dL, Leucócitos 12.345/mm³, Plaquetas 250.000.",
    "Mora em Belo Horizonte, Minas Gerais, natural da Bahia.",
    "Realizada Tomografia de Crânio sem contraste.",
    "Tireoidite de Hashimoto em seguimento no Ambulatório de Endocrinologia.",
    "Curso de Medicina da Universidade Federal do Ceará.",
    "Secretaria Municipal de Saúde e Ministério da Saúde.",
    "Hipertensão Arterial Sistêmica e Diabetes Mellitus tipo 2.",
    "Conduta: Alta com orientações. Retorno em 30 dias.",
    "Paciente Refere Dor Torácica. Nega Dispneia. Evolui Bem.",
    "Tribunal de Justiça do Estado do Rio de Janeiro.",
)


@dataclass(frozen=True)
class Trained:
    """What training gave: the folder and the loss of each round."""

    folder: Path
    sentences: int
    losses: tuple[float, ...]


def sentence(
    chance: random.Random, people: People, name: Callable[[], str], plain: Sequence[str]
) -> tuple[str, list[tuple[int, int, str]]]:
    """Return a made-up sentence and where its names are."""
    if chance.random() < WITHOUT_SHARE:
        return _cased(chance.choice(chance.choice((WITHOUT, plain or WITHOUT))), chance), []
    text = ""
    spans = []
    rest = chance.choice(WITH_NAMES)
    upper, lower = chance.random() < 1 / 6, chance.random() < 1 / 6
    while "{" in rest:
        before, _, rest = rest.partition("{")
        slot, _, rest = rest.partition("}")
        value = name() if chance.random() < 1 / 2 else people.name()
        value = value.split()[0] if slot == "G" else value
        value = value.upper() if upper else value.lower() if lower else value
        text += before
        spans.append((len(text), len(text) + len(value), LABEL))
        text += value
    text += rest
    if upper:
        text = text.upper() if len(text.upper()) == len(text) else text
    if chance.random() < 1 / 5:
        text = _bare(text)
    return text, spans


def _cased(text: str, chance: random.Random) -> str:
    draw = chance.random()
    if draw < 1 / 6:
        return text.upper()
    if draw < 1 / 3:
        return text.title()
    return text.lower() if draw < 1 / 2 else text


def _bare(text: str) -> str:
    """Drop accents, keeping every position."""
    return "".join(unicodedata.normalize("NFD", c)[0] for c in text)


@dataclass(frozen=True)
class Plan:
    """How much to train; the defaults take about a minute on two cores.

    ``plain`` are sentences known to hold no name.
    """

    sentences: int = 4000
    rounds: int = 6
    seed: int = 1
    plain: tuple[str, ...] = ()


def train(
    folder: Path, name: Callable[[], str], plan: Plan, progress: Progress | None = None
) -> Trained:
    """Train as ``plan`` says and write the model as ``folder``, whole or not at all."""
    import spacy
    from spacy.training import Example
    from spacy.util import minibatch
    from thinc.api import fix_random_seed

    progress = progress or NoProgress()
    fix_random_seed(plan.seed)
    chance, people = random.Random(plan.seed), People(plan.seed)  # noqa: S311 - made-up data, no secret
    model = spacy.blank(LANGUAGE)
    model.add_pipe("ner").add_label(LABEL)  # type: ignore[attr-defined]  # the ner component has it
    examples = []
    for _ in range(plan.sentences):
        text, spans = sentence(chance, people, name, plan.plain)
        examples.append(Example.from_dict(model.make_doc(text), {"entities": spans}))
    model.initialize(lambda: examples[:200])
    losses: list[float] = []
    for done in range(1, plan.rounds + 1):
        chance.shuffle(examples)
        found: dict[str, float] = {}
        for batch in minibatch(examples, BATCH):  # type: ignore[no-untyped-call]  # the library has no type for it
            model.update(batch, drop=DROPOUT, losses=found)
        losses.append(round(float(found["ner"]), 2))
        progress.update(done, plan.rounds, f"loss {losses[-1]}")
    progress.close()
    with new_folder(folder) as temp:
        model.to_disk(temp / "model")
        _lift(temp)
    return Trained(folder, plan.sentences, tuple(losses))


def _lift(temp: Path) -> None:
    """Move what the library wrote in a folder of its own one level up."""
    inner = temp / "model"
    for part in list(inner.iterdir()):
        part.rename(temp / part.name)
    shutil.rmtree(inner)


def faker_names(seed: int) -> Callable[[], str]:
    """Return a source of Brazilian names from Faker, a development dependency."""
    from faker import Faker

    source: Any = Faker("pt_BR")
    source.seed_instance(seed)

    def draw() -> str:
        return f"{source.first_name()} {source.last_name()}"

    return draw
