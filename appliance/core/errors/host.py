"""Errors of the host part. Exit codes 95 to 109."""

from __future__ import annotations

from appliance.core.errors.base import ApplianceError


class ProxmoxUnreachableError(ApplianceError):
    """The Proxmox VE server does not answer."""

    id = "proxmox-unreachable"
    exit_code = 95
    http_status = 502
    remedy = "Check the address, the certificate (--ca) and that the server is up, then try again."


class ProxmoxRefusedError(ApplianceError):
    """The Proxmox VE server refused the request."""

    id = "proxmox-refused"
    exit_code = 96
    http_status = 403
    remedy = "Give the token the privileges listed in docs/it/proxmox.md."


class ProxmoxAnswerError(ApplianceError):
    """The Proxmox VE server answered something its own documentation does not allow."""

    id = "proxmox-answer"
    exit_code = 97
    http_status = 502
    remedy = "Look at the server's own log; nothing was concluded from this answer."


class ProxmoxTaskError(ApplianceError):
    """A task on the Proxmox VE server failed or did not end in time."""

    id = "proxmox-task"
    exit_code = 98
    http_status = 502
    remedy = "Read the task's log in Proxmox VE, correct the cause, run the same command again."


class VmConflictError(ApplianceError):
    """The virtual machine cannot be made or removed as things stand."""

    id = "vm-conflict"
    exit_code = 99
    http_status = 409
    remedy = "Choose another name or number, or settle what is named, then run the command again."


class VmSpecInvalidError(ApplianceError):
    """The description of the virtual machine cannot be used."""

    id = "vm-spec"
    exit_code = 100
    http_status = 400
    remedy = "Correct the named field; docs/it/proxmox.md shows a whole example."
