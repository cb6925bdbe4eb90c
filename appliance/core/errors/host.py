"""Errors of the host part. Exit codes 95 to 109 and 117 to 119."""

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


class HostPreflightError(ApplianceError):
    """The machine is not ready to be provisioned; nothing was changed."""

    id = "host-preflight"
    exit_code = 101
    http_status = 409
    remedy = "Do what the failed check says, then run the same command again."


class ProvisionFailedError(ApplianceError):
    """Provisioning stopped before its end."""

    id = "provision-failed"
    exit_code = 102
    http_status = 500
    remedy = "Correct what is named and run the same command again: what was done is not redone."


class PlaybookMissingError(ApplianceError):
    """The playbooks are not on this machine."""

    id = "playbooks-missing"
    exit_code = 103
    http_status = 500
    remedy = "Install the bundle, or name the folder with --playbooks."


class DeclarationInvalidError(ApplianceError):
    """What the machine should be like cannot be read."""

    id = "host-declaration"
    exit_code = 104
    http_status = 422
    remedy = "Correct the named key; nothing was concluded about the machine."


class ScanUselessError(ApplianceError):
    """The scan cannot prove anything: its positive control was not seen."""

    id = "scan-useless"
    exit_code = 105
    http_status = 500
    remedy = "Look at the route and the namespace the scan starts from; the ports are unknown."


class EgressCounterError(ApplianceError):
    """The counters of outgoing packets cannot be read."""

    id = "egress-counters"
    exit_code = 106
    http_status = 500
    remedy = "Run: appliance host egress start (as root), then ask again."


class SupportBundleError(ApplianceError):
    """The support bundle was not written."""

    id = "support-bundle"
    exit_code = 107
    http_status = 500
    remedy = "Report this: the last look before writing found something that must not leave."


class AlreadyConfiguredError(ApplianceError):
    """There is a configuration already; it is never overwritten."""

    id = "already-configured"
    exit_code = 108
    http_status = 409
    remedy = "Edit appliance.toml by hand, or name another --home."


class AutoinstallInvalidError(ApplianceError):
    """The unattended installation cannot be described with these values."""

    id = "autoinstall"
    exit_code = 109
    http_status = 422
    remedy = "Correct the named value; nothing was written."


class CertificateUnusableError(ApplianceError):
    """The TLS certificate cannot be used by this machine."""

    id = "certificate-unusable"
    exit_code = 117
    http_status = 422
    remedy = (
        "Give the authority keys/tls/server.csr again; the certificate in use was left as it is."
    )
