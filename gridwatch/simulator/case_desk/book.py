# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of the case desk: what a message does to a case, and which step comes next. No queue here."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from gridwatch.simulator.case_desk.plan import DECISIONS, OVER, REWORK, USUAL_WAY, WAIT, Step, expand
from gridwatch.simulator.case_desk.script import Script
from gridwatch.simulator.case_desk.store import CaseFile, CaseStore
from gridwatch.simulator.case_desk.voice import Voice
from gridwatch.simulator.case_desk.wire import CHINA, IncidentMessage

KNOWN_RUN_MODES = ("actual", "exercise", "test")
_BEFORE_A_CASE = ("registered", "voided")
_ENDS_THE_PLAN = (*OVER, "returned")
KEPT_FIELDS, KEPT_CHARS = 100, 200
_AFTER_REWORK = tuple(Step(say=word) for word in ("verified", "closed"))


@dataclass(frozen=True, slots=True)
class Rules:
    """How the desk works.

    Attributes:
        source: the name that its replies carry.
        step_s: seconds between two steps of a case.
        gap_wait_s: how long a message waits for an earlier one of its incident that has not come.
        accept_exercise: whether run modes exercise and test open cases too.
        script: which incidents go another way than the usual one.
    """

    source: str
    step_s: float
    gap_wait_s: float
    accept_exercise: bool
    script: Script = field(default_factory=Script)


