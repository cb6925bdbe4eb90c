"""The recipe of an image: ``images/NAME/image.yaml``, checked before anything is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.durable import os_errors
from appliance.core.errors import BundleRecipeError

RECIPE = "image.yaml"
T = TypeVar("T", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Health(_Strict):
    """The check an engine runs inside the container."""

    command: list[str] = Field(min_length=1)
    interval_s: float = Field(10, gt=0)
    timeout_s: float = Field(5, gt=0)
    start_s: float = Field(60, ge=0)
    retries: int = Field(3, ge=1)


class Wheels(_Strict):
    """Wheels of one lock: the named ones and all they require."""

    lock: str
    roots: list[str] = Field(min_length=1)
    no_dependencies: list[str] = Field(
        default_factory=list, description="Names whose declared requirements are not followed."
    )
    prefer: dict[str, str] = Field(
        default_factory=dict,
        description="Local version tried first, by name (torch: cpu); the lock has its hash.",
    )
    not_needed: list[str] = Field(
        default_factory=list, description="Requirements left out: never imported in this image."
    )


class Image(_Strict):
    """One image."""

    title: str
    base: str | None = Field(None, description="The image below; none for the lowest.")
    packages: list[str] = Field(default_factory=list)
    only: list[str] = Field(
        default_factory=list,
        description="The packages of the closure whose files are taken; all when empty.",
    )
    drop: list[str] = Field(default_factory=list, description="Paths that stay out.")
    wheels: list[Wheels] = Field(default_factory=list)
    llama: Literal["no", "server", "server and wheel"] = "no"
    converters: bool = Field(
        default=False, description="llama.cpp's scripts that write GGUF, from the pinned source."
    )
    agent: bool = False
    files: dict[str, str] = Field(
        default_factory=dict, description="File in the recipe's folder to path in the image."
    )
    folders: dict[str, int] = Field(
        default_factory=dict, description="Folders the service owns, with their mode."
    )
    links: dict[str, str] = Field(default_factory=dict)
    user: int = Field(ge=1000, description="The numeric user; never root.")
    group: int = Field(10000, ge=1000)
    environment: dict[str, str] = Field(default_factory=dict)
    entrypoint: list[str] = Field(default_factory=list)
    command: list[str] = Field(default_factory=list)
    working_folder: str = "/"
    ports: list[int] = Field(default_factory=list)
    health: Health | None = None
    shell: bool = Field(default=False, description="Only where a program of the image needs one.")
    size_limit_mb: int | None = None
    accelerator: Literal["cpu", "cuda"] = "cpu"
    built_here: bool = Field(
        default=True, description="False: hours of compiling or gigabytes; with --everything only."
    )


class Defaults(_Strict):
    """``images/images.yaml``: what all images share."""

    suite: str
    mirrors: list[str]
    source_date_epoch: int = Field(ge=0)
    python: str
    labels: dict[str, str] = Field(default_factory=dict)


def load_defaults(folder: Path) -> Defaults:
    """Read ``images.yaml`` of ``folder``."""
    return _load(folder / "images.yaml", Defaults)


def load_image(folder: Path, name: str) -> Image:
    """Read the recipe of image ``name``."""
    path = folder / name / RECIPE
    if not name.replace("-", "").isalnum() or not path.is_file():
        known = ", ".join(names(folder))
        raise BundleRecipeError(expected=f"an image of {known}", found=f"{name!r}")
    return _load(path, Image)


def names(folder: Path) -> list[str]:
    """Return the names of all images, each after the one it stands on."""
    found = sorted(p.parent.name for p in folder.glob(f"*/{RECIPE}"))
    return sorted(found, key=lambda n: (len(chain(folder, n)), n))


def chain(folder: Path, name: str) -> list[str]:
    """Return the images from the lowest to ``name``."""
    above: list[str] = [name]
    while (base := load_image(folder, above[0]).base) is not None:
        if base in above:
            raise BundleRecipeError(expected="images that stand on others", found="a circle")
        above.insert(0, base)
    return above


def _load(path: Path, model: type[T]) -> T:
    with os_errors(path):
        text = path.read_text(encoding="utf-8")
    try:
        return model.model_validate(yaml.safe_load(text))
    except (ValidationError, yaml.YAMLError) as error:
        problems = error.errors() if isinstance(error, ValidationError) else []
        where = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problems[:5])
        raise BundleRecipeError(
            expected=f"a recipe in the form of {model.__name__} at {path.parent.name}/{path.name}",
            found=where or "text that is not YAML",
        ) from error
