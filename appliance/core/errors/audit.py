"""Errors of the audit part. Exit codes 20 to 34."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class AuditUnavailableError(ApplianceError):
    """The audit log cannot record now, so the action was not done."""

    id = "audit-unavailable"
    exit_code = 20
    http_status = 503
    remedy = "Start the audit writer and look at its log in the run folder, then try again."


class AuditEntryRefusedError(ApplianceError):
    """The audit log refused this entry."""

    id = "audit-entry-refused"
    exit_code = 21
    http_status = 400
    remedy = "Log numbers, hashes and pseudonyms; never clinical text or identifiers."


class AuditPeerRefusedError(ApplianceError):
    """This process may not write to the audit log."""

    id = "audit-peer-refused"
    exit_code = 22
    http_status = 403
    remedy = "Run as a user named in audit.allowed_uids, or add the user there."


class AuditLogDamagedError(ApplianceError):
    """The audit log is not what the writer left."""

    id = "audit-log-damaged"
    exit_code = 23
    http_status = 500
    remedy = "Keep the folder as it is, run `appliance audit verify` and call the officer."


class AuditKeyError(ApplianceError):
    """The key that signs the audit log cannot be used."""

    id = "audit-key"
    exit_code = 24
    http_status = 500
    remedy = "Check audit.key in appliance.toml and the token or file it names."


class AuditSelfTestError(ApplianceError):
    """The cryptography of this machine gave a wrong answer."""

    id = "audit-self-test"
    exit_code = 25
    http_status = 500
    remedy = (
        "Do not use this machine for the log; reinstall the cryptography package or replace it."
    )


class AuditFullError(AuditUnavailableError):
    """The disk of the audit log is full, so the action was not done."""

    id = "audit-full"
    exit_code = 26
    http_status = 507
    remedy = "Free space on the file system of the audit folder, then try again."


class AuditNoteInvalidError(ApplianceError):
    """A signed note, checkpoint or key string cannot be accepted."""

    id = "audit-note-invalid"
    exit_code = 28
    http_status = 422
    remedy = "Fetch the file again from its source; if it stays so, treat it as tampered with."


class AuditProofInvalidError(ApplianceError):
    """A proof file is not in the form of C2SP tlog-proof."""

    id = "audit-proof-invalid"
    exit_code = 29
    http_status = 422
    remedy = "Make the proof again with `appliance audit prove`."


class AuditEntryUnavailableError(ApplianceError):
    """An entry or tile of the audit log is not there to be read."""

    id = "audit-entry-unavailable"
    exit_code = 30
    http_status = 404
    remedy = "Check the index, and with `appliance audit retention status` whether it was pruned."


class AuditWitnessRefusedError(ApplianceError):
    """A witness's answer cannot be accepted for this log."""

    id = "audit-witness-refused"
    exit_code = 31
    http_status = 409
    remedy = "Do not write to the log; compare it with the checkpoint the officer's device keeps."


class AuditEvidenceError(ApplianceError):
    """The evidence asked for cannot be put together."""

    id = "audit-evidence-impossible"
    exit_code = 32
    http_status = 422
    remedy = "Ask for another range, and run `appliance audit verify` to see what the log holds."


class AuditExportError(ApplianceError):
    """Audit events could not be handed to the other system."""

    id = "audit-export-failed"
    exit_code = 33
    http_status = 502
    remedy = "Check the receiver's address and certificate, then export again from the same index."


class AuditSubjectErasedError(ApplianceError):
    """The key of this subject's details was destroyed on request."""

    id = "audit-subject-erased"
    exit_code = 34
    http_status = 410
    remedy = "Nothing can bring the details back; the entries and their proofs still stand."
