"""What errors and verifications say, in the language of the page.

They speak English where they are made, with numbers and names in them. A page looks its sentence up
as it stands, or by the template that it fits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final

from appliance.console.labels import N_, ROLES

TEXTS: Final = (
    N_("Something the appliance refuses or could not do."),
    N_("Run the command again with --json and send the support bundle."),
    N_("A file of the appliance's state is not what was written."),
    N_("Restore the file from a backup; do not edit state by hand."),
    N_("A program the appliance runs ended with an error."),
    N_("Read the named log file for the program's own words."),
    N_("An input file is missing or cannot be read."),
    N_("Check the path and the permissions of the file."),
    N_("The audit log cannot record now, so the action was not done."),
    N_("Start the audit writer and look at its log in the run folder, then try again."),
    N_("The audit log refused this entry."),
    N_("Log numbers, hashes and pseudonyms; never clinical text or identifiers."),
    N_("This process may not write to the audit log."),
    N_("Run as a user named in audit.allowed_uids, or add the user there."),
    N_("The audit log is not what the writer left."),
    N_("Keep the folder as it is, run `appliance audit verify` and call the officer."),
    N_("The key that signs the audit log cannot be used."),
    N_("Check audit.key in appliance.toml and the token or file it names."),
    N_("The cryptography of this machine gave a wrong answer."),
    N_("Do not use this machine for the log; reinstall the cryptography package or replace it."),
    N_("The disk of the audit log is full, so the action was not done."),
    N_("Free space on the file system of the audit folder, then try again."),
    N_("A signed note, checkpoint or key string cannot be accepted."),
    N_("Fetch the file again from its source; if it stays so, treat it as tampered with."),
    N_("A proof file is not in the form of C2SP tlog-proof."),
    N_("Make the proof again with `appliance audit prove`."),
    N_("An entry or tile of the audit log is not there to be read."),
    N_("Check the index, and with `appliance audit retention status` whether it was pruned."),
    N_("A witness's answer cannot be accepted for this log."),
    N_("Do not write to the log; compare it with the checkpoint the officer's device keeps."),
    N_("The evidence asked for cannot be put together."),
    N_("Ask for another range, and run `appliance audit verify` to see what the log holds."),
    N_("Audit events could not be handed to the other system."),
    N_("Check the receiver's address and certificate, then export again from the same index."),
    N_("The key of this subject's details was destroyed on request."),
    N_("Nothing can bring the details back; the entries and their proofs still stand."),
    N_("Ask for a shorter period; for one that reaches into this second, ask again."),
    N_("Draw from a shorter period."),
    N_("Review its outcome."),
    N_("Accept its key with `appliance audit witness trust`, or ask again."),
    N_("at most 8 names of at most 128 characters"),
    N_("others"),
    N_("fewer attempts in a minute"),
    N_("more"),
    N_("one of %(names)s"),
    N_("another role"),
    N_("the role %(role)s"),
    N_("no unforeseen error"),
    N_("the fields of the form"),
    N_("others or none"),
    N_("a password of %(low)s to %(high)s characters"),
    N_("%(n)s characters"),
    N_("a key of %(n)s bytes"),
    N_("%(n)s bytes"),
    N_("a second factor sealed for this account"),
    N_("another"),
    N_("a record number"),
    N_("other text"),
    N_("a period of at most %(n)s entries"),
    N_("a period that starts before its end and has begun"),
    N_("%(start)s to %(end)s"),
    N_("a signed log with entries"),
    N_("an empty one"),
    N_("a user, a patient or the emergency accesses"),
    N_("an entry before the period, which shows that nothing was cut off there"),
    N_("an entry after the period, which shows that nothing was cut off there"),
    N_("none in the signed log"),
    N_("at most %(n)s days"),
    N_("at most %(n)s entries"),
    N_("more of them"),
    N_("%(n)s entries"),
    N_("the entries %(first)s to %(last)s of %(log)s"),
    N_("none, or an end before the beginning"),
    N_("free text of more than %(n)s words"),
    N_("text of %(n)s characters (at most %(most)s)"),
    N_("text with line breaks or control characters"),
    N_("no clinical text or identifier in %(field)s (SBIS NGS1.07.06)"),
    N_("a flag of that day"),
    N_("an event or an outcome"),
    N_("an intent"),
    N_("a log of that number"),
    N_("an entry of the log"),
    N_("none that can be read at %(n)s of log %(log)s"),
    N_("no log %(log)s"),
    N_("Check the number of the entry, and verify the log."),
    N_("none at that place"),
    N_("an index from %(first)s to %(last)s"),
    N_("the name of an entry"),
    N_("another name"),
    N_("at most %(n)s accesses in a period"),
    N_("a comment of at most %(n)s characters"),
    N_("a sample"),
    N_("another entry"),
    N_("accounts"),
    N_("an account of that name"),
    N_("names that no other account has"),
    N_("shared with %(name)s"),
    N_("a change that is known"),
    N_("a report of the verification"),
    N_("a cosignature of %(name)s"),
    N_("a log of at least the %(n)s entries that the witness saw"),
    N_("%(n)s entries: an older copy may have been put back"),
    N_("a witness key (type 4)"),
    N_("a witness's key"),
    N_("a log key"),
    N_("an accepted witness's signature of a checkpoint that was asked for"),
    N_("%(n)s signature lines, none of them such"),
    N_("rollback: %(old)s entries were witnessed, %(here)s are here"),
    N_("fork: another history of the first %(n)s entries"),
    N_("damaged: %(what)s"),
    N_("entry %(n)s"),
    N_("entries %(first)s to %(last)s"),
    N_("kept checkpoint"),
    N_("is not the key of the newest log"),
    N_("no log here is called %(name)s"),
    N_("the kept checkpoint is not signed by this log's key (%(found)s)"),
    N_("the log was closed and the one that follows is not here"),
    N_("%(what)s; the log is not touched, `audit search --rebuild` mends it"),
    N_("does not begin with the log before it"),
    N_("holds something"),
    N_("names another log or key than the one that follows"),
    N_("not readable here"),
    N_("the log goes on after its last entry"),
    N_("the entries lead to root %(made)s, signed is %(signed)s"),
    N_("%(old)s entries were signed and kept, %(here)s are here"),
    N_("another history of the first %(n)s entries"),
    N_("expected %(expected)s, found %(found)s"),
    N_("is not made of the tiles below it"),
    N_("not in the one form a key has"),
    N_("not in the one form a note has"),
    N_("the file is not there"),
    N_("the tile is not there"),
    N_("there is no checkpoint"),
    N_("needs a number of witnesses it does not have"),
    N_("is not signed by this log"),
    N_("is not what was cut off"),
    N_("the audit folder has no such file"),
    N_("unreadable: %(what)s"),
    N_("damaged after %(n)s bytes"),
    N_("is not part of the log"),
    N_("is not what an entry of the log says"),
    N_("is not what the write-ahead file leads to"),
    N_("the log has no such file"),
    N_("there is no write-ahead file"),
    N_("says it is entry %(n)s of log %(log)s"),
    N_("has no stamp"),
    N_("the entry bundle is not there"),
    N_("%(n)s entries instead of %(wanted)s"),
    N_("%(n)s entries where the tile has %(m)s"),
    N_("%(n)s entries, the tile has %(m)s"),
    N_("has %(n)s bytes"),
    N_("in another order"),
    N_("is not what its tile says"),
    N_("a checkpoint over %(first)s to %(last)s entries"),
    N_("one over %(n)s"),
)
PROBLEMS: Final = {
    "delete": N_("missing"),
    "edit": N_("changed"),
    "fork": N_("another history"),
    "insert": N_("inserted"),
    "key": N_("key"),
    "index": N_("search index"),
    "older-copy": N_("older copy"),
    "rewrite": N_("rewritten"),
    "signature": N_("signature"),
    "stray": N_("stray file"),
    "swap": N_("swapped"),
    "truncate": N_("cut short"),
    "wal": N_("write-ahead file"),
}


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """Return the templates with holes, those with the most words first: they say the most."""
    found = []
    for text in TEXTS:
        parts = re.split(r"%\((\w+)\)s", text)
        if len(parts) > 1:
            holes = [f"(?P<{p}>.+)" if n % 2 else re.escape(p) for n, p in enumerate(parts)]
            found.append((re.compile("".join(holes), re.DOTALL), text))
    return sorted(found, key=lambda item: -len(re.sub(r"%\(\w+\)s", "", item[1])))


def said(text: str, translate: Callable[[str], str]) -> str:
    """Return ``text`` in the language of ``translate``; what no template fits stays as it is."""
    whole = translate(text)
    if whole != text:
        return whole
    names = text.split(", ")
    if all(name in ROLES for name in names):
        return ", ".join(translate(ROLES[name]) for name in names)
    for pattern, template in _templates():
        if match := pattern.fullmatch(text):
            values = {name: said(value, translate) for name, value in match.groupdict().items()}
            return translate(template) % values
    return text


def problem(name: str, place: str, what: str, translate: Callable[[str], str]) -> str:
    """Return a finding of a verification as a line for people."""
    kind = translate(PROBLEMS[name]) if name in PROBLEMS else name
    where = ": ".join(said(part, translate) for part in place.split(": "))
    return f"{kind}: {where}: {said(what, translate)}"
