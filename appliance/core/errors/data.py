"""Errors of the data part. Exit codes 35 to 49."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class InputEmptyError(ApplianceError):
    """An input file holds nothing."""

    id = "input-empty"
    exit_code = 35
    http_status = 422
    remedy = "Export the file again; an empty file usually means that the export was stopped."


class InputCutError(ApplianceError):
    """A JSON file ends in the middle: it was cut while being written or copied."""

    id = "input-cut"
    exit_code = 36
    http_status = 422
    remedy = "Copy or export the file again and compare its size; nothing of it was imported."


class InputEncodingError(ApplianceError):
    """An input file is not in a text encoding that can be read."""

    id = "input-encoding"
    exit_code = 37
    http_status = 422
    remedy = "Save the file as UTF-8, or name its encoding with --encoding (for example latin-1)."


class InputHeaderError(ApplianceError):
    """A table's header does not name the columns that are needed."""

    id = "input-header"
    exit_code = 38
    http_status = 422
    remedy = "Rename the columns; docs/data/formats.md lists the names that are understood."


class InputTooLongError(ApplianceError):
    """A single line or document is longer than this machine may read at once."""

    id = "input-too-long"
    exit_code = 39
    http_status = 413
    remedy = "Write one record a line (JSONL), or raise the named limit in appliance.toml."


class FormatUnknownError(ApplianceError):
    """The format of an input file could not be told."""

    id = "format-unknown"
    exit_code = 40
    http_status = 422
    remedy = "Name the format with --format; docs/data/formats.md shows one example of each."


class InputInvalidError(ApplianceError):
    """An input file is not what its format asks for."""

    id = "input-invalid"
    exit_code = 41
    http_status = 422
    remedy = "Correct the file at the named place, or export it again."


class NothingImportedError(ApplianceError):
    """Every record was refused, so there is nothing to import."""

    id = "nothing-imported"
    exit_code = 42
    http_status = 422
    remedy = "Read the reasons above, correct the file and import it again."


class DatasetMissingError(ApplianceError):
    """There is no dataset version with this hash."""

    id = "dataset-missing"
    exit_code = 43
    http_status = 404
    remedy = "Run `appliance data list` to see the versions that are here."


class DatasetDamagedError(ApplianceError):
    """A dataset version is not what its hash says."""

    id = "dataset-damaged"
    exit_code = 44
    http_status = 500
    remedy = "Remove the folder and import the source again, or restore it from a backup."


class PseudonymKeyError(ApplianceError):
    """The key of the pseudonyms cannot be used."""

    id = "pseudonym-key"
    exit_code = 45
    http_status = 500
    remedy = (
        "Restore the key from its vault and set its mode to 0600; a new key changes every name."
    )


class SplitImpossibleError(ApplianceError):
    """The records cannot be divided as asked."""

    id = "split-impossible"
    exit_code = 46
    http_status = 422
    remedy = "Import more records, or ask for smaller validation and test shares."


class IdentifierSearchError(ApplianceError):
    """The search for identifiers could not be finished, so nothing of it is used."""

    id = "identifier-search"
    exit_code = 47
    http_status = 500
    remedy = "Split the named record into smaller ones and run the same command again."
