"""The catalogue of models and cards: ``hardware/models.yaml`` and ``hardware/gpus.yaml``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.errors.hardware import CatalogueInvalidError, CatalogueModelUnknownError
from appliance.hardware.catalogue import catalogue_file
from appliance.hardware.profile import Text
from appliance.hardware.shape import Shape


class Entry(BaseModel):
    """A table of the catalogue: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Entry):
    """One model: shape, licence and languages."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    size_class: str
    shape: Shape
    licence: str
    languages: list[str]
    use: Literal["free", "ask", "forbidden"]
    warning: Text | None = None
    published_gb: dict[str, Annotated[float, Field(gt=0)]] = {}


class Efficiency(Entry):
    """Shares of a card's bandwidth and arithmetic that llama.cpp meets, and its cost a layer."""

    decode: Annotated[float, Field(gt=0, le=1)]
    layer_us: Annotated[float, Field(ge=0, le=10_000)]
    prompt: Annotated[float, Field(gt=0, le=1)]
    basis: Literal["published", "assumed"]


class Card(Entry):
    """One card: memory in GiB, bandwidth in GB/s, bf16 rate in TFLOP/s."""

    name: str
    pci_ids: list[Annotated[str, Field(pattern=r"^10de:[0-9a-f]{4}$")]]
    memory_gib: Annotated[float, Field(gt=0)]
    bandwidth_gb_s: Annotated[float, Field(gt=0)]
    bf16_tflops: Annotated[float, Field(gt=0)]
    efficiency: Efficiency


class _Models(Entry):
    schema_version: Literal[1] = Field(alias="schema")
    models: list[Model]


class _Cards(Entry):
    schema_version: Literal[1] = Field(alias="schema")
    gpus: list[Card]


def _checked(kind: type[BaseModel], name: str) -> Any:
    try:
        return kind.model_validate(catalogue_file(name))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(p) for p in first["loc"])
        raise CatalogueInvalidError(
            expected=f"known keys and values in range in {name}", found=f"{key}: {first['msg']}"
        ) from error


def all_models() -> list[Model]:
    """Return the catalogue of models."""
    models: list[Model] = _checked(_Models, "models.yaml").models
    return models


def all_cards() -> list[Card]:
    """Return the catalogue of cards."""
    cards: list[Card] = _checked(_Cards, "gpus.yaml").gpus
    return cards


def find_model(name: str) -> Model:
    """Return the model called ``name``, in any case; raise ``CatalogueModelUnknownError``."""
    models = all_models()
    for model in models:
        if model.name.lower() == name.lower():
            return model
    raise CatalogueModelUnknownError(expected="a model of the catalogue", found=name)
