"""The whole proof: docs/it/install.md on a blank machine, step by step, and what may go wrong.

Each step types what the guide says; nothing reaches the machine but the two sticks.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from tests.vm import lan, scores, setup, work
from tests.vm.guest import DATA_DISK, GuestError
from tests.vm.medium import Medium
from tests.vm.proof import Proof

SETUP = "appliance-setup"
INSTALLED = "/usr/local/bin/appliance"
HOME = "/srv/appliance"
PROFILE_NAME = "anssi_bp28_enhanced"
_SAFE = "/media/safe/recovery-key.txt"
_DISK_WITH_DATA = "mkfs.ext4 -q -F"


@dataclass
class Options:
    """What the whole proof does beyond the installation."""

    network: bool = True
    scores: bool = False
    skip: tuple[str, ...] = ()  # steps that are left out
    cuts: tuple[float, ...] = (45.0, 150.0)  # seconds into `host provision`


@dataclass
class Whole:
    """The steps, over one guest and one medium."""

    proof: Proof
    medium: Medium
    options: Options
    cable: lan.Cable = field(default_factory=lan.Cable)
    today: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d}")

    def say(self, command: str, timeout: float = 600) -> str:
        """Type one line of the guide; it has to succeed."""
        return self.proof.guest.must(f"cd /; {command} 2>&1", timeout)

    # -- steps 4 to 6 of the guide -------------------------------------------------------------

    def prove_the_bundle(self) -> str:
        """Compare the verifier with the paper, prove the medium, take what is needed first."""
        self.mount("BUNDLE", "stick", "-o ro")
        seen = self.say("sha256sum /media/stick/verify_bundle.py").split()[0]
        if seen != self.medium.verifier_sha256:
            raise GuestError(f"the verifier differs from the paper: {seen}")
        wrong = self.proof.guest.run(self._verifier("00" * 32), 1800)
        if wrong.rc != 1:
            raise GuestError(f"another fingerprint was not refused: {wrong.out[-500:]}")
        out = self.say(self._verifier(self.medium.fingerprint), 1800)
        if "VERIFIED" not in out:
            raise GuestError(out[-800:])
        return out.strip().splitlines()[-1]

    def _verifier(self, fingerprint: str) -> str:
        return (
            f'python3 -I /media/stick/verify_bundle.py /media/stick --fingerprint "{fingerprint}"'
            f" --date {self.today} --into /opt/appliance 2>&1"
        )

    def take_the_agent(self) -> str:
        """Run setup.sh from what was proven."""
        out = self.say("sh /opt/appliance/content/playbooks/setup.sh", 1800)
        if "Done." not in out:
            raise GuestError(out[-800:])
        return self.say(f"{SETUP} --version").strip()

    def settle(self) -> str:
        """Write the settings, type the passphrase, mount the stick for the safe."""
        setup.put(self.proof.guest, f"{setup.HOME}/appliance.toml", self._toml())
        return self.type_secrets()

    def _toml(self) -> str:
        return setup.Site(recovery_file=_SAFE).toml()

    def type_secrets(self) -> str:
        """What a person does again after a power cut: step 5's second box and step 6."""
        setup.give_passphrase(self.proof.guest)
        self.mount("SAFE", "safe")
        return "typed"

    def mount(self, label: str, name: str, options: str = "") -> None:
        """Put a stick in: wait until the machine sees it, mount it."""
        self.say(
            f"for n in $(seq 90); do [ -e /dev/disk/by-label/{label} ] && break; sleep 1; done;"
            f" mkdir -p /media/{name} && {{ mountpoint -q /media/{name} ||"
            f" mount {options} /dev/disk/by-label/{label} /media/{name}; }}"
        )

    # -- bad input: preflight refuses, nothing changed -----------------------------------------

    def refuse_bad_input(self) -> str:
        """Everything wrong at once is told at once, then a wrong disk; nothing is written."""
        guest, toml = self.proof.guest, f"{setup.HOME}/appliance.toml"
        self.say(f"{_DISK_WITH_DATA} {DATA_DISK}")
        before = self._fingerprint()
        self._refused(
            "date -s 2031-01-01 && sed -i.kept 's/^admin_keys.*/admin_keys = []/'",
            ("data disk", "clock", "SSH key"),
        )
        guest.must(f"date -s '{datetime.now(UTC):%Y-%m-%d %H:%M:%S}'")
        if self._fingerprint() != before:
            raise GuestError("the disk with data was written to")
        guest.must(f"wipefs -q -a {DATA_DISK}")
        self._refused("sed -i.kept 's/PROOFDATA1/NOSUCHDISK/'", ("data disk",))
        made = f"test -e /dev/mapper/appliance-data || cryptsetup isLuks {DATA_DISK}"
        if guest.run(made).rc == 0:
            raise GuestError("a refused run made the volume")
        guest.must(f"grep -q PROOFDATA1 {toml}")
        return "refused: disk with data, clock years off, SSH key missing, wrong disk named"

    def _refused(self, spoil: str, expected: tuple[str, ...]) -> None:
        """Spoil the settings, try, put them right; each of ``expected`` has to be told."""
        guest, toml = self.proof.guest, f"{setup.HOME}/appliance.toml"
        guest.must(f"{spoil} {toml}")
        done = guest.run(f"{SETUP} host provision --date {self.today} 2>&1", 900)
        guest.must(f"mv {toml}.kept {toml}")
        missing = [word for word in expected if word not in done.out]
        if done.rc == 0 or missing:
            raise GuestError(f"exit {done.rc}, not told: {missing}: {done.out[-800:]}")

    def _fingerprint(self) -> str:
        return self.say(f"dd if={DATA_DISK} bs=1M count=64 status=none | sha256sum")

    # -- step 7 --------------------------------------------------------------------------------

    def plan(self) -> str:
        """Look; the first time many things would change and nothing is changed."""
        _, value = self.proof.json(f"host plan --date {self.today}", 1800)
        if not value.get("ok"):
            raise GuestError(json.dumps(value)[:1500])
        if self.proof.guest.run(f"cryptsetup isLuks {DATA_DISK}").rc == 0:
            raise GuestError("plan changed the disk")
        return f"{value.get('would_change', value.get('changed'))} changes announced"

    def cut_power_after(self, seconds: float) -> str:
        """Start provisioning and cut the power in the middle; then what a person does."""
        guest = self.proof.guest
        guest.must(
            f"systemd-run --quiet --unit=proof-cut -p StandardOutput=null"
            f" /usr/local/sbin/{SETUP} host provision --date {self.today}"
        )
        time.sleep(seconds)
        role = guest.run(f"cat {setup.HOME}/host/provision.json").out
        guest.stop(cut=True)
        guest.start()
        self.type_secrets()
        done = re.findall(r'"(\w+)": (?:true|false)', role)
        return f"cut after {seconds:.0f} s, after: {', '.join(done) or 'no role'}"

    def key_for_the_safe(self) -> str:
        """Step 8: the recovery key is on its stick and nowhere else."""
        key = self.say(f"cat {_SAFE}").strip()
        found = self.proof.guest.run(f"grep -rlF '{key}' /etc /var/lib/appliance-setup /opt /root")
        if found.rc == 0:
            raise GuestError(f"the recovery key lies in {found.out}")
        self.say("umount /media/safe")
        return f"{len(key.replace('-', ''))} characters"

    # -- step 9 --------------------------------------------------------------------------------

    def pulled_out(self) -> str:
        """The stick is pulled out while it is read: refused in words, and nothing is installed."""
        self._settings_into_the_volume()
        guest, unit = self.proof.guest, "proof-pulled"
        guest.must(f"systemd-run --quiet --unit={unit} -p RemainAfterExit=yes {self._installs()}")
        time.sleep(25)
        guest.pull("stick")
        state = f"systemctl show -p SubState --value {unit}"
        guest.must(
            f"for n in $(seq 300); do [ $({state}) = running ] || exit 0; sleep 2; done", 660
        )
        said = guest.run(f"journalctl -u {unit} -o cat | tail -n 20").out
        left = guest.run(f"test -e {HOME}/bundle/current")
        guest.run("umount -l /media/stick; systemctl reset-failed")
        guest.plug("stick", self.medium.image)
        if left.rc == 0 or "expected" not in said:
            raise GuestError(f"current exists: {left.rc == 0}; it said: {said}")
        return said.strip().splitlines()[0]

    def _settings_into_the_volume(self) -> None:
        self.mount("BUNDLE", "stick", "-o ro")
        self.say(f"install -m 640 -g 10000 {setup.HOME}/appliance.toml {HOME}/appliance.toml")

    def _installs(self) -> str:
        return (
            f"/usr/local/sbin/{SETUP} --home {HOME} bundle install /media/stick"
            f' --fingerprint "{self.medium.fingerprint}" --date {self.today}'
        )

    def into_the_volume(self) -> str:
        """The bundle into the encrypted volume."""
        self._settings_into_the_volume()
        out = self.say(self._installs(), 3600)
        self.proof.prefix, self.proof.home = INSTALLED, HOME
        return out.strip().splitlines()[-1]

    # -- step 10 -------------------------------------------------------------------------------

    def services(self) -> str:
        """Ask the engine which containers are healthy."""
        out = self.say(
            "for n in $(seq 60); do docker ps --format '{{.Names}} {{.Status}}' |"
            " grep -q starting || break; sleep 5; done;"
            " docker ps -a --format '{{.Names}} {{.Status}}'",
            600,
        )
        lines = out.strip().splitlines()
        bad = [line for line in lines if "(healthy)" not in line]
        if bad or not lines:
            raise GuestError("; ".join(bad) or "no container")
        return f"{len(lines)} healthy"

    def confined(self) -> str:
        """AppArmor, DOCKER-USER, mounts and SSH, looked at from inside by other means."""
        profiles = self.say("docker inspect -f '{{.AppArmorProfile}}' $(docker ps -q)").split()
        if set(profiles) != {"appliance-service"}:
            raise GuestError(f"profiles of the containers: {profiles}")
        self.say("aa-status --enabled")
        self.say("iptables -S DOCKER-USER | grep -q -- '-j'")
        self.say("ufw status | grep -q 'Status: active'")
        mount = self.say(f"findmnt -no OPTIONS {HOME}")
        if not {"nodev", "nosuid"} <= set(mount.strip().split(",")):
            raise GuestError(f"{HOME} is mounted {mount}")
        ssh = self.say("sshd -T")
        for line in ("permitrootlogin no", "passwordauthentication no"):
            if line not in ssh:
                raise GuestError(f"sshd -T lacks: {line}")
        return "AppArmor, DOCKER-USER, ufw, mounts, sshd"

    # -- the variant with a card ---------------------------------------------------------------

    def plug_the_cable(self) -> str:
        """A card, an address and three networks, as the guide's step 5 has them."""
        guest = self.proof.guest
        guest.must("sync")
        guest.stop()
        self.cable.plug()
        guest.lan = self.cable.name
        took = guest.start()
        self.proof.unlocked_by_tpm()
        site = setup.Site(recovery_file=_SAFE, address=lan.ADDRESS, interface=lan.card(guest))
        setup.put(guest, f"{HOME}/appliance.toml", site.toml(), "0640")
        self.say(f"chgrp 10000 {HOME}/appliance.toml; rm -f {HOME}/keys/tls/server.crt")
        return f"up after {took:.0f} s with {site.interface}"

    def exposure(self) -> str:
        """The appliance's own look from outside, after the engine was started again."""
        self.say("systemctl restart docker", 300)
        self.services()
        done, value = self.proof.json("host exposure", 900)
        if done.rc != 0:
            raise GuestError(json.dumps(value)[:800])
        return f"open: {value.get('open')}"

    def scores(self, name: str) -> str:
        """Lynis and OpenSCAP; afterwards they have to be as promised."""
        found = scores.measure(self.proof.guest, self.proof.folder, name)
        said = f"Lynis {found.lynis}, {found.share:.1%} of {PROFILE_NAME} {found.results}"
        weak = found.lynis < scores.LYNIS_MIN or found.share < scores.SHARE_MIN or found.high
        if name == "after" and weak:
            raise GuestError(f"{said}; high: {found.high}; failed: {', '.join(found.failed)}")
        return said

    def opened_with_the_key_of_the_safe(self) -> str:
        """The stick comes out of the safe."""
        self.type_secrets()
        return self.proof.opened_with("recovery key")

    def egress(self) -> str:
        """Nothing tried to leave during the whole proof."""
        done, value = self.proof.json("host egress report")
        if done.rc != 0:
            raise GuestError(json.dumps(value)[:800])
        return json.dumps({k: v for k, v in value.items() if k in {"ok", "attempts", "packets"}})


