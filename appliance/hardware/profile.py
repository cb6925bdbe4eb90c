"""What a machine must have: the schema of ``hardware/profiles/*.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.errors.hardware import ProfileInvalidError
from appliance.hardware.catalogue import profile_path, read_yaml

Version = Annotated[str, Field(pattern=r"^\d+(\.\d+)*$", max_length=32)]
Name = Annotated[str, Field(min_length=1, max_length=80)]


class Rule(BaseModel):
    """A table of a profile: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Rule):
    """A text in both languages."""

    en: Annotated[str, Field(min_length=1, max_length=400)]
    pt: Annotated[str, Field(min_length=1, max_length=400)]


class GpuRule(Rule):
    """The cards. Sizes in GiB, power in watts, temperature in degrees Celsius."""

    count: Annotated[int, Field(ge=1, le=16)]
    models: Annotated[list[Name], Field(min_length=1, max_length=20)]
    memory_gib_min: Annotated[float, Field(gt=0, le=1024)]
    driver_min: Version
    cuda_min: Version
    open_module: bool = False
    pcie_generation_min: Annotated[int, Field(ge=1, le=7)] | None = None
    pcie_width_min: Literal[1, 2, 4, 8, 16] | None = None
    resizable_bar: bool = False
    power_limit_w_min: Annotated[int, Field(gt=0, le=2000)] | None = None
    temperature_c_max: Annotated[int, Field(gt=0, le=120)] | None = None
    ecc: bool = False


class CpuRule(Rule):
    """The processor."""

    cores_min: Annotated[int, Field(ge=1, le=1024)]
    flags: list[Name] = []
    governor: bool = False


class MemoryRule(Rule):
    """Main memory in GiB as the kernel counts it (a little below what is sold)."""

    gib_min: Annotated[float, Field(gt=0, le=16384)]
    gib_recommended: Annotated[float, Field(gt=0, le=16384)] | None = None


class DiskRule(Rule):
    """Disks in GB of 10^9 bytes, as they are sold."""

    system_gb_min: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    system_nvme: bool = False
    data_gb_min: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    free_gb_min: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    health: bool = False
    encryption: bool = False


class OsRule(Rule):
    """One operating system that will do."""

    id: Name
    version: Name


class PlatformRule(Rule):
    """Firmware, system, engine and clock."""

    systems: list[OsRule] = []
    kernel_min: Version | None = None
    uefi: bool = False
    secure_boot: bool = False
    tpm: Literal["2"] | None = None
    refuse_virtualisation: list[Name] = []
    docker: bool = False
    nvidia_runtime: bool = False
    time_synchronised: bool = False


class Question(Rule):
    """What no program can read: a number the installer looks up."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]
    minimum: Annotated[float, Field(gt=0, le=1e9)]
    unit: Name
    ask: Text


class Profile(Rule):
    """What a machine must have. ``advised`` names checks that warn instead of fail."""

    schema_version: Literal[1] = Field(alias="schema")
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
    title: Text
    gpu: GpuRule | None = None
    cpu: CpuRule
    memory: MemoryRule
    disks: DiskRule = DiskRule()
    platform: PlatformRule = PlatformRule()
    questions: Annotated[list[Question], Field(max_length=20)] = []
    advised: list[Name] = []


def load_profile(name: str) -> Profile:
    """Return the shipped profile ``name`` or the one in the file ``name``."""
    return read_profile(profile_path(name))


def read_profile(path: Path) -> Profile:
    """Read and validate one profile; raise ``ProfileInvalidError`` naming the key."""
    from appliance.hardware.judge import CHECK_NAMES

    try:
        profile = Profile.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ProfileInvalidError(
            expected=f"known keys and values in range in {path}", found=f"{key}: {first['msg']}"
        ) from error
    wrong = sorted(set(profile.advised) - set(CHECK_NAMES))
    if wrong:
        raise ProfileInvalidError(
            expected=f"names of checks under advised in {path}", found=", ".join(wrong)
        )
    return profile
