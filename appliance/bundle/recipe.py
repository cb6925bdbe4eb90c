"""The recipe of a bundle: what to collect, for which machine, and what install runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError

from appliance.bundle.model import Compatibility, Lifecycle, Machine, Strict
from appliance.core.durable import os_errors
from appliance.core.errors import BundleRecipeError

SHIPPED = Path(__file__).parent / "recipes"


class AptSource(Strict):
    """A Debian or Ubuntu archive; ``keyring`` is a file on the build machine."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...] = ("main",)
    keyring: str


class Apt(Strict):
    """Packages to collect with their whole closure for the target release."""

    sources: tuple[AptSource, ...]
    packages: tuple[str, ...]
    recommends: bool = False


class Wheels(Strict):
    """Hash-locked requirement files. ``build`` names the sdists compiled for the target."""

    locks: tuple[str, ...]
    build: tuple[str, ...] = ()
    python: str = Field(pattern=r"^3\.\d+$")
    only: tuple[str, ...] = ()


class Image(Strict):
    """A container image as an OCI archive, made before by the image build.

    Without ``path`` it is ``NAME.oci.tar`` in the folder that ``--images`` names, and left out
    when none is named: a machine can be served without containers.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    path: str = ""
    version: str = ""


class Collection(Strict):
    """An Ansible collection taken from the installed ``ansible`` package."""

    name: str = Field(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+$")


class Model(Strict):
    """A model file or folder, with its licence: weights are optional in a bundle."""

    name: str
    path: str
    version: str = ""
    licence: str


class File(Strict):
    """Any other file: documents, playbooks, the OSV advisories file."""

    path: str
    into: str
    kind: Literal["document", "advisories", "file"] = "document"
    licence: str = "Apache-2.0"


class Recipe(Strict):
    """A recipe file. Paths in it are relative to the project, or to ``--input``."""

    name: str
    version: str
    machine: Machine
    compatibility: Compatibility = Compatibility()
    apt: Apt | None = None
    wheels: Wheels | None = None
    images: tuple[Image, ...] = ()
    collections: tuple[Collection, ...] = ()
    models: tuple[Model, ...] = ()
    files: tuple[File, ...] = ()
    agent: bool = True
    lifecycle: Lifecycle = Lifecycle()


def shipped() -> list[str]:
    """Return the names of the recipes that come with the agent."""
    return sorted(p.stem for p in SHIPPED.glob("*.yaml"))


def load_recipe(named: str) -> Recipe:
    """Read a recipe by its file or by the name of a shipped one; unknown keys are refused."""
    path = Path(named)
    if not path.is_file() and named in shipped():
        path = SHIPPED / f"{named}.yaml"
    with os_errors(path):
        text = path.read_text(encoding="utf-8")
    try:
        return Recipe.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise BundleRecipeError(expected=f"YAML in {path}", found=type(error).__name__) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise BundleRecipeError(
            expected=f"known keys in {path}",
            found=f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}",
        ) from error
