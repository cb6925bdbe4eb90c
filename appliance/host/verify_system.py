"""Mandatory access control, kernel settings, auditing."""

from __future__ import annotations

import re

from appliance.host.checks import Check, Question
from appliance.host.machine import Machine

# CIS Ubuntu 24.04 chapters 1.5 and 3.3. ip_forward is not here: containers need it, see the
# register of exceptions.
SYSCTLS: dict[str, tuple[str, ...]] = {
    "kernel.randomize_va_space": ("2",),
    "kernel.kptr_restrict": ("1", "2"),
    "kernel.dmesg_restrict": ("1",),
    "kernel.yama.ptrace_scope": ("1", "2", "3"),
    "kernel.unprivileged_bpf_disabled": ("1", "2"),
    "kernel.sysrq": ("0", "4", "176"),
    "fs.suid_dumpable": ("0",),
    "fs.protected_hardlinks": ("1",),
    "fs.protected_symlinks": ("1",),
    "fs.protected_fifos": ("1", "2"),
    "fs.protected_regular": ("1", "2"),
    "net.ipv4.conf.all.accept_redirects": ("0",),
    "net.ipv4.conf.all.secure_redirects": ("0",),
    "net.ipv4.conf.all.send_redirects": ("0",),
    "net.ipv4.conf.all.accept_source_route": ("0",),
    "net.ipv4.conf.all.rp_filter": ("1", "2"),
    "net.ipv4.conf.all.log_martians": ("1",),
    "net.ipv4.icmp_echo_ignore_broadcasts": ("1",),
    "net.ipv4.icmp_ignore_bogus_error_responses": ("1",),
    "net.ipv4.tcp_syncookies": ("1",),
    "net.ipv6.conf.all.accept_redirects": ("0",),
    "net.ipv6.conf.all.accept_source_route": ("0",),
    "net.ipv6.conf.all.accept_ra": ("0",),
}
_AGAIN = "Run: appliance host provision."


def system_checks(machine: Machine) -> list[Check]:
    """Return the checks of the kernel and of what watches it."""
    return [*_apparmor(machine), _sysctls(machine), *_auditing(machine)]


PROFILE = "appliance-service"  # what confines the containers of images/compose.yaml


def _apparmor(machine: Machine) -> list[Check]:
    enabled = Question("apparmor", "AppArmor on in the kernel", "Boot without apparmor=0.")
    enforcing = Question(
        "apparmor-profiles",
        f"{PROFILE} loaded, every profile enforcing",
        f"{_AGAIN} See also: aa-status; then systemctl restart appliance-services.",
    )
    module = machine.text("/sys/module/apparmor/parameters/enabled")
    found = module.text.strip() or module.reason
    first = enabled.judged(found == "Y", found)
    reading = machine.text("/sys/kernel/security/apparmor/profiles")
    if not reading.ok:
        return [first, enforcing.unknown(reading)]
    rows = [line.rpartition(" (") for line in reading.text.splitlines() if line.strip()]
    loose = [
        name for name, _, mode in rows if mode.rstrip(")") in {"complain", "kill", "unconfined"}
    ]
    if not rows:
        return [first, enforcing.judged(ok=False, found="no profile is loaded")]
    if PROFILE not in {name for name, _, _ in rows}:
        return [first, enforcing.judged(ok=False, found=f"{PROFILE} is not loaded")]
    lax = [n for n in loose if _named(n)]
    said = (
        ", ".join(lax) or f"{len(rows) - len(loose)} enforcing, {len(loose)} without rules of ours"
    )
    return [first, enforcing.judged(not lax, said)]


def _named(profile: str) -> bool:
    """Tell profiles that confine something here from Ubuntu's placeholders.

    Ubuntu 24.04 ships about a hundred profiles marked unconfined that only grant user namespaces
    to programs; they confine nothing and are no weakness of ours.
    """
    return profile.startswith(("appliance", "docker"))


def _sysctls(machine: Machine) -> Check:
    question = Question("sysctl", f"{len(SYSCTLS)} kernel settings as CIS level 1 asks", _AGAIN)
    wrong = []
    for name, right in SYSCTLS.items():
        reading = machine.text("/proc/sys/" + name.replace(".", "/"))
        if reading.status == "denied":
            return question.unknown(reading)
        if reading.ok and reading.text.strip() not in right:
            wrong.append(f"{name} = {reading.text.strip()}, not {' or '.join(right)}")
        elif not reading.ok and not name.startswith("net.ipv6."):
            wrong.append(f"{name}: {reading.reason}")
    return question.differing(wrong, "as expected")


def _auditing(machine: Machine) -> list[Check]:
    running = Question(
        "auditd", "auditd active, recording, nothing lost", f"{_AGAIN} See: auditctl -s"
    )
    rules = Question("audit-rules", "rules loaded, for identity, time and privilege", _AGAIN)
    state = machine.run(["auditctl", "-s"])
    if not state.ok:
        first = running.unknown(state)
    else:
        numbers = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) (\d+)$", state.text, re.MULTILINE)}
        on = numbers.get("enabled", 0) > 0 and numbers.get("pid", 0) > 0
        lost = numbers.get("lost", 0)
        found = f"enabled {numbers.get('enabled')}, pid {numbers.get('pid')}, lost {lost}"
        first = running.judged(on and not lost, found, otherwise="warn" if on else "fail")
    loaded = machine.run(["auditctl", "-l"])
    if not loaded.ok:
        return [first, rules.unknown(loaded)]
    watched = [w for w in ("/etc/passwd", "/etc/sudoers", "adjtimex") if w not in loaded.text]
    count = len([line for line in loaded.text.splitlines() if line.startswith("-")])
    return [first, rules.differing([f"nothing about {w}" for w in watched], f"{count} rules")]
