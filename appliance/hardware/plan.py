"""What fits a machine and how fast it will run. Pure: shapes and places in, answers out."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from appliance.hardware import formulas
from appliance.hardware.shape import Shape

GIB = 1 << 30
MIB = 1 << 20
# Memory a CUDA context and its libraries take on a card before the first buffer: users report 300
# to 600 MiB; the upper end.
CONTEXT_BYTES = 600 * MIB
# Main memory left to the system and the other services when there is no card.
SYSTEM_BYTES = 2 * GIB
BATCH = 512  # llama.cpp's physical batch
PIPELINE_COPIES = 4  # GGML_SCHED_MAX_COPIES: inputs are held this often when cards form a pipeline
WANTED_FIRST_S = 0.5
WANTED_TOKENS = 50
WANTED_TOTAL_S = 2.0
MOST_USERS = 256
# Below Q4_K_M answers get visibly worse (llama.cpp's perplexity tables); speed does not buy that.
_WORTH_IT = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")


@dataclass(frozen=True)
class Place:
    """Somewhere layers can lie: a card, or main memory. None: not known."""

    name: str
    memory_bytes: int
    bandwidth: float | None = None  # bytes a second
    flops: float | None = None  # bf16 operations a second
    decode_efficiency: float | None = None
    layer_seconds: float = 0.0
    prompt_efficiency: float | None = None
    is_card: bool = True

    @property
    def usable_bytes(self) -> int:
        """Memory left for the model."""
        return max(0, self.memory_bytes - (CONTEXT_BYTES if self.is_card else SYSTEM_BYTES))


@dataclass(frozen=True)
class Machine:
    """The places of a machine, in the order layers are laid, and where the speeds come from."""

    name: str
    places: tuple[Place, ...]
    basis: str  # published, assumed, measured, unknown

    def with_one_more(self) -> Machine | None:
        """Return the machine with one more card like its last; None without cards."""
        if not self.places or not self.places[-1].is_card:
            return None
        return replace(self, places=(*self.places, self.places[-1]))


@dataclass(frozen=True)
class Wish:
    """What is asked of the model."""

    context: int = 8192
    users: int = 1
    cache: str = "f16"
    prompt: int = 256


@dataclass(frozen=True)
class Share:
    """What one place holds."""

    name: str
    layers: int
    weights_bytes: int
    cache_bytes: int
    compute_bytes: int
    has_bytes: int

    @property
    def needs_bytes(self) -> int:
        """Bytes the place must have free."""
        return self.weights_bytes + self.cache_bytes + self.compute_bytes


@dataclass(frozen=True)
class Plan:
    """The answer for one model at one quantisation on one machine."""

    quantisation: str
    weights_bytes: int
    cache_bytes: int
    shares: list[Share]
    fits: bool
    speed: dict[str, float | None] = field(default_factory=dict)
    users_by_memory: int = 0
    users_by_speed: int | None = None
    context_max: int = 0

    @property
    def wanted(self) -> bool | None:
        """Whether the first token comes in 0.5 s and 50 in 2 s; None when not known."""
        first, fifty = self.speed.get("first_token_s"), self.speed.get("fifty_tokens_s")
        if first is None or fifty is None:
            return None
        return self.fits and first <= WANTED_FIRST_S and fifty <= WANTED_TOTAL_S

    @property
    def users(self) -> int | None:
        """Users at once who all get the wanted speed; None when not known."""
        if self.users_by_speed is None:
            return None
        return min(self.users_by_memory, self.users_by_speed)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "quantisation": self.quantisation,
            "fits": self.fits,
            "weights_bytes": self.weights_bytes,
            "cache_bytes": self.cache_bytes,
            "places": [
                {**share.__dict__, "needs_bytes": share.needs_bytes} for share in self.shares
            ],
            **{k: None if v is None else round(v, 3) for k, v in self.speed.items()},
            "wanted_speed": self.wanted,
            "users_by_memory": self.users_by_memory,
            "users_by_speed": self.users_by_speed,
            "users": self.users,
            "context_max": self.context_max,
        }


@dataclass(frozen=True)
class _Loaded:
    """A model at a quantisation, laid over the places of a machine.

    Layers go to places in proportion to free memory, in order, the output after the last:
    llama.cpp's default (llama-model.cpp, load_tensors).
    """

    shape: Shape
    weights: formulas.Weights
    machine: Machine
    layers: list[int]  # of each place
    bytes: list[int]  # weights of each place, as read for a token
    flops: float  # operations of one token

    @classmethod
    def on(cls, shape: Shape, quantisation: str, machine: Machine) -> _Loaded:
        weights = formulas.weights(shape, quantisation)
        usable = [p.usable_bytes for p in machine.places]
        total = sum(usable) or 1
        edges = [x / total for x in accumulate(usable)]
        last = len(usable) - 1
        layers, held = [0] * len(usable), [0] * len(usable)
        for i in range(shape.layers + 1):
            place = min(last, bisect.bisect_right(edges, i / (shape.layers + 1)))
            if i < shape.layers:
                layers[place] += 1
                held[place] += weights.layer[i]
            else:
                held[place] += weights.output
        return cls(shape, weights, machine, layers, held, formulas.prompt_flops(shape, 1))


def _shares(model: _Loaded, wish: Wish) -> list[Share]:
    shape, places = model.shape, model.machine.places
    cache = formulas.cache_bytes(shape, wish.context, wish.cache, wish.users)
    compute = formulas.compute_bytes(shape, wish.context, batch=BATCH, cache=wish.cache)
    if len(places) > 1:
        mask = 2 * wish.context * min(BATCH, wish.context)
        compute += (PIPELINE_COPIES - 1) * mask
    shares = []
    for place, layers, held in zip(places, model.layers, model.bytes, strict=True):
        size = held if place.is_card or shape.tied else held + model.weights.embedding
        part = -(-cache * layers // shape.layers)
        shares.append(Share(place.name, layers, size, part, compute, place.usable_bytes))
    return shares


def _fits(model: _Loaded, wish: Wish) -> bool:
    return all(s.needs_bytes <= s.has_bytes for s in _shares(model, wish))


def _largest(good: Callable[[int], bool], most: int) -> int:
    """Return the largest n up to ``most`` that is good (goodness never comes back), else 0."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if good(middle):
            low = middle
        else:
            high = middle - 1
    return low


