"""Reviews and sign-offs, and who may give them. The state of an item is folded from the log.

A determination and a sign-off are entries whose ``object_id`` names the item and whose ``reason``
says what was decided. Nothing else holds the state: an index thrown away gives the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from appliance.audit import guard
from appliance.console.accounts import User, may
from appliance.core.errors import ConsoleInputError, ReviewRefusedError

REVIEW: Final = "console.review"
SIGN_OFF: Final = "console.sign_off"
DETERMINATIONS: Final = ("appropriate", "inappropriate", "follow_up")
DECISIONS: Final = ("agree", "return")
MAX_COMMENT: Final = 200  # characters; the log's guard takes 24 words and 256 characters

State = Literal["open", "reviewed", "follow_up", "closed"]


class ActRow(Protocol):
    """What the fold needs of an entry (the index's row has it)."""

    @property
    def key(self) -> int: ...  # noqa: D102 - a member, not a method
    @property
    def action(self) -> str: ...  # noqa: D102 - a member, not a method
    @property
    def user(self) -> str | None: ...  # noqa: D102 - a member, not a method
    @property
    def object_id(self) -> str | None: ...  # noqa: D102 - a member, not a method
    @property
    def reason(self) -> str | None: ...  # noqa: D102 - a member, not a method
    @property
    def component(self) -> str: ...  # noqa: D102 - a member, not a method
    @property
    def outcome(self) -> str | None: ...  # noqa: D102 - a member, not a method
    @property
    def at(self) -> str: ...  # noqa: D102 - a member, not a method


@dataclass(frozen=True)
class ItemState:
    """Where an item stands, with the determination that counts and who gave it."""

    state: State = "open"
    determination: str | None = None
    reviewer: str | None = None
    reviewed_at: str | None = None
    review_key: int = 0
    officer: str | None = None
    signed_at: str | None = None

    @property
    def waits(self) -> bool:
        """True while somebody has something to do."""
        return self.state != "closed"


def fold(rows: Iterable[ActRow]) -> dict[str, ItemState]:
    """Return the state of every item named by review and sign-off entries, in any order.

    A sign-off by the reviewer's own account does not count, whoever wrote it into the log.
    """
    states: dict[str, ItemState] = {}
    for row in sorted(rows, key=lambda r: r.key):
        item = row.object_id
        if item is None or row.component != "console" or row.outcome != "success":
            continue
        before = states.get(item, ItemState())
        if row.action == REVIEW and row.reason in DETERMINATIONS and before.state != "closed":
            states[item] = ItemState("reviewed", row.reason, row.user, row.at, row.key)
        elif row.action == SIGN_OFF and before.state == "reviewed" and row.user != before.reviewer:
            states[item] = _signed(before, row)
    return states


def _signed(before: ItemState, row: ActRow) -> ItemState:
    if row.reason == "return":
        return ItemState()
    state: State = "follow_up" if before.determination == "follow_up" else "closed"
    return ItemState(
        state,
        before.determination,
        before.reviewer,
        before.reviewed_at,
        before.review_key,
        row.user,
        row.at,
    )


def check_review(user: User, state: ItemState, subjects: Sequence[str]) -> None:
    """Raise unless ``user`` may determine this item now."""
    _check_role(user, "review", "reviewer")
    _check_not_subject(user, subjects)
    if state.state == "closed":
        raise ReviewRefusedError(expected="an open item", found="one that is signed off")


def check_sign_off(
    user: User, state: ItemState, subjects: Sequence[str], review_key: int, reviewer: User | None
) -> None:
    """Raise unless ``user`` may sign off the determination with this key."""
    _check_role(user, "sign_off", "officer")
    _check_not_subject(user, subjects)
    if state.state != "reviewed" or state.review_key != review_key:
        raise ReviewRefusedError(
            expected="the newest determination of this item",
            found="none, or a newer one",
            remedy="Open the item again and read what stands there now.",
        )
    own = {state.reviewer.casefold()} if state.reviewer else set()
    own |= reviewer.names() if reviewer else set()
    if user.names() & own:
        raise ReviewRefusedError(
            expected="a second person", found="the person who gave the determination"
        )


def _check_role(user: User, permission: str, role: str) -> None:
    if not may(user.role, permission):
        raise ReviewRefusedError(expected=f"the role {role}", found=f"the role {user.role}")


def _check_not_subject(user: User, subjects: Sequence[str]) -> None:
    if user.names() & {name.casefold() for name in subjects}:
        raise ReviewRefusedError(
            expected="somebody whom the event does not concern",
            found="the person who acted in it",
        )


def may_review(user: User, state: ItemState, subjects: Sequence[str]) -> bool:
    """Say whether the form for a determination is of use to ``user``."""
    try:
        check_review(user, state, subjects)
    except ReviewRefusedError:
        return False
    return state.state in {"open", "follow_up"}


def may_sign_off(
    user: User, state: ItemState, subjects: Sequence[str], reviewer: User | None
) -> bool:
    """Say whether the form for a sign-off is of use to ``user``."""
    try:
        check_sign_off(user, state, subjects, state.review_key, reviewer)
    except ReviewRefusedError:
        return False
    return True


def check_comment(text: str) -> str:
    """Return a comment fit for the log; it may hold no identifier and no long text."""
    clean = " ".join(text.split())
    if len(clean) > MAX_COMMENT:
        raise ConsoleInputError(
            expected=f"a comment of at most {MAX_COMMENT} characters", found=f"{len(clean)}"
        )
    found = guard.reason_against(clean)
    if found is not None:
        raise ConsoleInputError(
            expected="a comment of at most 24 words without identifiers", found=found
        )
    return clean
