"""Errors of the bundle part. Exit codes 75 to 94."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class BundleUntrustedError(ApplianceError):
    """The signatures on the medium do not lead to the trusted root."""

    id = "bundle-untrusted"
    exit_code = 75
    http_status = 422
    remedy = (
        "Do not use this medium. Compare the root fingerprint with the paper from the supplier "
        "and ask for a new medium."
    )


class BundleExpiredError(ApplianceError):
    """The bundle's signatures are past their date."""

    id = "bundle-expired"
    exit_code = 76
    http_status = 422
    remedy = "Check the date you attested; when it is right, ask the supplier for a newer bundle."


class BundleRollbackError(ApplianceError):
    """The bundle is older than what this machine has accepted."""

    id = "bundle-rollback"
    exit_code = 77
    http_status = 422
    remedy = (
        "Use the newest bundle, `appliance bundle rollback` for the version kept here, or a "
        "downgrade exception signed by the root keys (--exception)."
    )


class BundleDamagedError(ApplianceError):
    """Bytes on the medium are not the bytes that were signed."""

    id = "bundle-damaged"
    exit_code = 78
    http_status = 422
    remedy = (
        "Run `appliance bundle repair MEDIUM --from MEDIUM2`; only the named blocks are copied."
    )


class BundleForeignFileError(ApplianceError):
    """The medium holds something that no signature names."""

    id = "bundle-foreign-file"
    exit_code = 79
    http_status = 422
    remedy = "Find out who added it; remove it or use a fresh copy, then verify again."


class MediumUnreadableError(ApplianceError):
    """The medium cannot be read."""

    id = "medium-unreadable"
    exit_code = 80
    http_status = 422
    remedy = "Put the medium back and run the same command again; what was proven is kept."


class BundleFormatError(ApplianceError):
    """The bundle is signed but its content breaks the format's rules or limits."""

    id = "bundle-format"
    exit_code = 81
    http_status = 422
    remedy = "Do not install it; report it to whoever signed it."


class ArchiveRefusedError(ApplianceError):
    """An archive holds something that must not be unpacked."""

    id = "archive-refused"
    exit_code = 82
    http_status = 422
    remedy = "Do not unpack it by other means; report it to whoever signed it."


class BundleRecipeError(ApplianceError):
    """The bundle recipe cannot be used."""

    id = "bundle-recipe-invalid"
    exit_code = 83
    http_status = 422
    remedy = "Correct the named key in the recipe."


class CollectFailedError(ApplianceError):
    """Something the recipe asks for could not be collected."""

    id = "collect-failed"
    exit_code = 84
    http_status = 502
    remedy = "Check the network of the build machine and the named source, then build again."


class KeyUnusableError(ApplianceError):
    """A signing key cannot be used."""

    id = "key-unusable"
    exit_code = 85
    http_status = 422
    remedy = "Check the passphrase or PIN, the token and the role the key is meant for."


class PreflightFailedError(ApplianceError):
    """The machine is not ready for this bundle."""

    id = "preflight-failed"
    exit_code = 86
    http_status = 409
    remedy = "Do what each failed check says, then run the same command again."


class ActivationFailedError(ApplianceError):
    """The new version could not be made ready; the earlier one is still in use."""

    id = "activation-failed"
    exit_code = 87
    http_status = 500
    remedy = "Read the named log; nothing was switched and no data was touched."


class VersionUnhealthyError(ApplianceError):
    """The new version failed its health check and was rolled back."""

    id = "version-unhealthy"
    exit_code = 88
    http_status = 500
    remedy = "What was in use before is in use again. Read the named log and report it."


class NoEarlierVersionError(ApplianceError):
    """There is no version to go back to."""

    id = "no-earlier-version"
    exit_code = 89
    http_status = 409
    remedy = "`appliance bundle versions` lists what is kept; install from a medium instead."


class ClockUnbelievableError(ApplianceError):
    """The date cannot be right."""

    id = "clock-unbelievable"
    exit_code = 90
    http_status = 409
    remedy = "Set the machine's clock, then attest today's date with --date YYYY-MM-DD."


class BackupDamagedError(ApplianceError):
    """The backup is not what was written."""

    id = "backup-damaged"
    exit_code = 91
    http_status = 422
    remedy = "Use another copy of this backup or an earlier backup; nothing was restored."


class BackupLockedError(ApplianceError):
    """None of the given secrets opens the backup."""

    id = "backup-locked"
    exit_code = 92
    http_status = 403
    remedy = "Give the identity file or the passphrase that the backup was made for."


class RestoreRefusedError(ApplianceError):
    """The backup would be restored over something."""

    id = "restore-refused"
    exit_code = 93
    http_status = 409
    remedy = "Restore into a folder that does not exist or is empty."


class BackupSourceChangedError(ApplianceError):
    """A file changed while it was being backed up."""

    id = "backup-source-changed"
    exit_code = 94
    http_status = 409
    remedy = "Stop what writes to it, then run the same command again."
