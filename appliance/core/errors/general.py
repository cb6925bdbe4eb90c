"""Errors any part can raise. Exit codes 3 to 19."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class SettingsInvalidError(ApplianceError):
    """The settings file cannot be used."""

    id = "settings-invalid"
    exit_code = 4
    http_status = 500
    remedy = "Correct the named key in appliance.toml; docs/reference/settings.md lists them all."


class HomeUnusableError(ApplianceError):
    """The appliance's state folder cannot be used."""

    id = "home-unusable"
    exit_code = 5
    http_status = 500
    remedy = "Point APPLIANCE_HOME (or --home) at a folder this user can write."


class DiskFullError(ApplianceError):
    """There is no space left for what must be written."""

    id = "disk-full"
    exit_code = 6
    http_status = 507
    remedy = "Free space on that file system, then run the same command again; nothing was lost."


class BusyError(ApplianceError):
    """Another run holds this resource."""

    id = "busy"
    exit_code = 7
    http_status = 409
    remedy = "Wait for the other run to end, or stop it, then run the same command again."


class StateDamagedError(ApplianceError):
    """A file of the appliance's state is not what was written."""

    id = "state-damaged"
    exit_code = 8
    http_status = 500
    remedy = "Restore the file from a backup; do not edit state by hand."


class ToolMissingError(ApplianceError):
    """A program or library this needs is not installed."""

    id = "tool-missing"
    exit_code = 9
    http_status = 500
    remedy = "Install what is named, then run the same command again."


class ToolFailedError(ApplianceError):
    """A program the appliance runs ended with an error."""

    id = "tool-failed"
    exit_code = 10
    http_status = 500
    remedy = "Read the named log file for the program's own words."


class InterruptedRunError(ApplianceError):
    """The run was interrupted."""

    id = "interrupted"
    exit_code = 11
    http_status = 503
    remedy = "Run the same command again: finished stages are not run twice."


class InputMissingError(ApplianceError):
    """An input file is missing or cannot be read."""

    id = "input-missing"
    exit_code = 12
    http_status = 404
    remedy = "Check the path and the permissions of the file."


class PipelineGraphError(ApplianceError):
    """The stages do not form a graph that can be run."""

    id = "pipeline-graph"
    exit_code = 14
    http_status = 500
    remedy = "Correct the stage's `needs`; this is a fault of the program, not of the data."
