"""From an inventory, a profile or a wish list of cards to the places a plan lays layers in."""

from __future__ import annotations

import re
from dataclasses import replace

from appliance.core.errors.hardware import ProfileInvalidError
from appliance.hardware.inventory import Inventory
from appliance.hardware.models import Card, all_cards
from appliance.hardware.plan import GIB, Machine, Place
from appliance.hardware.profile import Profile

MOST_CARDS = 16


def place_of(card: Card, memory_bytes: int | None = None) -> Place:
    """Return the place a card of the catalogue makes."""
    return Place(
        name=card.name,
        memory_bytes=memory_bytes or round(card.memory_gib * GIB),
        bandwidth=card.bandwidth_gb_s * 1e9,
        flops=card.bf16_tflops * 1e12,
        decode_efficiency=card.efficiency.decode,
        layer_seconds=card.efficiency.layer_us / 1e6,
        prompt_efficiency=card.efficiency.prompt,
    )


def from_cards(text: str) -> Machine:
    """Read ``2x NVIDIA GeForce RTX 5090`` (or just ``2x RTX 5090``)."""
    match = re.fullmatch(r"(?:(\d{1,2})\s*x\s+)?(.+)", text.strip())
    wanted = match.group(2).strip().lower() if match else ""
    count = int(match.group(1) or 1) if match else 0
    found = [c for c in all_cards() if wanted in {c.name.lower(), _short(c.name)}]
    if not found or not 1 <= count <= MOST_CARDS:
        raise ProfileInvalidError(
            expected=f"1 to {MOST_CARDS} of: " + ", ".join(_short(c.name) for c in all_cards()),
            found=text,
            remedy="Write the cards like: 2x RTX 5090.",
        )
    return Machine(text.strip(), (place_of(found[0]),) * count, found[0].efficiency.basis)


def _short(name: str) -> str:
    return name.lower().removeprefix("nvidia ").removeprefix("geforce ")


def from_profile(profile: Profile) -> Machine:
    """Return the machine a profile asks for: its first card so often, else its memory."""
    if profile.gpu is None:
        return Machine(profile.name, (_memory("RAM", round(profile.memory.gib_min * GIB)),),
                       "unknown")  # fmt: skip
    machine = from_cards(f"{profile.gpu.count}x {profile.gpu.models[0]}")
    return replace(machine, name=profile.name)


def _memory(name: str, total: int) -> Place:
    return Place(name=name, memory_bytes=total, is_card=False)


def from_inventory(inventory: Inventory) -> Machine | None:
    """Return the machine as found: its cards, else its main memory; None when neither is known."""
    known = {c.name: c for c in all_cards()}
    places = []
    basis = "published"
    for gpu in inventory.gpus or []:
        card = known.get(gpu.name or "")
        if card is not None:
            places.append(place_of(card, gpu.vram_bytes))
            basis = card.efficiency.basis
        elif gpu.vram_bytes is not None:
            places.append(Place(name=gpu.name or gpu.bus_id, memory_bytes=gpu.vram_bytes))
            basis = "unknown"
    if places:
        return Machine(", ".join(p.name for p in places), tuple(places), basis)
    total = inventory.memory.total_bytes
    if total is None:
        return None
    return Machine(inventory.cpu.model or "CPU", (_memory("RAM", total),), "unknown")


def measured(
    machine: Machine, *, bandwidth: float | None, decode: float | None, prompt_flops: float | None
) -> Machine:
    """Return the machine with what `hardware bench` measured in place of what was assumed.

    ``bandwidth`` counts for main memory only (a card's is its data sheet's), ``decode`` is the
    share of it met (the cost a layer is in it), ``prompt_flops`` the operations a second met when
    reading a prompt.
    """
    places = []
    for place in machine.places:
        width = place.bandwidth if place.is_card else bandwidth or place.bandwidth
        rate = place.flops if place.is_card and place.flops else prompt_flops
        met = prompt_flops / rate if prompt_flops and rate else place.prompt_efficiency
        places.append(
            replace(
                place,
                bandwidth=width,
                flops=rate,
                decode_efficiency=decode or place.decode_efficiency,
                layer_seconds=0.0 if decode else place.layer_seconds,
                prompt_efficiency=met,
            )
        )
    return replace(machine, places=tuple(places), basis="measured")
