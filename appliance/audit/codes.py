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
SOFTWARE_CONFIGURATION = "110131"
RECORDING_STOPPED, RECORDING_STARTED = "110133", "110134"
ROLES_CHANGED, USERS_CHANGED = "110136", "110137"


@dataclass(frozen=True)
class Codes:
    """What kind of event an action is, in the words of DICOM."""

    type: str
    subtype: tuple[str, ...]
    crude: Crude


# Longest prefix wins; "" is the answer for everything else: the application did something.
TABLE: dict[str, Codes] = {
    "": Codes(APPLICATION_ACTIVITY, (), "E"),
    "audit": Codes(AUDIT_LOG_USED, (), "R"),
    "audit.started": Codes(AUDIT_LOG_USED, (RECORDING_STARTED,), "E"),
    "audit.stopped": Codes(AUDIT_LOG_USED, (RECORDING_STOPPED,), "E"),
    "audit.erase": Codes(AUDIT_LOG_USED, (), "D"),
    "audit.export": Codes(EXPORT, (), "R"),
    "audit.clock_back": Codes(SECURITY_ALERT, (), "E"),
    "audit.tail_removed": Codes(SECURITY_ALERT, (), "E"),
    "auth": Codes(USER_AUTHENTICATION, (), "E"),
    "auth.login": Codes(USER_AUTHENTICATION, (LOGIN,), "E"),
    "auth.logout": Codes(USER_AUTHENTICATION, (LOGOUT,), "E"),
    "backup.create": Codes(EXPORT, (), "R"),
    "backup.restore": Codes(IMPORT, (), "U"),
    "bundle.install": Codes(SECURITY_ALERT, (SOFTWARE_CONFIGURATION,), "U"),
    "console.login": Codes(USER_AUTHENTICATION, (LOGIN,), "E"),
    "console.logout": Codes(USER_AUTHENTICATION, (LOGOUT,), "E"),
    "console.review": Codes(AUDIT_LOG_USED, (), "U"),
    "console.view": Codes(AUDIT_LOG_USED, (), "R"),
    "data.import": Codes(IMPORT, (), "C"),
    "data.export": Codes(EXPORT, (), "R"),
    "data.delete": Codes(PATIENT_RECORD, (), "D"),
    "deid": Codes(PATIENT_RECORD, (), "R"),
    "emergency": Codes(SECURITY_ALERT, (EMERGENCY_OVERRIDE,), "R"),
    "gateway.chat": Codes(PATIENT_RECORD, (), "R"),
    "gateway.started": Codes(APPLICATION_ACTIVITY, (START,), "E"),
    "gateway.stopped": Codes(APPLICATION_ACTIVITY, (STOP,), "E"),
    "guard": Codes(SECURITY_ALERT, (), "E"),
    "host.firewall": Codes(SECURITY_ALERT, (NETWORK_CONFIGURATION,), "U"),
    "host.login": Codes(USER_AUTHENTICATION, (LOGIN,), "E"),
    "host.logout": Codes(USER_AUTHENTICATION, (LOGOUT,), "E"),
    "host.sudo": Codes(SECURITY_ALERT, (SECURITY_CONFIGURATION,), "E"),
    "knowledge.add": Codes(IMPORT, (), "C"),
    "knowledge.search": Codes(QUERY, (), "R"),
    "models.import": Codes(IMPORT, (), "C"),
    "models.promote": Codes(SECURITY_ALERT, (SOFTWARE_CONFIGURATION,), "U"),
    "models.rollback": Codes(SECURITY_ALERT, (SOFTWARE_CONFIGURATION,), "U"),
    "roles": Codes(SECURITY_ALERT, (ROLES_CHANGED,), "U"),
    "users": Codes(SECURITY_ALERT, (USERS_CHANGED,), "U"),
}


def codes_for(action: str) -> Codes:
    """Return the codes of ``action``: those of its longest listed dotted prefix."""
    parts = action.split(".")
    for length in range(len(parts), 0, -1):
        found = TABLE.get(".".join(parts[:length]))
        if found is not None:
            return found
    return TABLE[""]
