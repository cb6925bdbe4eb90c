"""Rules of iptables, read as what they let in."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ACCEPTS = frozenset({"ACCEPT", "RETURN"})
REFUSES = frozenset({"DROP", "REJECT"})
_ANY = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, order=True)
class Opening:
    """Who may reach what: a source network, a port (0 is every port), a transport."""

    source: str
    port: int
    protocol: str

    def __str__(self) -> str:
        """Return the form of the reports."""
        return f"{self.source} -> {self.port or 'every port'}/{self.protocol}"

    @property
    def version(self) -> int:
        """4 or 6."""
        return ipaddress.ip_network(self.source).version


@dataclass(frozen=True)
class Rule:
    """One line of ``iptables -S``, as its options."""

    options: dict[str, str]
    negated: frozenset[str]

    @property
    def target(self) -> str:
        """ACCEPT, DROP, RETURN or the name of a chain."""
        return self.options.get("-j", "")

    @property
    def established(self) -> bool:
        """Whether it is about answers to what was let out or in before."""
        states = self.options.get("--ctstate", self.options.get("--state", ""))
        return bool(states) and set(states.split(",")) <= {"ESTABLISHED", "RELATED"}

    def opening(self, version: int) -> Opening:
        """Return what it is about."""
        port = self.options.get("--ctorigdstport", self.options.get("--dport", "0"))
        source = self.options.get("-s", _ANY[version])
        return Opening(
            str(ipaddress.ip_network(source)),
            int(port) if port.isdigit() else 0,
            self.options.get("-p", "all"),
        )


def parse_rules(text: str, chain: str) -> list[Rule]:
    """Return the rules of ``chain`` from the output of ``iptables -S``, in order."""
    rules = []
    for line in text.splitlines():
        words = shlex.split(line)
        if words[:2] != ["-A", chain]:
            continue
        options: dict[str, str] = {}
        negated = set()
        name, turned = "", False
        for word in words[2:]:
            if word == "!":
                turned = True
            elif word.startswith("-"):
                name = word
                options[name] = ""
                if turned:
                    negated.add(name)
                turned = False
            else:
                options[name] = f"{options[name]} {word}".strip()
        rules.append(Rule(options, frozenset(negated)))
    return rules


def own_chain(text: str) -> str:
    """Return the chain DOCKER-USER hands everything to first, or DOCKER-USER itself."""
    rules = parse_rules(text, "DOCKER-USER")
    first = rules[0] if rules else None
    if first is not None and set(first.options) == {"-j"} and first.target not in ACCEPTS | REFUSES:
        return first.target
    return "DOCKER-USER"


def policies(text: str) -> dict[str, str]:
    """Return the policy of each built-in chain."""
    rows = [line.split() for line in text.splitlines() if line.startswith("-P ")]
    return {row[1]: row[2] for row in rows if len(row) > 2}  # noqa: PLR2004 - -P CHAIN POLICY


def differences(
    rules: Sequence[Rule], wanted: Iterable[Opening], version: int, pool: str
) -> list[str]:
    """Say how the rules of DOCKER-USER differ from the declared openings of this IP version.

    Rules for answers (established, related), for what the containers' own network ``pool`` sends
    and for forwarding that has nothing to do with it are no openings. Behind the openings a rule
    has to refuse everything else; what comes after that is never reached.
    """
    expected = {o for o in wanted if o.version == version}
    found: set[Opening] = set()
    refused = False
    for rule in rules:
        if rule.target in REFUSES and _for_everyone(rule):
            refused = True
            break
        if rule.target in ACCEPTS and not rule.established and not _inside(rule, pool):
            found.add(rule.opening(version))
    said = [f"not declared: {opening}" for opening in sorted(found - expected)]
    said += [f"missing: {opening}" for opening in sorted(expected - found)]
    if not refused:
        said.append("nothing refuses the rest")
    return said


def _for_everyone(rule: Rule) -> bool:
    """Whether a refusal holds for every packet, whatever card it came in by and whatever state."""
    allowed = {"-j", "-m", "--comment", "--reject-with"}
    return (
        set(rule.options) <= allowed
        and not rule.negated
        and "limit" not in rule.options.get("-m", "")
    )


def _inside(rule: Rule, pool: str) -> bool:
    """Whether a rule is about containers among themselves, or not about containers at all."""
    source, target = rule.options.get("-s"), rule.options.get("-d")
    if {"-s", "-d"} <= rule.negated:
        return source == target == pool
    return source == pool and not rule.negated
