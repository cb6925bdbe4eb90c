"""Errors of the hardware part. Exit codes 110 to 119."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class ProfileInvalidError(ApplianceError):
    """The hardware profile cannot be used."""

    id = "hardware-profile-invalid"
    exit_code = 110
    http_status = 422
    remedy = "Correct the named key of the profile; docs/it/hardware.md lists the keys."


class RecordingInvalidError(ApplianceError):
    """The hardware recording cannot be used."""

    id = "hardware-recording-invalid"
    exit_code = 111
    http_status = 422
    remedy = "Record the machine again: appliance hardware check --record FOLDER."


class CatalogueInvalidError(ApplianceError):
    """The catalogue of models and cards cannot be used."""

    id = "hardware-catalogue-invalid"
    exit_code = 112
    http_status = 500
    remedy = "Install the appliance again; a catalogue of your own is checked like a profile."


class ModelShapeError(ApplianceError):
    """The shape of the model cannot be read."""

    id = "hardware-model-shape"
    exit_code = 113
    http_status = 422
    remedy = "Name a GGUF file or a Hugging Face folder of a decoder model; copy it again if cut."


class CatalogueModelUnknownError(ApplianceError):
    """The catalogue does not hold this model."""

    id = "hardware-model-unknown"
    exit_code = 114
    http_status = 404
    remedy = "Run: appliance hardware plan --list, or name a GGUF file or a Hugging Face folder."


class BenchDamagedError(ApplianceError):
    """A saved measurement is not what was signed."""

    id = "hardware-bench-damaged"
    exit_code = 115
    http_status = 500
    remedy = "Move the named file away and run: appliance hardware bench."


class WatchFailedError(ApplianceError):
    """The hardware watch cannot run."""

    id = "hardware-watch"
    exit_code = 116
    http_status = 500
    remedy = "Choose a free port with hardware.watch_port in appliance.toml."
