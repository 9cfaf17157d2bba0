# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes one change: the journal row, the message frozen in it where one is due, and the incident as it is then.

Whether a row is due as a message is decided here, once, by the policy of that moment. What the case system told us is
never a message: nothing is echoed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from events.alerts import Decision
from events.compose import compose
from events.incident import Incident
from events.joining import Change
from events.messages import INCIDENT_TYPE
from events.policy import Policy, Push
from events.stores.writing import Entry, Writer

_TYPES: Mapping[str, str] = {
    "unseen": "updated",
    "seen": "updated",
}  # row kinds that are no message type themselves
_TOLD = ("severity", "lane", "activity", "decision", "case", "case_id", "clip", "still")


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who changed something, when and why.

    Attributes:
        actor: machine, operator:<name> or case:<source>.
        extra: what else the row keeps (a reply as it came).
    """

    actor: str
    at: datetime
    reason: str | None = None
    note: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


class Recording:
    """Writes changes under one policy into a store of one epoch."""

    def __init__(self, policy: Policy, epoch: str) -> None:
        self._policy, self._epoch = policy, epoch

    def write(self, tx: Writer, before: Incident | None, change: Change, act: Act) -> Incident:
        """Write a change made by machine or operator, as a message where one is due; return the incident as it was saved."""
        after = change.after
        if change.kind is None:
            tx.save(after)
            return after
        payload = _payload(before, after, act)
        message_id = None
        if self._due(after):
            message_id = f"{after.alert.id}:{after.alert.revision}"
            payload["message"] = self._message(after, change.kind, act.at)
            after = replace(after, queued_revision=after.alert.revision)
        tx.append(_entry(after, change.kind, act, payload, message_id))
        tx.save(after, new=before is None)
        return after

    def note(self, tx: Writer, before: Incident, after: Incident, kind: str, act: Act) -> int:
        """Write a row that is never a message (an answer, a clip), and the incident; return the row's number."""
        row = tx.append(_entry(after, kind, act, _payload(before, after, act), None))
        tx.save(after)
        return row.seq

    def _due(self, after: Incident) -> bool:
        """Tell whether a row is told. An exercise of a test camera is, whatever is said of its kind: nobody confirms it."""
        if after.alert.run_mode not in {"actual", self._policy.run_mode}:
            return True
        pushed = self._policy.push_of(after.alert.kind) is Push.ON_OPEN or after.queued_revision > 0
        return pushed or after.alert.decision is Decision.CONFIRMED

    def _message(self, after: Incident, kind: str, at: datetime) -> dict[str, Any]:
        return {
            "source": self._policy.source,
            "type": INCIDENT_TYPE.format(_TYPES.get(kind, kind)),
            "previous": after.queued_revision,
            "epoch": self._epoch,
            "data": compose(after, self._policy, at).decode(),
        }


def _entry(
    incident: Incident, kind: str, act: Act, payload: Mapping[str, Any], message_id: str | None
) -> Entry:
    return Entry(
        incident_id=incident.alert.id,
        revision=incident.alert.revision,
        kind=kind,
        actor=act.actor,
        at=act.at,
        payload=payload,
        message_id=message_id,
    )


def _payload(before: Incident | None, after: Incident, act: Act) -> dict[str, Any]:
    changes = []
    for name in _TOLD:
        old = None if before is None else _plain(getattr(before.alert, name))
        new = _plain(getattr(after.alert, name))
        if old != new:
            changes.append({"field": name, "from": old, "to": new})
    payload: dict[str, Any] = {"changes": changes, "facts": dict(after.alert.facts)}
    if act.reason:
        payload["reason"] = act.reason
    if act.note:
        payload["note"] = act.note
    return payload | dict(act.extra)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, str):
        return str(value)
    return getattr(value, "sha256", None) or getattr(value, "state", None)  # a still, a clip
