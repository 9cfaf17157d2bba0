# SPDX-License-Identifier: AGPL-3.0-or-later
"""The book of operations alerts and of cameras' days: what keeps cameras from seeing, opened, updated and ended.

Not the journal, not the case queue: nothing here becomes a case. What belongs together is decided in `troubles`. While the
store does not answer, what changed is kept and written when it does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import Final

import structlog

from events.operations_alert import Member, OperationsAlert, first_members
from events.spells import Spell
from events.stores import operations as rows
from events.stores.operations import SECONDS, AlertsWanted
from events.stores.sql import Store
from events.troubles import (
    HIDES_PICTURE,
    Group,
    Onset,
    Trouble,
    TroubleKind,
    TroubleRules,
    grouped,
    troubles_of,
)
from gridwatch.core.camera import CameraStatus
from gridwatch.core.clock import Clock
from gridwatch.core.coverage import CameraDay
from gridwatch.core.ids import uuid7

log = structlog.get_logger()

OPEN_MOST: Final = 10_000  # alerts that are read at the start; there are never so many as there are cameras
UPDATE_EVERY_S: Final = 15.0  # a storm grows for a minute: not every camera of it is worth a write
DAYS_AT_ONCE: Final = 500
DAYS_PENDING_MOST: Final = 100_000  # rows that wait for a store that does not answer

_Key = tuple[TroubleKind, str]


@dataclass(slots=True)
class _Told:
    """An open alert, when the first and the last of what it tells began, and whether the store has it as it is."""

    alert: OperationsAlert
    first_onset_mono_s: float
    last_onset_mono_s: float
    written_mono_s: float
    changed: bool = False
    urgent: bool = False


class Operations:
    """Keeps the operations alerts up to date. For one thread; reads the store at its first step.

    Attributes:
        open_alerts: those that are open, as the last step left them; any thread may look.
    """

    def __init__(self, store: Store, clock: Clock, rules: TroubleRules | None = None) -> None:
        self._store, self._clock, self._rules = store, clock, rules or TroubleRules()
        self._spells: dict[_Key, Spell] = {}  # one a trouble that stands, or stood in the last minutes
        self._told: dict[str, _Told] = {}
        self._over: dict[str, OperationsAlert] = {}  # ended, not written yet
        self._loaded = False
        self._stepped_mono_s: float | None = None
        self.open_alerts: tuple[OperationsAlert, ...] = ()
        self._days: dict[tuple[str, date], CameraDay] = {}

    def step(
        self,
        statuses: Sequence[CameraStatus],
        hosts: Mapping[str, str],
        others: Iterable[Trouble] = (),
    ) -> None:
        """Open, update and end alerts after what is wrong now.

        Args:
            statuses: of every camera; one that is missing is taken for well.
            hosts: by camera id, what it is reached through (`Camera.reached_through`).
            others: what is wrong beside the cameras: a device that is lost, an exercise that did not arrive.

        Raises:
            StoreError: the database does not answer; nothing is lost, the next step writes it.
        """
        now_mono_s = self._clock.mono_s()
        self._load(now_mono_s)
        troubles = [*troubles_of(statuses, hosts, self._clock.now()), *others]
        changed = self._see(troubles, now_mono_s)
        changed |= self._leave(now_mono_s, {status.camera_id for status in statuses if status.waits})
        self._join(now_mono_s)
        self._bring_up_to_date(changed)
        self.open_alerts = tuple(told.alert for told in self._told.values())
        self._write(now_mono_s)

    def add_days(self, days: Iterable[CameraDay]) -> None:
        """Add what cameras saw since the last call to their days.

        Raises:
            StoreError: the database does not answer; what was given is kept, and written with the next call.
        """
        for day in days:
            key = day.camera_id, day.day
            if key not in self._days and len(self._days) >= DAYS_PENDING_MOST:
                continue
            known = self._days.get(key)
            self._days[key] = day if known is None else _sum(known, day)
        while self._days:  # in parts: whoever records an incident waits for one of them only
            some = list(islice(self._days.items(), DAYS_AT_ONCE))
            with self._store.write() as tx:
                rows.add_days(tx.connection, [_values(day) for _, day in some])
            for key, _ in some:
                del self._days[key]

    def _load(self, now_mono_s: float) -> None:
        """Take up what was open when the process before ended: its cameras may still be away."""
        if self._loaded:
            return
        with self._store.read() as connection:
            found = rows.page(connection, AlertsWanted(open_only=True), OPEN_MOST)
        now = self._clock.now()
        for values in found:
            alert = OperationsAlert.of_row(values)
            began = [member.since for member in alert.members] or [alert.began_at]
            # as old as they are: what begins after the restart is another happening
            onsets = [now_mono_s - max(0.0, (now - at).total_seconds()) for at in began]
            self._told[alert.alert_id] = _Told(alert, min(onsets), max(onsets), now_mono_s)
            for member, onset_mono_s in zip(alert.members, onsets, strict=False):
                trouble = _trouble_of(alert, member)
                self._spells[trouble.key] = Spell(trouble, now_mono_s, onset_mono_s, alert.alert_id)
        self._loaded = True

    def _see(self, troubles: Iterable[Trouble], now_mono_s: float) -> set[str]:
        """Note what stands now; return the alerts of which a member says something else than before."""
        before_mono_s = now_mono_s if self._stepped_mono_s is None else self._stepped_mono_s
        self._stepped_mono_s = now_mono_s
        changed = set()
        for trouble in troubles:
            spell = self._spells.get(trouble.key)
            if spell is None:
                spell = self._spells[trouble.key] = Spell(trouble, now_mono_s, now_mono_s)
            if spell.see(trouble, now_mono_s, before_mono_s) and spell.alert_id is not None:
                changed.add(spell.alert_id)
        return changed

    def _leave(self, now_mono_s: float, waiting: set[str]) -> set[str]:
        """Forget what has been gone for long enough; return the alerts that it belonged to.

        Not while its camera has another trouble that is young, or waits for its first turn: nobody knows then. And of a
        picture nobody knows anything as long as there is none, however long that is.
        """
        rules, left = self._rules, set[str]()
        standing = [spell for spell in self._spells.values() if spell.last_mono_s == now_mono_s]
        young = (spell for spell in standing if now_mono_s - spell.stands_since_mono_s < rules.lasting_s)
        unsettled = waiting | {spell.trouble.subject for spell in young}
        hidden = waiting | {
            spell.trouble.subject for spell in standing if spell.trouble.kind in HIDES_PICTURE
        }
        for key, spell in list(self._spells.items()):
            spell.forget_before(now_mono_s - rules.within_s)
            if spell.trouble.kind is TroubleKind.PICTURE and spell.trouble.subject in hidden:
                spell.hidden_mono_s = now_mono_s
            if (
                spell.alert_id is not None
                and spell.is_well(now_mono_s, rules)
                and spell.trouble.subject not in unsettled
            ):
                left.add(spell.alert_id)
                spell.leave()
            if spell.forgotten:
                del self._spells[key]
        return left

    def _join(self, now_mono_s: float) -> None:
        """Put what has lasted into alerts: those there are, or new ones."""
        rules = self._rules
        standing = [
            (spell, Onset(spell.trouble, spell.onset_mono_s), spell.stood_s(now_mono_s, rules.within_s))
            for spell in self._spells.values()
            if spell.last_mono_s == now_mono_s
        ]
        fresh = [
            onset
            for spell, onset, stood_s in standing
            if spell.alert_id is None and stood_s >= rules.lasts_s(onset.trouble.kind)
        ]
        if not fresh:
            return
        likely = [onset for _, onset, stood_s in standing if stood_s >= rules.likely_s] or fresh
        known = [
            Group(
                alert_id, told.alert.kind, told.alert.place, told.first_onset_mono_s, told.last_onset_mono_s
            )
            for alert_id, told in self._told.items()
        ]
        for group in grouped(fresh, likely, known, rules):
            told = self._open(group, now_mono_s) if group.alert_id is None else self._told[group.alert_id]
            told.last_onset_mono_s, told.changed = group.last_onset_mono_s, True
            for onset in group.joining:
                self._spells[onset.trouble.key].alert_id = told.alert.alert_id

    def _open(self, group: Group, now_mono_s: float) -> _Told:
        now = self._clock.now()
        began_at = min(onset.trouble.began_at for onset in group.joining)
        alert = OperationsAlert(
            alert_id=uuid7(now), kind=group.kind, place=group.place, began_at=began_at, opened_at=now,
            updated_at=now, ended_at=None, count=0, most=0, members=(),
        )  # fmt: skip
        told = self._told[alert.alert_id] = _Told(
            alert, group.first_onset_mono_s, group.last_onset_mono_s, now_mono_s, urgent=True
        )
        return told

    def _bring_up_to_date(self, touched: set[str]) -> None:
        """Make every changed alert say what its members are now, and end those that have none."""
        changed = {alert_id for alert_id, told in self._told.items() if told.changed} | touched
        if not changed:
            return
        members: dict[str, list[Member]] = {alert_id: [] for alert_id in changed}
        for spell in self._spells.values():
            if spell.alert_id in members:
                members[spell.alert_id].append(Member.of(spell.trouble))
        now = self._clock.now()
        for alert_id, found in members.items():
            told = self._told[alert_id]
            count = len(found)
            if count == 0:
                self._end(alert_id)
                continue
            told.changed = True
            told.alert = replace(
                told.alert,
                updated_at=now,
                count=count,
                most=max(count, told.alert.most),
                members=first_members(found),
            )

    def _end(self, alert_id: str) -> None:
        alert, now = self._told.pop(alert_id).alert, self._clock.now()
        self._over[alert_id] = replace(alert, updated_at=now, ended_at=now, count=0)

    def _write(self, now_mono_s: float) -> None:
        due = [
            told
            for told in self._told.values()
            if told.changed and (told.urgent or now_mono_s - told.written_mono_s >= UPDATE_EVERY_S)
        ]
        if not due and not self._over:
            return
        with self._store.write() as tx:
            for alert in (*(told.alert for told in due), *self._over.values()):
                rows.save(tx.connection, alert.values())
        for told in due:
            if told.urgent:
                _say("operations_alert_opened", told.alert)
            told.changed = told.urgent = False
            told.written_mono_s = now_mono_s
        for alert in self._over.values():
            _say("operations_alert_ended", alert)
        self._over = {}


def _say(event: str, alert: OperationsAlert) -> None:
    told = {"kind": alert.kind.value, "what": alert.title()["en"], "since": str(alert.began_at)}
    if alert.ended_at is None:
        log.warning(event, id=alert.alert_id, **told)
    else:
        log.info(event, id=alert.alert_id, **told)


def _trouble_of(alert: OperationsAlert, member: Member) -> Trouble:
    return Trouble(
        kind=alert.kind, subject=member.subject, place=alert.place, fault=member.fault,
        reason=member.reason, began_at=member.since, name=member.name, host=member.host,
    )  # fmt: skip


def _sum(one: CameraDay, more: CameraDay) -> CameraDay:
    return replace(one, **{name: getattr(one, name) + getattr(more, name) for name in SECONDS})


def _values(day: CameraDay) -> dict[str, object]:
    seconds = {name: float(getattr(day, name)) for name in SECONDS}
    return {"camera_id": day.camera_id, "day": day.day.isoformat(), **seconds}
