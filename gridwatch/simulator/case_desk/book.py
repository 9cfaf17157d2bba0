# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules of the case desk: what a message does to a case, and which step comes next. No Redis here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from gridwatch.simulator.case_desk.store import CaseFile, CaseStore
from gridwatch.simulator.case_desk.wire import CHINA, IncidentMessage, Reply, Unit, reply_fields

KNOWN_RUN_MODES = ("actual", "exercise", "test")
OVER = ("closed", "rejected", "voided")
_CHINESE = {
    "reported": "收到",
    "accepted": "受理",
    "dispatched": "派遣",
    "signed": "签收",
    "handled": "办理完毕",
    "verified": "核查通过",
    "closed": "结案",
    "voided": "作废",
    "rejected": "不予受理",
    "reopened": "重新打开",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """How the desk works.

    Attributes:
        source: the name that its replies carry.
        step_s: seconds between two steps of a case.
        gap_wait_s: how long a message waits for an earlier one of its incident that has not come.
        accept_exercise: whether run modes exercise and test open cases too.
    """

    source: str
    step_s: float
    gap_wait_s: float
    accept_exercise: bool


class CaseBook:
    """Takes messages and time, keeps cases, and puts replies in line. Each call is one transaction.

    `now` gives seconds of the epoch: steps must fall due across a restart, so no monotonic clock serves here.
    `tell` gets one short line for each thing that happened, after it was recorded.
    """

    def __init__(
        self, store: CaseStore, rules: Rules, now: Callable[[], float], tell: Callable[[str], None]
    ) -> None:
        self._store, self._rules, self._now, self._tell = store, rules, now, tell
        self._lines: list[str] = []

    def receive(self, message: IncidentMessage) -> None:
        """Take one message: answer it, and let it change its case if it is the next one of its incident."""
        with self._recorded():
            file = self._store.file_of(message.source, message.incident_id) or self._register(message)
            seen = self._store.seen_sha256(message)
            if seen is not None:
                self._say_receipt(file, message, "duplicate" if seen == message.sha256 else "conflict")
            elif message.revision <= file.revision:
                self._store.remember(message, file.case_id)
                self._say_receipt(file, message, "duplicate")
            elif message.previous > file.revision:
                self._store.remember(message, file.case_id, self._now() + self._rules.gap_wait_s)
                self._say_receipt(
                    file, message, "stored", f"waits for revision {message.previous} 等待前一修订"
                )
            else:
                self._store.remember(message, file.case_id)
                self._say_receipt(file, message, "stored")
                self._apply(file, message)
                self._release_held(file)
            self._store.save(file)

    def advance(self) -> None:
        """Take every step that is due, and stop waiting for messages that have not come in time."""
        with self._recorded():
            for case_id in self._store.overdue_held_cases(self._now()):
                file = self._store.file(case_id)
                self._skip_gap(file)
                self._store.save(file)
            for file in self._store.due_files(self._now()):
                self._take_step(file)
                self._store.save(file)

    def _register(self, message: IncidentMessage) -> CaseFile:
        day = datetime.fromtimestamp(self._now(), CHINA)
        case_id = f"AJ-{day:%Y%m%d}-{self._store.next_number():06d}"
        return CaseFile(case_id, message.source, message.incident_id, message.title)

    def _release_held(self, file: CaseFile) -> None:
        for message in self._store.held_messages(file):
            if message.previous > file.revision:
                return
            self._store.release(message)
            self._apply(file, message)

    def _skip_gap(self, file: CaseFile) -> None:
        message = self._store.held_messages(file)[0]
        self._lines.append(
            f"{file.case_id} revision {message.previous} never came 缺少修订, goes on with {message.revision}"
        )
        self._store.release(message)
        self._apply(file, message)
        self._release_held(file)

    def _apply(self, file: CaseFile, message: IncidentMessage) -> None:
        file.revision, file.title = message.revision, message.title or file.title
        if message.run_mode not in KNOWN_RUN_MODES:
            self._say(
                file,
                "rejected",
                answers=message.message_id,
                reason=f"unknown run_mode {message.run_mode!r}"[:80],
            )
        elif message.voids:
            self._void(file, message)
        elif message.confirmed and not file.plan and file.state in {"registered", "voided"}:
            self._open(file, message)

    def _void(self, file: CaseFile, message: IncidentMessage) -> None:
        file.plan, file.due_at = [], None
        if file.state not in OVER:
            merged_into = message.data.get("merged_into")
            reason = f"merged into {merged_into}"[:80] if merged_into else "dismissed"
            self._say(file, "voided", answers=message.message_id, reason=reason)

    def _open(self, file: CaseFile, message: IncidentMessage) -> None:
        if message.run_mode != "actual" and not self._rules.accept_exercise:
            self._lines.append(f"{file.case_id} run mode {message.run_mode}: no case is opened 演练不立案")
            return
        file.lead, file.assist = message.lead_unit(), message.assist_unit()
        file.answers = message.message_id
        file.plan = _plan("reopened" if file.was_accepted else "accepted", assisted=file.assist is not None)
        file.due_at = self._now() + self._rules.step_s

    def _take_step(self, file: CaseFile) -> None:
        word, role = file.plan.pop(0)
        unit = file.lead if role == "lead" else file.assist if role == "assist" else None
        answers, file.answers = file.answers, None
        file.was_accepted = True
        self._say(file, word, answers=answers, unit=unit, role=role)
        file.due_at = self._now() + self._rules.step_s if file.plan else None

    def _say_receipt(
        self, file: CaseFile, message: IncidentMessage, outcome: str, note: str | None = None
    ) -> None:
        file.case_revision += 1
        self._queue(file, "reported", answers=message.message_id, outcome=outcome, note=note)
        mark = "CONFLICT 冲突" if outcome == "conflict" else outcome
        self._lines.append(
            f"{file.case_id} 收到 {file.title} {message.message_id} {mark}" + (f" ({note})" if note else "")
        )

    def _say(
        self,
        file: CaseFile,
        word: str,
        *,
        answers: str | None = None,
        unit: Unit | None = None,
        role: str | None = None,
        reason: str | None = None,
    ) -> None:
        file.state = word
        file.case_revision += 1
        self._queue(file, word, answers=answers, unit=unit, role=role, reason=reason)
        details = " ".join(part for part in (unit.name if unit else "", role or "", reason or "") if part)
        self._lines.append(f"{file.case_id} {_CHINESE[word]} {word} {details}".rstrip())

    def _queue(self, file: CaseFile, word: str, **details: object) -> None:
        reply = Reply(
            word=word,
            incident_id=file.incident_id,
            case_id=file.case_id,
            case_revision=file.case_revision,
            at=datetime.fromtimestamp(self._now(), CHINA),
            **details,  # type: ignore[arg-type]
        )
        self._store.queue_reply(reply_fields(reply, self._rules.source))

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        self._lines.clear()
        with self._store.transaction():
            yield
        for line in self._lines:
            self._tell(line)


def _plan(first: str, *, assisted: bool) -> list[tuple[str, str | None]]:
    units = ["lead", "assist"] if assisted else ["lead"]
    steps: list[tuple[str, str | None]] = [(first, None)]
    steps += [("dispatched", role) for role in units]
    steps += [("signed", role) for role in units]
    return [*steps, ("handled", "lead"), ("verified", None), ("closed", None)]
