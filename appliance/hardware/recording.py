"""A recording: the raw readings of a machine in a folder, to be judged elsewhere.

``recording.json`` says how each probe ended; the text of probe ``p`` is in ``p.txt``.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.durable import new_folder, os_errors
from appliance.core.errors.hardware import RecordingInvalidError
from appliance.hardware.readings import FixedProbes, Reading, Status
from appliance.hardware.redact import redact

INDEX = "recording.json"


class ProbeEntry(BaseModel):
    """How one probe ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status
    reason: Annotated[str, Field(max_length=200)] = ""


class Index(BaseModel):
    """The schema of ``recording.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    origin: Literal["real", "written"]
    note: Annotated[str, Field(max_length=2000)] = ""
    answers: dict[str, float] = {}
    probes: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")], ProbeEntry]


@dataclass(frozen=True)
class Recording:
    """Readings, the installer's answers, and where they come from."""

    probes: FixedProbes
    answers: dict[str, float] = field(default_factory=dict)
    real: bool = False
    note: str = ""


def save_recording(folder: Path, recording: Recording) -> None:
    """Write a recording, redacted; the folder must not hold anything yet."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecordingInvalidError(
            expected="a new or empty folder to record into",
            found=f"{folder} holds something",
            remedy="Name another folder.",
        )
    hosts = _host_names()
    index = Index(
        format=1,
        origin="real" if recording.real else "written",
        note=recording.note,
        answers=recording.answers,
        probes={
            name: ProbeEntry(status=r.status, reason=redact(r.reason, hosts))
            for name, r in recording.probes.readings.items()
        },
    )
    with new_folder(folder) as target:
        for name, reading in recording.probes.readings.items():
            if reading.ok:
                (target / f"{name}.txt").write_text(redact(reading.text, hosts), encoding="utf-8")
        (target / INDEX).write_text(index.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _host_names() -> tuple[str, ...]:
    full = socket.gethostname()
    return tuple({full, full.split(".")[0]})


def load_recording(folder: Path, max_bytes: int) -> Recording:
    """Read a recording; a missing text is a reading not recorded, a bad index an error."""
    path = folder / INDEX
    try:
        index = Index.model_validate_json(_read(path, max_bytes))
    except FileNotFoundError as error:
        raise RecordingInvalidError(
            expected=f"{INDEX} in {folder}", found="no such file"
        ) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(p) for p in first["loc"]) or "the whole file"
        raise RecordingInvalidError(
            expected=f"a recording of format 1 at {path}", found=f"{key}: {first['msg']}"
        ) from error
    readings = {
        name: _reading(folder, name, entry, max_bytes) for name, entry in index.probes.items()
    }
    return Recording(FixedProbes(readings), index.answers, index.origin == "real", index.note)


def _reading(folder: Path, name: str, entry: ProbeEntry, max_bytes: int) -> Reading:
    if entry.status is not Status.OK:
        return Reading(entry.status, reason=entry.reason)
    try:
        return Reading(Status.OK, _read(folder / f"{name}.txt", max_bytes))
    except FileNotFoundError:
        return Reading(Status.NOT_RECORDED, reason="its file is missing from the recording")


def _read(path: Path, max_bytes: int) -> str:
    if not path.is_file():
        raise FileNotFoundError(path)
    with os_errors(path), path.open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise RecordingInvalidError(
            expected=f"at most {max_bytes} bytes in {path}", found="a larger file"
        )
    return data.decode("utf-8", "replace")