def _step(model: _Loaded, wish: Wish, users: int) -> float | None:
    """Seconds for one token of each of ``users``: the places work one after the other.

    A place takes the longer of reading its weights and cache and of the arithmetic, and its cost
    a layer.
    """
    shape = model.shape
    tokens = wish.prompt + WANTED_TOKENS
    cache = formulas.cache_bytes_a_token(shape, wish.cache) * tokens * users
    read = model.weights.read(shape, users)
    whole = sum(model.bytes)
    seconds = 0.0
    for place, layers, held in zip(model.machine.places, model.layers, model.bytes, strict=True):
        if place.bandwidth is None or place.decode_efficiency is None:
            return None
        here = read * held / whole + cache * layers / shape.layers
        reading = formulas.step_seconds(here, place.bandwidth, place.decode_efficiency)
        counting = 0.0
        if place.flops is not None and place.prompt_efficiency is not None:
            rate = place.flops * place.prompt_efficiency
            counting = model.flops * users * held / whole / rate
        seconds += max(reading, counting) + layers * place.layer_seconds
    return seconds


def _roofline(model: _Loaded) -> float | None:
    """Tokens a second that bandwidth alone would allow one user with an empty cache."""
    read, whole = model.weights.read(model.shape), sum(model.bytes)
    seconds = 0.0
    for place, held in zip(model.machine.places, model.bytes, strict=True):
        if place.bandwidth is None:
            return None
        seconds += formulas.step_seconds(read * held / whole, place.bandwidth, 1.0)
    return 1 / seconds


def _first(model: _Loaded, wish: Wish) -> float | None:
    """Seconds to the first token: reading the prompt, but at least reading the weights once."""
    places = model.machine.places
    rates = [p.flops * p.prompt_efficiency for p in places if p.flops and p.prompt_efficiency]
    step = _step(model, wish, 1)
    if len(rates) < len(places) or step is None:
        return None
    chunks = -(-wish.prompt // BATCH)
    flops = formulas.prompt_flops(model.shape, wish.prompt)
    return max(step, formulas.prompt_seconds(flops, min(rates), len(rates), chunks))


def _speed(model: _Loaded, wish: Wish) -> dict[str, float | None]:
    one, many = _step(model, wish, 1), _step(model, wish, wish.users)
    first = _first(model, wish)
    fifty = None if first is None or many is None else first + (WANTED_TOKENS - 1) * many
    return {
        "tokens_s_roofline": _roofline(model),
        "tokens_s": 1 / one if one else None,
        "tokens_s_each": 1 / many if many else None,
        "first_token_s": first,
        "fifty_tokens_s": fifty,
    }


def _fast_enough(model: _Loaded, wish: Wish, users: int) -> bool:
    speed = _speed(model, replace(wish, users=users))
    first, fifty = speed["first_token_s"], speed["fifty_tokens_s"]
    if first is None or fifty is None:
        return False
    return first <= WANTED_FIRST_S and fifty <= WANTED_TOTAL_S


def make_plan(shape: Shape, quantisation: str, machine: Machine, wish: Wish) -> Plan:
    """Answer for one model at one quantisation."""
    model = _Loaded.on(shape, quantisation, machine)
    speed = _speed(model, wish)
    known = speed["first_token_s"] is not None and speed["tokens_s"] is not None
    by_speed = _largest(lambda n: _fast_enough(model, wish, n), MOST_USERS) if known else None
    steps = max(1, shape.context // 256)
    context = 256 * _largest(lambda n: _fits(model, replace(wish, context=n * 256)), steps)
    return Plan(
        quantisation=quantisation,
        weights_bytes=model.weights.total,
        cache_bytes=formulas.cache_bytes(shape, wish.context, wish.cache, wish.users),
        shares=_shares(model, wish),
        fits=_fits(model, wish) and wish.context <= shape.context,
        speed=speed,
        users_by_memory=_largest(lambda n: _fits(model, replace(wish, users=n)), MOST_USERS),
        users_by_speed=by_speed,
        context_max=min(context, shape.context),
    )


def best_quantisation(shape: Shape, machine: Machine, wish: Wish) -> str:
    """Return the finest quantisation that fits at the wanted speed, else the finest that fits.

    From Q8_0 down; Q4_K_M when none fits.
    """
    fitting = []
    for quantisation in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K"):
        model = _Loaded.on(shape, quantisation, machine)
        if not _fits(model, wish):
            continue
        fitting.append(quantisation)
        if quantisation in _WORTH_IT and _fast_enough(model, wish, wish.users):
            return quantisation
    return fitting[0] if fitting else "Q4_K_M"


def training(shape: Shape, machine: Machine) -> dict[str, Any]:
    """What QLoRA needs, on how many of the machine's cards (layers can be spread over cards)."""
    need = formulas.qlora_bytes(shape)
    cards = sorted((p.usable_bytes for p in machine.places if p.is_card), reverse=True)
    enough = next((n + 1 for n, x in enumerate(accumulate(cards)) if x >= need), None)
    return {"qlora_bytes": need, "fits": enough is not None, "cards": enough}
