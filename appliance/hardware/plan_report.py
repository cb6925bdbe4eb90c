"""`hardware plan`: which models, on which machine, and the answer for people and programs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from appliance.hardware import formulas
from appliance.hardware.models import Model, all_models, find_model
from appliance.hardware.plan import Machine, Plan, Wish, best_quantisation, make_plan, training
from appliance.hardware.shape import Shape
from appliance.hardware.shape_files import read_model
from appliance.hardware.table import table
from appliance.hardware.texts import Words

GB = 10**9


@dataclass(frozen=True)
class Candidate:
    """A model to plan for: of the catalogue, or read from a file."""

    name: str
    shape: Shape
    model: Model | None = None
    file_bytes: int | None = None


def candidates(names: tuple[str, ...], max_header_bytes: int) -> list[Candidate]:
    """Find each named model: a path when one is there, else a name of the catalogue."""
    if not names:
        return [Candidate(m.name, m.shape, m) for m in all_models()]
    found = []
    for name in names:
        path = Path(name)
        if path.exists():
            read = read_model(path, max_header_bytes)
            found.append(Candidate(read.name, read.shape, None, read.tensor_bytes))
        else:
            model = find_model(name)
            found.append(Candidate(model.name, model.shape, model))
    return found


def plan_row(
    candidate: Candidate, machine: Machine, wish: Wish, quantisation: str | None, say: Words
) -> dict[str, Any]:
    """Answer for one candidate: the plan, its licence, one more card, training."""
    shape = candidate.shape
    chosen = quantisation or best_quantisation(shape, machine, wish)
    plan = make_plan(shape, chosen, machine, wish)
    row: dict[str, Any] = {
        "model": candidate.name,
        "parameters": formulas.parameters(shape),
        **plan.to_dict(),
        "cache_bytes_a_token": formulas.cache_bytes_a_token(shape, wish.cache),
        "training": training(shape, machine),
        "file_tensor_bytes": candidate.file_bytes,
        "licence": None,
        "use": None,
        "languages": [],
        "warnings": _warnings(candidate, plan, wish, say),
    }
    if candidate.model is not None:
        row["licence"] = candidate.model.licence
        row["use"] = candidate.model.use
        row["languages"] = candidate.model.languages
    row["one_more_card"] = _one_more(candidate, machine, wish, quantisation)
    return row


def _one_more(
    candidate: Candidate, machine: Machine, wish: Wish, quantisation: str | None
) -> dict[str, Any] | None:
    bigger = machine.with_one_more()
    if bigger is None:
        return None
    chosen = quantisation or best_quantisation(candidate.shape, bigger, wish)
    plan = make_plan(candidate.shape, chosen, bigger, wish)
    return {
        "quantisation": chosen,
        "fits": plan.fits,
        "tokens_s": plan.to_dict()["tokens_s"],
        "users": plan.users,
        "users_by_memory": plan.users_by_memory,
        "context_max": plan.context_max,
        "training_fits": training(candidate.shape, bigger)["fits"],
    }


def _warnings(candidate: Candidate, plan: Plan, wish: Wish, say: Words) -> list[str]:
    found = []
    model = candidate.model
    if model is not None and model.warning is not None:
        text = model.warning.pt if say("yes") == "sim" else model.warning.en
        found.append(f"{model.licence}: {text}")
    if model is not None and "pt" not in model.languages:
        found.append(say("plan.no_portuguese"))
    if model is None:
        found.append(say("plan.licence_unknown"))
    if wish.context > candidate.shape.context:
        found.append(say("plan.context_short", most=candidate.shape.context))
    if plan.speed.get("tokens_s") is None:
        found.append(say("plan.speed_unknown"))
    return found


def report(
    models: list[Candidate], machine: Machine, wish: Wish, quantisation: str | None, say: Words
) -> dict[str, Any]:
    """Return the whole answer of `hardware plan`."""
    rows = [plan_row(candidate, machine, wish, quantisation, say) for candidate in models]
    return {
        "ok": any(r["fits"] for r in rows),
        "machine": {
            "name": machine.name,
            "speed_basis": machine.basis,
            "places": [{"name": p.name, "memory_bytes": p.memory_bytes} for p in machine.places],
        },
        "wish": wish.__dict__ | {"quantisation": quantisation},
        "models": rows,
    }


def _number(value: float | None, pattern: str) -> str:
    return "?" if value is None else format(value, pattern)


def plan_table(answer: dict[str, Any], say: Words) -> str:
    """Return the answer for people: one line a model, then what to know of each."""
    keys = ("model", "type", "fits", "weights", "needs", "speed", "first", "fifty", "users",
            "context", "train")  # fmt: skip
    head = [say(f"plan.{k}") for k in keys]
    rows = [_row(r, say) for r in answer["models"]]
    wish = answer["wish"]
    lines = [
        say("plan.intro", machine=answer["machine"]["name"], basis=say(
            f"basis.{answer['machine']['speed_basis']}"), context=wish["context"],
            users=wish["users"], cache=wish["cache"], prompt=wish["prompt"]),
        "",
        table(head, rows, (25, 7, 6, 9, 9, 11, 9, 9, 7, 9, 12)),
    ]  # fmt: skip
    for row in answer["models"]:
        lines += [f"  {row['model']}: {w}" for w in row["warnings"]]
        lines += _more_card(row, say)
    return "\n".join(lines)


def _row(row: dict[str, Any], say: Words) -> list[str]:
    train = row["training"]
    cards = f" ({train['cards']}x)" if train["cards"] else ""
    return [
        row["model"],
        row["quantisation"],
        say("yes") if row["fits"] else say("no"),
        f"{row['weights_bytes'] / GB:.1f} GB",
        f"{sum(p['needs_bytes'] for p in row['places']) / GB:.1f} GB",
        f"{_number(row['tokens_s'], '.0f')} / {_number(row['tokens_s_roofline'], '.0f')}",
        f"{_number(row['first_token_s'], '.2f')} s",
        f"{_number(row['fifty_tokens_s'], '.1f')} s" + (" *" if row["wanted_speed"] else ""),
        _number(row["users"], "d"),
        f"{row['context_max']}",
        f"{train['qlora_bytes'] / GB:.0f} GB" + (cards if train["fits"] else " -"),
    ]


def _more_card(row: dict[str, Any], say: Words) -> list[str]:
    more = row.get("one_more_card")
    if not more:
        return []
    return [
        "  "
        + say(
            "plan.one_more",
            model=row["model"],
            fits=say("yes") if more["fits"] else say("no"),
            quantisation=more["quantisation"],
            speed=_number(more["tokens_s"], ".0f"),
            users=_number(more["users"], "d"),
            context=more["context_max"],
        )
    ]


def wish_for(context: int, users: int, cache: str, prompt: int) -> Wish:
    """Return the wish, with the prompt inside the context."""
    wish = Wish(context=context, users=users, cache=cache)
    return replace(wish, prompt=min(prompt, context))


def catalogue_list(say: Words) -> tuple[dict[str, Any], str]:
    """Return the models of the catalogue, for programs and for people."""
    models = all_models()
    head = [say("plan.model"), say("plan.class"), say("plan.licence"), say("plan.languages")]
    rows = [[m.name, m.size_class, m.licence, " ".join(m.languages)] for m in models]
    found = {"models": [m.model_dump(exclude={"warning", "published_gb"}) for m in models]}
    return found, table(head, rows, (38, 8, 42, 42))
