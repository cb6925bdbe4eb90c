"""Words for what the log says in codes. ``N_`` marks them for the catalogues."""

from __future__ import annotations

from typing import Final


def N_(message: str) -> str:  # noqa: N802 - the mark that gettext tools look for
    """Mark a message; it is translated where it is shown."""
    return message


ROLES: Final = {
    "auditor": N_("Auditor"),
    "reviewer": N_("Reviewer"),
    "officer": N_("Officer (DPO)"),
    "administrator": N_("Administrator"),
    "clinician": N_("Clinician"),
}
ROLE_HINTS: Final = {
    "auditor": N_("reads and verifies everything, changes nothing"),
    "reviewer": N_("determines whether an access was appropriate"),
    "officer": N_("signs off, exports evidence, runs the witness round"),
    "administrator": N_("manages accounts, reads and reviews nothing"),
}
OUTCOMES: Final = {
    "success": N_("Success"),
    "refused": N_("Refused"),
    "failure": N_("Failure"),
    "unknown": N_("Unknown"),
}
PHASES: Final = {"intent": N_("Intent"), "outcome": N_("Outcome"), "event": N_("Event")}
STATES: Final = {
    "open": N_("Waiting for review"),
    "reviewed": N_("Waiting for sign-off"),
    "follow_up": N_("Being followed up"),
    "closed": N_("Closed"),
}
DETERMINATIONS: Final = {
    "appropriate": N_("Appropriate"),
    "inappropriate": N_("Inappropriate"),
    "follow_up": N_("Needs follow-up"),
}
DECISIONS: Final = {"agree": N_("Agreed"), "return": N_("Sent back")}
RULES: Final = {
    "unusual_hour": N_("Unusual hour"),
    "volume": N_("Many accesses"),
    "refused": N_("Refused requests"),
    "shared_patient": N_("One patient, many users"),
}
RULE_HINTS: Final = {
    "unusual_hour": N_("use outside the usual hours of the hospital"),
    "volume": N_("more accesses in a day than one person's work needs"),
    "refused": N_("the system refused this user again and again"),
    "shared_patient": N_("curiosity about a colleague, a neighbour or a known person looks so"),
}
ACTIONS: Final = {
    "console.login": N_("Console: log in"),
    "console.logout": N_("Console: log out"),
    "console.enrol": N_("Console: enrolment"),
    "console.forbidden": N_("Console: refused page"),
    "console.review": N_("Console: determination"),
    "console.sign_off": N_("Console: sign-off"),
    "console.sample": N_("Console: random sample"),
    "console.export": N_("Console: evidence exported"),
    "console.verify": N_("Console: log verified"),
    "console.download": N_("Console: proof downloaded"),
    "console.view_overview": N_("Console: overview read"),
    "console.view_events": N_("Console: events read"),
    "console.view_event": N_("Console: event read"),
    "console.view_emergency": N_("Console: emergency queue read"),
    "console.view_flags": N_("Console: flags read"),
    "console.view_flag": N_("Console: flag read"),
    "console.view_sample": N_("Console: sample read"),
    "console.view_samples": N_("Console: samples read"),
    "console.view_witness": N_("Console: witness page read"),
    "console.view_users": N_("Console: accounts read"),
    "console.find_patient": N_("Console: patient looked up"),
    "console.check_proof": N_("Console: proof checked"),
    "console.user_create": N_("Console: account created"),
    "console.user_change": N_("Console: account changed"),
    "console.witness_request": N_("Console: witness request"),
    "console.witness_import": N_("Console: witness answer"),
    "gateway.chat": N_("Question to the AI"),
    "gateway.started": N_("AI gateway started"),
    "gateway.stopped": N_("AI gateway stopped"),
    "emergency.access": N_("Emergency access"),
    "data.import": N_("Records imported"),
    "data.export": N_("Records exported"),
    "deid.apply": N_("Records de-identified"),
    "knowledge.search": N_("Knowledge base searched"),
    "models.promote": N_("Model promoted"),
    "models.rollback": N_("Model rolled back"),
    "console.view_decisions": N_("Console: decisions read"),
    "console.view_evidence": N_("Console: evidence form read"),
    "console.witness_trust": N_("Console: witness accepted"),
    "console.started": N_("Console started"),
    "console.stopped": N_("Console stopped"),
    "console.error": N_("Console: fault"),
    "audit.shard_opened": N_("Part of the log opened"),
    "audit.shard_closed": N_("Part of the log closed"),
    "audit.started": N_("Log started"),
    "audit.stopped": N_("Log stopped"),
    "audit.export": N_("Evidence or export written"),
}
# HL7 v3 PurposeOfUse, as IHE BALP asks for it.
PURPOSES: Final = {
    "TREAT": N_("Treatment"),
    "ETREAT": N_("Emergency treatment"),
    "HOPERAT": N_("Hospital operations"),
    "HRESCH": N_("Research"),
    "BTG": N_("Emergency access (break the glass)"),
}
CRUDE: Final = {
    "C": N_("Create"),
    "R": N_("Read"),
    "U": N_("Update"),
    "D": N_("Delete"),
    "E": N_("Execute"),
}
FIELDS: Final = {
    "time": N_("Time (producer)"),
    "action": N_("Event"),
    "phase": N_("Phase"),
    "outcome": N_("Outcome"),
    "reason": N_("Reason"),
    "user": N_("User"),
    "role": N_("Role"),
    "session": N_("Session"),
    "purpose": N_("Purpose"),
    "ip": N_("Address"),
    "patient": N_("Patient (pseudonym)"),
    "object_id": N_("Object"),
    "category": N_("Category"),
    "origin": N_("Origin"),
    "request_id": N_("Request"),
    "break_glass": N_("Emergency access"),
    "justification": N_("Justification"),
    "policy": N_("Policy"),
    "model": N_("Model"),
    "adapter": N_("Adapter"),
    "dataset": N_("Dataset"),
    "prompt_template": N_("Prompt template"),
    "component": N_("Component"),
    "type": N_("DICOM type"),
    "subtype": N_("DICOM subtype"),
    "crude": N_("Kind of access"),
    "id": N_("Event id"),
    "intent": N_("Answers the intent"),
    "counter": N_("Monotonic counter"),
    "sealed": N_("Sealed detail"),
}
# What errors of the console say to people; the classes themselves speak English.
ERRORS: Final = (
    N_("The account cannot be made or changed like this."),
    N_("Correct what is named; `appliance console user list` shows the accounts."),
    N_("The role of this account does not allow it."),
    N_("Ask somebody whose role allows it; roles are listed in docs/officers/en/console.md."),
    N_("The review or sign-off breaks a rule of the four eyes."),
    N_("Have a second person with another account, not concerned by the event, do it."),
    N_("The form holds something that cannot be used."),
    N_("Correct the field and send the form again."),
    N_("a second person"),
    N_("the person who gave the determination"),
    N_("somebody whom the event does not concern"),
    N_("the person who acted in it"),
    N_("the newest determination of this item"),
    N_("none, or a newer one"),
    N_("Open the item again and read what stands there now."),
    N_("an open item"),
    N_("one that is signed off"),
    N_("a comment of at most 24 words without identifiers"),
    N_("a CPF or CNS number"),
    N_("an e-mail address"),
    N_("a telephone number"),
    N_("a password that is not made of the name or of a few characters"),
    N_("such a one"),
    N_("the six digits that the app shows now"),
    N_("another code"),
    N_("Check the clock of the telephone and type the code it shows."),
    N_("an account and its invitation, used in time"),
    N_("no such invitation"),
    N_("Ask an administrator for a new invitation."),
    N_("a name of 2 to 32 small letters, digits, '.', '-' or '_'"),
    N_("another form"),
    N_("the form of this session"),
    N_("another or none"),
    N_("Go back, load the page again and send the form once more."),
    N_("a date"),
    N_("an account other than your own"),
    N_("your own"),
    N_("a justification or comment"),
    N_("none"),
    N_("The page or entry is not there."),
    N_("The audit log cannot be written, so nothing is shown."),
)
