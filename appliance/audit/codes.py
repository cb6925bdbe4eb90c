"""DICOM PS3.16 audit event codes for the dotted actions of the appliance.

The type is an Audit Event ID (CID 400), the subtypes are Audit Event Type Codes (CID 401), the
letter is the CRUDE action of DICOM PS3.15 A.5 (create, read, update, delete, execute).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Crude = Literal["C", "R", "U", "D", "E"]

APPLICATION_ACTIVITY = "110100"
AUDIT_LOG_USED = "110101"
EXPORT = "110106"
IMPORT = "110107"
PATIENT_RECORD = "110110"
QUERY = "110112"
SECURITY_ALERT = "110113"
USER_AUTHENTICATION = "110114"

START, STOP = "110120", "110121"
LOGIN, LOGOUT = "110122", "110123"
EMERGENCY_OVERRIDE = "110127"
NETWORK_CONFIGURATION = "110128"
SECURITY_CONFIGURATION = "110129"
HARDWARE_CONFIGURATION = "110130"
SOFTWARE_CONFIGURATION = "110131"
RESTRICTED_FUNCTION = "110132"
RECORDING_STOPPED, RECORDING_STARTED = "110133", "110134"
ROLES_CHANGED, USERS_CHANGED = "110136", "110137"


@dataclass(frozen=True)
class Codes:
    """What kind of event an action is, in the words of DICOM."""

    type: str
    subtype: tuple[str, ...]
    crude: Crude


_READ_LOG = Codes(AUDIT_LOG_USED, (), "R")
_REVIEW = Codes(AUDIT_LOG_USED, (), "U")
_ALERT = Codes(SECURITY_ALERT, (), "E")
_RUN = Codes(APPLICATION_ACTIVITY, (), "E")
_STARTED = Codes(APPLICATION_ACTIVITY, (START,), "E")
_STOPPED = Codes(APPLICATION_ACTIVITY, (STOP,), "E")
_LOGIN = Codes(USER_AUTHENTICATION, (LOGIN,), "E")
_LOGOUT = Codes(USER_AUTHENTICATION, (LOGOUT,), "E")
_IMPORT = Codes(IMPORT, (), "C")
_EXPORT = Codes(EXPORT, (), "R")
_PATIENT = Codes(PATIENT_RECORD, (), "R")
_SECURITY = Codes(SECURITY_ALERT, (SECURITY_CONFIGURATION,), "U")
_SOFTWARE = Codes(SECURITY_ALERT, (SOFTWARE_CONFIGURATION,), "U")
_HARDWARE = Codes(SECURITY_ALERT, (HARDWARE_CONFIGURATION,), "U")
_ACCOUNTS = Codes(SECURITY_ALERT, (USERS_CHANGED,), "U")

# Longest prefix wins; "" is the answer for what a site's own program appends: the application did
# something. Every action of the appliance itself falls under a name below (a test reads the code).
TABLE: dict[str, Codes] = {
    "": _RUN,
    "audit": _READ_LOG,
    "audit.started": Codes(AUDIT_LOG_USED, (RECORDING_STARTED,), "E"),
    "audit.stopped": Codes(AUDIT_LOG_USED, (RECORDING_STOPPED,), "E"),
    "audit.erase": Codes(AUDIT_LOG_USED, (), "D"),
    "audit.prune": Codes(AUDIT_LOG_USED, (), "D"),
    "audit.export": _EXPORT,
    "audit.clock_back": _ALERT,
    "audit.peer_refused": _ALERT,
    "audit.tail_removed": _ALERT,
    "audit.witness_trust": _SECURITY,
    "auth": Codes(USER_AUTHENTICATION, (), "E"),
    "auth.login": _LOGIN,
    "auth.logout": _LOGOUT,
    "backup": _RUN,
    "backup.create": _EXPORT,
    "backup.restore": Codes(IMPORT, (), "U"),
    "bundle": _SOFTWARE,
    "bundle.verify": _RUN,
    "console": _READ_LOG,
    "console.download": _EXPORT,
    "console.enrol": _ACCOUNTS,
    "console.error": _RUN,
    "console.export": _EXPORT,
    "console.forbidden": Codes(SECURITY_ALERT, (RESTRICTED_FUNCTION,), "E"),
    "console.login": _LOGIN,
    "console.logout": _LOGOUT,
    "console.review": _REVIEW,
    "console.sign_off": _REVIEW,
    "console.started": _STARTED,
    "console.stopped": _STOPPED,
    "console.user_change": _ACCOUNTS,
    "console.user_create": _ACCOUNTS,
    "console.witness_trust": _SECURITY,
    "data": _PATIENT,
    "data.import": _IMPORT,
    "data.export": _EXPORT,
    "data.delete": Codes(PATIENT_RECORD, (), "D"),
    "deid": _PATIENT,
    "doctor": _RUN,
    "doctor.support_bundle": _EXPORT,
    "emergency": Codes(SECURITY_ALERT, (EMERGENCY_OVERRIDE,), "R"),
    "gateway.chat": _PATIENT,
    "gateway.completion": _PATIENT,
    "gateway.started": _STARTED,
    "gateway.stopped": _STOPPED,
    "guard": _ALERT,
    "hardware": _HARDWARE,
    "host": _RUN,
    "host.audit_rules": _SECURITY,
    "host.certificate": _SECURITY,
    "host.collect_gap": _ALERT,
    "host.container_start": _STARTED,
    "host.container_stop": _STOPPED,
    "host.dns_sink_started": _STARTED,
    "host.firewall": Codes(SECURITY_ALERT, (NETWORK_CONFIGURATION,), "U"),
    "host.login": _LOGIN,
    "host.logout": _LOGOUT,
    "host.provision": _SECURITY,
    "host.provision_begins": _SECURITY,
    "host.role": _SECURITY,
    "host.sudo": Codes(SECURITY_ALERT, (SECURITY_CONFIGURATION,), "E"),
    "host.vm_create": _HARDWARE,
    "host.vm_destroy": _HARDWARE,
    "init": _SOFTWARE,
    "knowledge.add": _IMPORT,
    "knowledge.search": Codes(QUERY, (), "R"),
    "model": _RUN,
    "models": _RUN,
    "models.approve": _SOFTWARE,
    "models.import": _IMPORT,
    "models.promote": _SOFTWARE,
    "models.rollback": _SOFTWARE,
    "pipeline": _RUN,
    "roles": Codes(SECURITY_ALERT, (ROLES_CHANGED,), "U"),
    "train": _RUN,
    "users": _ACCOUNTS,
}


def codes_for(action: str) -> Codes:
    """Return the codes of ``action``: those of its longest listed dotted prefix."""
    parts = action.split(".")
    for length in range(len(parts), 0, -1):
        found = TABLE.get(".".join(parts[:length]))
        if found is not None:
            return found
    return TABLE[""]
