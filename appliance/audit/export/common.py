"""What every export says the same way."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

Entry = dict[str, Any]

DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
TYPE_NAMES: Final = {  # DICOM PS3.16 CID 400
    "110100": "Application Activity",
    "110101": "Audit Log Used",
    "110106": "Export",
    "110107": "Import",
    "110110": "Patient Record",
    "110112": "Query",
    "110113": "Security Alert",
    "110114": "User Authentication",
}
SUBTYPE_NAMES: Final = {  # DICOM PS3.16 CID 401 and CID 403
    "110120": "Application Start",
    "110121": "Application Stop",
    "110122": "Login",
    "110123": "Logout",
    "110127": "Emergency Override Started",
    "110128": "Network Configuration",
    "110129": "Security Configuration",
    "110130": "Hardware Configuration",
    "110131": "Software Configuration",
    "110132": "Use of Restricted Function",
    "110133": "Audit Recording Stopped",
    "110134": "Audit Recording Started",
    "110136": "Security Roles Changed",
    "110137": "User Security Attributes Changed",
}
# RFC 3881 and FHIR audit-event-outcome: 0 success, 4 minor, 8 serious, 12 major failure.
OUTCOMES: Final = {None: "0", "success": "0", "refused": "4", "failure": "8", "unknown": "12"}


@dataclass(frozen=True)
class Source:
    """Who exports: the appliance as other systems know it."""

    name: str = "hospital-ai-appliance"
    site: str = "hospital"
    version: str = "0"
    address: str = "127.0.0.1"


@dataclass(frozen=True)
class Record:
    """One entry to be exported, with the bytes that stand in the log."""

    data: bytes
    value: Entry

    @classmethod
    def parse(cls, data: bytes) -> Record:
        """Read an entry's bytes."""
        return cls(data, json.loads(data))

    @property
    def index(self) -> int:
        """The leaf index."""
        return int(self.value["written"]["n"])

    @property
    def at(self) -> str:
        """When the log's writer received it."""
        return str(self.value["written"]["at"])

    @property
    def leaf(self) -> str:
        """The leaf hash (RFC 6962), in hexadecimal: finds the entry in any proof."""
        return hashlib.sha256(b"\x00" + self.data).hexdigest()

    @property
    def user(self) -> str:
        """The user, or the component that acted by itself."""
        return str(self.value.get("user") or self.value["component"])

    @property
    def outcome(self) -> str:
        """The outcome as RFC 3881 numbers it."""
        return OUTCOMES[self.value.get("outcome")]

    def get(self, name: str) -> str:
        """Return a member as text; empty when it is absent."""
        value = self.value.get(name)
        return "" if value is None else str(value)

    @property
    def ai(self) -> dict[str, str]:
        """The hashes of what the AI ran with."""
        names = ("model", "adapter", "dataset", "prompt_template")
        return {name: self.get(name) for name in names if self.get(name)}
