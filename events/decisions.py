# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether an operator's decision is allowed, and what it makes of the incident. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from events.alerts import DISMISS_SYNONYMS, Decided, Decision, DismissReason
from events.categories import due_of
from events.compose import short
from events.errors import DecisionConflict, IllegalDecision, UnknownRevision
from events.incident import Incident
from events.joining import Change, revised
from events.journal import storable

BY_CHARS = 96
TEXT_CHARS = 500
CASE_SOURCE_CHARS, CASE_BY_CHARS = 48, 40  # with `case:` and a colon they fit BY_CHARS


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What somebody decided; `by` is a pseudonymous staff code, `case:<source>` or `case:<source>:<staff code>`."""

    decision: Decision
    by: str
    reason: str | None
    note: str
    seen_revision: int | None = None


def verdict(decision: str, *, by: str, reason: str | None, note: str, seen_revision: int | None) -> Verdict:
    """Check the words of a decision.

    Raises:
        IllegalDecision: a word is not allowed.
    """
    if decision not in (Decision.CONFIRMED, Decision.DISMISSED):
        raise IllegalDecision(f"a decision is confirmed or dismissed, got {decision!r}")
    if not by.strip():
        raise IllegalDecision("a decision needs somebody who makes it")
    if decision == Decision.DISMISSED:
        reason = DISMISS_SYNONYMS.get(reason or "", reason)
    if decision == Decision.DISMISSED and reason not in set(DismissReason):
        raise IllegalDecision(
            f"a dismissal needs one of these reasons: {', '.join(DismissReason)}; got {reason!r}"
        )
    return Verdict(
        decision=Decision(decision),
        by=short(storable(by.strip()), BY_CHARS),
        reason=None if reason is None else short(str(reason), TEXT_CHARS),
        note=short(note, TEXT_CHARS),
        seen_revision=seen_revision,
    )


def by_case_system(source: str, staff_code: str | None) -> str:
    """Return who decided on a case system's own screen: `case:<source>`, and its staff code where it told one."""
    system = f"case:{short(source, CASE_SOURCE_CHARS)}"
    code = short((staff_code or "").strip(), CASE_BY_CHARS)
    return f"{system}:{code}" if code else system


def decide(incident: Incident, given: Verdict, now: datetime) -> Change | None:
    """Return what the decision changes; None where it repeats the one that stands.

    Raises:
        DecisionConflict: somebody decided since the revision that was seen.
        UnknownRevision: the incident never had the revision that was seen.
        IllegalDecision: another decision stands, and no reason is given for changing it.
    """
    alert, seen = incident.alert, given.seen_revision
    standing = alert.decided
    if seen is not None and not 1 <= seen <= alert.revision:
        raise UnknownRevision(seen, alert.revision)
    if standing is not None:
        if seen is not None and incident.decided_revision > seen:
            raise DecisionConflict(standing.by, standing.at, standing.decision.value, alert.revision)
        if (given.decision, given.reason) == (standing.decision, standing.reason):
            return None
        if given.decision is Decision.CONFIRMED and standing.decision is Decision.CONFIRMED:
            return None
        if not (given.reason or given.note):
            raise IllegalDecision(
                f"{standing.by} {standing.decision.value} it; a change needs a reason or a note"
            )
    decided = Decided(now, given.by, given.decision, given.reason, given.note)
    confirmed_at = now if given.decision is Decision.CONFIRMED else None
    due = due_of(alert.severity, alert.opened_at, confirmed_at)
    after = revised(
        replace(incident, alert=replace(alert, decision=given.decision, decided=decided, due=due)), now
    )
    return Change(given.decision.value, replace(after, decided_revision=after.alert.revision))