class CaseBook:
    """Takes messages, orders and time, keeps cases, and puts replies in line. Each call is one transaction.

    `now` gives seconds of the epoch: steps must fall due across a restart, so no monotonic clock serves here.
    `tell` gets one short line for each thing that happened, after it was recorded.
    """

    def __init__(
        self, store: CaseStore, rules: Rules, now: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self._store, self._rules, self._now, self._tell = store, rules, now, tell
        self._voice = Voice(store, rules.source, now)

    def receive(self, message: IncidentMessage) -> None:
        """Take one message: answer it, and let it change its case if it is the next one of its incident."""
        with self._recorded():
            file = self._store.file_of(message.source, message.incident_id) or self._register(message)
            seen = self._store.seen_sha256(message)
            if seen is not None:
                outcome = "duplicate" if seen == message.sha256 else "conflict"
                self._voice.receipt(file, message.message_id, outcome)
            elif message.revision <= file.revision:
                self._store.remember(message, file.file_id)
                self._voice.receipt(file, message.message_id, "duplicate")
            elif message.previous > file.revision:
                self._store.remember(message, file.file_id, self._now() + self._rules.gap_wait_s)
                note = f"waits for revision {message.previous} 等待前一修订"
                self._voice.receipt(file, message.message_id, "stored", note)
            else:
                self._store.remember(message, file.file_id)
                self._acknowledge(file, message)
                self._apply(file, message)
                self._release_held(file)
            self._store.save(file)

    def advance(self) -> None:
        """Obey orders, take every step that is due, and stop waiting for messages that have not come in time."""
        with self._recorded():
            for file_id, step in self._store.take_orders():
                if (ordered := self._store.find(file_id)) is not None:
                    self._obey(ordered, step)
                    self._store.save(ordered)
            for file_id in self._store.overdue_held_files(self._now()):
                file = self._store.file(file_id)
                self._skip_gap(file)
                self._store.save(file)
            for file in self._store.due_files(self._now()):
                self._take_step(file)
                self._store.save(file)

    def _register(self, message: IncidentMessage) -> CaseFile:
        day = datetime.fromtimestamp(self._now(), CHINA)
        number = f"AJ-{day:%Y%m%d}-{self._store.next_number():06d}"
        case_id = self._rules.script.rule_for(message).case or number
        return CaseFile(number, case_id, message.source, message.incident_id, message.title)

    def _acknowledge(self, file: CaseFile, message: IncidentMessage) -> None:
        """Answer a message that takes effect; the first one of an incident as the script has it."""
        rule = self._rules.script.rule_for(message)
        outcome = rule.receipt if file.revision == 0 else "stored"
        note = "one with a person's report 与人工上报并案" if outcome == "merged" else None
        self._voice.receipt(file, message.message_id, outcome, note)

    def _release_held(self, file: CaseFile) -> None:
        for message in self._store.held_messages(file):
            if message.previous > file.revision:
                return
            self._store.release(message)
            self._apply(file, message)

    def _skip_gap(self, file: CaseFile) -> None:
        message = self._store.held_messages(file)[0]
        self._voice.tell(
            f"{file.case_id} revision {message.previous} never came 缺少修订, goes on with {message.revision}"
        )
        self._store.release(message)
        self._apply(file, message)
        self._release_held(file)

    def _apply(self, file: CaseFile, message: IncidentMessage) -> None:
        first = file.revision == 0
        file.revision, file.title = message.revision, message.title or file.title
        file.message = _kept(message.data)
        if message.run_mode not in KNOWN_RUN_MODES:
            file.plan, file.due_at = [], None
            reason = f"unknown run_mode {message.run_mode!r}"[:80]
            self._voice.say(file, Step(say="rejected", reason=reason), message.message_id)
        elif message.voids:
            self._void(file, message)
        elif message.confirmed and not file.confirmed and file.state in _BEFORE_A_CASE:
            self._open(file, message)
        elif first:
            file.plan = list(self._rules.script.rule_for(message).when_reported)
            self._schedule(file)
        elif file.plan and file.plan[0].say == WAIT:
            del file.plan[0]
            self._schedule(file)

    def _void(self, file: CaseFile, message: IncidentMessage) -> None:
        if file.state not in OVER:
            merged_into = message.data.get("merged_into")
            reason = f"merged into {merged_into}"[:80] if merged_into else "dismissed"
            self._end(file, reason, message.message_id)
        file.plan, file.due_at, file.confirmed = [], None, False

    def _end(self, file: CaseFile, reason: str, answers: str) -> None:
        file.plan, file.due_at, file.confirmed = [], None, False
        self._voice.say(file, Step(say="voided", reason=reason), answers)

    def _open(self, file: CaseFile, message: IncidentMessage) -> None:
        if message.run_mode != "actual" and not self._rules.accept_exercise:
            file.plan, file.due_at = [], None
            self._voice.tell(f"{file.case_id} run mode {message.run_mode}: no case is opened 演练不立案")
            return
        rule = self._rules.script.rule_for(message)
        file.confirmed, file.answers = True, message.message_id
        file.units = rule.units or message.units()
        file.plan = expand(rule.when_confirmed, file.units)
        if file.was_accepted and file.plan and file.plan[0].say == "accepted":
            file.plan[0] = replace(file.plan[0], say="reopened")
        self._schedule(file)

    def _take_step(self, file: CaseFile) -> None:
        step = file.plan.pop(0)
        if step.say in DECISIONS:
            self._decide(file, step)
            return
        self._say(file, step)
        self._schedule(file)

    def _say(self, file: CaseFile, step: Step) -> None:
        answers, file.answers = file.answers, None
        file.was_accepted = file.was_accepted or step.say == "accepted"
        self._voice.say(file, step, answers)

    def _decide(self, file: CaseFile, step: Step) -> None:
        """Decide on the desk's own screen. gridwatch echoes nothing, so what follows of it is done here at once."""
        self._voice.decide(file, step)
        message = self._last_message(file)
        if step.say == "confirmed" and not file.confirmed and file.state in _BEFORE_A_CASE:
            self._open(file, message)
        elif step.say == "dismissed" and file.state not in OVER:
            self._end(file, step.reason or "dismissed", message.message_id)
        else:
            self._schedule(file)

    def _obey(self, file: CaseFile, step: Step) -> None:
        """Do what a person at the desk asked for, now."""
        message_id = f"{file.incident_id}:{file.revision}"
        if step.say in DECISIONS:
            self._decide(file, step)
        elif step.say == "merged":
            file.case_id = step.case or file.case_id
            self._voice.receipt(file, message_id, "merged", step.note)
        elif step.say == "conflict":
            self._voice.receipt(file, message_id, "conflict", step.note)
        elif step.say == REWORK:
            file.plan = expand([replace(step, after_s=0.0), *_AFTER_REWORK], file.units)
            self._schedule(file)
        else:
            for one in expand([step], file.units):
                self._say(file, one)
            if step.say in _ENDS_THE_PLAN:
                file.plan, file.due_at = [], None
            elif step.say == "reopened":
                file.plan = expand(USUAL_WAY[1:], file.units)
                self._schedule(file)

    def _last_message(self, file: CaseFile) -> IncidentMessage:
        return IncidentMessage(
            message_id=f"{file.incident_id}:{file.revision}",
            source=file.source,
            type="",
            incident_id=file.incident_id,
            revision=file.revision,
            previous=0,
            sha256="",
            data=file.message,
        )

    def _schedule(self, file: CaseFile) -> None:
        if not file.plan or file.plan[0].say == WAIT:
            file.due_at = None
            return
        after_s = file.plan[0].after_s
        file.due_at = self._now() + (self._rules.step_s if after_s is None else after_s)

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        self._voice.take_lines()
        with self._store.transaction():
            yield
        for line in self._voice.take_lines():
            self._tell(line)


def _kept(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a script may match and a case needs: plain values of bounded size and number."""
    plain = {
        name: value
        for name, value in data.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= KEPT_CHARS)
    }
    return dict(list(plain.items())[:KEPT_FIELDS])