@dataclass(frozen=True)
class Todo:
    """A step of the proof; after a failed one that is ``needed`` nothing more is tried."""

    name: str
    work: Callable[[], str]
    needed: bool = False


def run_whole(whole: Whole, go_on: str = "") -> None:
    """Do all steps, or those from ``go_on`` in a guest that an earlier run left on."""
    proof = whole.proof
    proof.prefix, proof.recovery = SETUP, _SAFE
    todo = steps_of(whole)
    if go_on:
        todo = todo[[step.name for step in todo].index(go_on) :]
        if proof.guest.run(f"test -e {HOME}/bundle/current").rc == 0:
            proof.prefix, proof.home = INSTALLED, HOME
    for step in todo:
        if step.name in whole.options.skip:
            continue
        if not proof.step(step.name, step.work) and step.needed:
            return


def steps_of(whole: Whole) -> list[Todo]:
    """Return all steps in their order."""
    return [*_install(whole), *_look(whole), *_locks(whole)]


def _install(whole: Whole) -> Iterator[Todo]:
    """The guide's steps, with what goes wrong on the way."""
    proof, guest = whole.proof, whole.proof.guest
    yield Todo("boot the blank machine", lambda: f"up after {guest.start():.0f} s", needed=True)
    if whole.options.scores:
        yield Todo("scores before", lambda: whole.scores("before"))
    yield Todo("prove the bundle", whole.prove_the_bundle, needed=True)
    yield Todo("take the agent from it", whole.take_the_agent, needed=True)
    yield Todo("settings and secrets", whole.settle, needed=True)
    yield Todo("bad input is refused", whole.refuse_bad_input)
    yield Todo("look before doing", whole.plan)
    for seconds in whole.options.cuts:
        yield Todo(
            f"power cut at {seconds:.0f} s",
            partial(whole.cut_power_after, seconds),
            needed=True,
        )
    yield Todo("provision", lambda: proof.provision(again=False), needed=True)
    yield Todo("the key for the safe", whole.key_for_the_safe)
    yield Todo("the stick pulled out half-way", whole.pulled_out)
    yield Todo("the bundle into the volume", whole.into_the_volume, needed=True)
    yield Todo("provision with the bundle", lambda: proof.provision(again=False), needed=True)
    yield Todo("reboot", proof.reboot, needed=True)
    yield Todo("the TPM unlocks the volume", proof.unlocked_by_tpm, needed=True)


