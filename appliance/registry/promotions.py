"""Which model is served: derived from the audit log, and from nothing else.

The gateway serves only a hash that a promotion in the audit log names. There is no file that says
"current": who can write a file could serve what nobody approved. A promotion is an action in the
log with the hashes; roll-back is one too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from appliance.audit.recorder import Recorder
from appliance.core.errors import (
    ApplianceError,
    ApprovalMissingError,
    GateRefusedError,
    ModelUnknownError,
)
from appliance.registry.store import ModelStore

PROMOTE = "models.promote"
ROLLBACK = "models.rollback"
APPROVE = "models.approve"
CONSOLE = "console"  # the component that authenticates people itself


@dataclass(frozen=True)
class LoggedAction:
    """One finished action of the audit log, as far as promotions need it."""

    index: int
    action: str
    object_id: str
    outcome: str
    at: str = ""
    user: str = ""
    uid: int = -1  # who wrote it, as the kernel told the log's writer
    component: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class PromotionLog(Protocol):
    """Reads the promotions back from the audit log."""

    def finished(self, actions: tuple[str, ...]) -> Iterable[LoggedAction]:
        """Return the outcome entries of ``actions``, in log order."""
        ...


@dataclass(frozen=True)
class Verdict:
    """What an evaluation said about a GGUF object."""

    hash: str
    subject: str
    passed: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Promotion:
    """A hash in service, and the entry of the log that put it there."""

    hash: str
    index: int
    at: str
    user: str
    how: Literal["promote", "rollback"]
    evaluation: str | None
    approved_by: str | None


class Promotions:
    """The promotions of one appliance, as its audit log tells them."""

    def __init__(self, log: PromotionLog) -> None:
        """Read from ``log``."""
        self._log = log

    def history(self) -> list[Promotion]:
        """Return every change of the served hash, oldest first."""
        return [
            Promotion(
                hash=entry.object_id,
                index=entry.index,
                at=entry.at,
                user=entry.user,
                how="promote" if entry.action == PROMOTE else "rollback",
                evaluation=entry.detail.get("evaluation"),
                approved_by=entry.detail.get("approved_by"),
            )
            for entry in self._log.finished((PROMOTE, ROLLBACK))
            if entry.outcome == "success"
        ]

    def current(self) -> Promotion | None:
        """Return what is to be served now."""
        history = self.history()
        return history[-1] if history else None

    def previous(self) -> Promotion | None:
        """Return what was served before the current hash, following roll-backs back in time."""
        stack: list[Promotion] = []
        for one in self.history():
            if one.how == "rollback":
                while stack and stack[-1].hash != one.hash:
                    stack.pop()
            elif not stack or stack[-1].hash != one.hash:
                stack.append(one)
        return stack[-2] if len(stack) > 1 else None


@dataclass(frozen=True)
class Approval:
    """Who asks for a promotion and who agreed to it; the mode comes from the settings."""

    mode: Literal["demo", "four_eyes"] = "demo"
    approver: str | None = None

    def refusal(self) -> ApprovalMissingError | None:
        """Return what is missing, or ``None`` when the mode is satisfied."""
        if self.mode == "demo" or self.approver:
            return None
        return ApprovalMissingError(
            expected="the approval of a second person in the audit log "
            "(registry.approval is four_eyes)",
            found="none for this model and this evaluation",
        )

    def detail(self) -> dict[str, Any]:
        """Return what the log keeps of the approval."""
        return {"approval": self.mode} | ({"approved_by": self.approver} if self.approver else {})


def find_approver(
    log: PromotionLog, content: str, evaluation: str, requester: tuple[str, int]
) -> str | None:
    """Return who else approved ``content`` on the strength of ``evaluation``, newest first.

    ``requester`` is (user, user id) of who promotes. The other must have another name, and, unless
    the reviewers' console checked a password, another user id as the kernel reported it: one
    person with two names on one account is one person.
    """
    user, uid = requester
    for entry in reversed(list(log.finished((APPROVE,)))):
        if entry.outcome != "success" or entry.object_id != content:
            continue
        if entry.detail.get("evaluation") != evaluation or not entry.user:
            continue
        other = entry.component == CONSOLE or entry.uid != uid
        if other and entry.user.casefold() != user.casefold():
            return entry.user
    return None


def approve(store: ModelStore, content: str, verdict: Verdict, recorder: Recorder) -> str:
    """Record that this person agrees to serve ``content``; return its hash.

    Raises:
        GateRefusedError: the evaluation said no, or is about another model.
    """
    manifest = store.get(content)
    with recorder.action(
        APPROVE, object_id=manifest.hash, detail={"evaluation": verdict.hash}
    ) as act:
        refusal = _gate_refusal(manifest.hash, verdict)
        if refusal is not None:
            act.refuse(refusal.id)
    if refusal is not None:
        raise refusal
    return manifest.hash


def promote(
    store: ModelStore,
    content: str,
    verdict: Verdict,
    recorder: Recorder,
    approval: Approval,
) -> str:
    """Put the GGUF object ``content`` into service; return its hash.

    Raises:
        GateRefusedError: the evaluation said no, or is about another model.
        ApprovalMissingError: four eyes are asked for and only two looked.
        StateDamagedError: the files are no longer what the hash says.
    """
    manifest = store.get(content)
    detail = {"evaluation": verdict.hash, "kind": manifest.kind} | approval.detail()
    detail |= {k: v for k, v in manifest.links.items() if k in {"base_gguf", "adapter"}}
    with recorder.action(PROMOTE, object_id=manifest.hash, detail=detail) as act:
        refusal: ApplianceError | None = _gate_refusal(manifest.hash, verdict)
        refusal = refusal or approval.refusal()
        if refusal is None:
            store.serving(manifest.hash)
        else:
            act.refuse(refusal.id)
    if refusal is not None:
        raise refusal
    return manifest.hash


def _gate_refusal(content: str, verdict: Verdict) -> GateRefusedError | None:
    if verdict.subject != content:
        return GateRefusedError(
            expected=f"an evaluation of {content}", found=f"one of {verdict.subject}"
        )
    if not verdict.passed:
        return GateRefusedError(
            expected="every threshold of the recipe's gate held",
            found="; ".join(verdict.reasons) or "the evaluation said no",
        )
    return None


def rollback(
    store: ModelStore, promotions: Promotions, recorder: Recorder, approval: Approval
) -> str:
    """Put the hash that was served before back into service; return it.

    Four eyes are not asked for: stepping back to what was approved must be quick.

    Raises:
        ModelUnknownError: nothing was served before.
        StateDamagedError: its files are no longer what the hash says.
    """
    current, previous = promotions.current(), promotions.previous()
    if current is None or previous is None:
        raise ModelUnknownError(
            expected="an earlier promotion in the audit log",
            found="none",
            remedy="Promote another model instead; `appliance models list` shows them.",
        )
    detail = {"from": current.hash, "evaluation": previous.evaluation or ""} | approval.detail()
    with recorder.action(ROLLBACK, object_id=previous.hash, detail=detail):
        store.serving(previous.hash)
    return previous.hash