def _look(whole: Whole) -> Iterator[Todo]:
    """What is there now, looked at from inside and from outside."""
    proof, guest = whole.proof, whole.proof.guest
    yield Todo("all services are healthy", whole.services)
    yield Todo("host verify", proof.verify)
    yield Todo("confined, looked at by other means", whole.confined)
    yield Todo("the pipeline trains and promotes", partial(work.pipeline, proof))
    yield Todo("an application asks", partial(work.asked, proof))
    yield Todo("a second run changes nothing", lambda: proof.provision(again=True))
    if whole.options.network:
        yield Todo("plug the cable in", whole.plug_the_cable)
        yield Todo("provision with a network", lambda: proof.provision(again=False))
        yield Todo("seen from the network", lambda: lan.scan(guest, whole.cable))
        yield Todo("host exposure after the engine was restarted", whole.exposure)
    if whole.options.scores:
        yield Todo("scores after", lambda: whole.scores("after"))
    yield Todo("nothing tried to leave", whole.egress)
    yield Todo("the log verifies on another machine", proof.log_elsewhere)


def _locks(whole: Whole) -> Iterator[Todo]:
    """The volume's ways in, and the TPM as the negative control."""
    proof = whole.proof
    yield Todo("reboot with a cleared TPM", lambda: proof.reboot(clear_tpm=True), needed=True)
    yield Todo("a cleared TPM opens nothing", proof.still_locked)
    yield Todo("the passphrase opens it", lambda: proof.opened_with("passphrase"))
    yield Todo("the recovery key opens it", whole.opened_with_the_key_of_the_safe)
