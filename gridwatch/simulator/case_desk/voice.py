# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the case desk says: numbers its replies, puts them in line, and tells the same in one short line each."""

import uuid
from collections.abc import Callable
from datetime import datetime

from gridwatch.simulator.case_desk.plan import CHINESE, Step, assigned
from gridwatch.simulator.case_desk.store import CaseFile, CaseStore
from gridwatch.simulator.case_desk.wire import (
    CHINA,
    Assignment,
    DecisionMade,
    Reply,
    decision_fields,
    reply_fields,
)


class Voice:
    """Speaks for the desk inside the caller's transaction; `take_lines` gives what there is to print after it."""

    def __init__(self, store: CaseStore, source: str, now: Callable[[], float]) -> None:
        self._store, self._source, self._now = store, source, now
        self._lines: list[str] = []

    def take_lines(self) -> list[str]:
        """Return the lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def tell(self, line: str) -> None:
        """Tell a line without a reply."""
        self._lines.append(line)

    def receipt(self, file: CaseFile, message_id: str, outcome: str, note: str | None = None) -> None:
        """Answer a message: it arrived, and what became of it."""
        self._queue(file, Step(say="reported", note=note), answers=message_id, outcome=outcome)
        mark = {"conflict": "CONFLICT 冲突", "merged": "merged 并案"}.get(outcome, outcome)
        self._lines.append(
            f"{file.case_id} 收到 {file.title} {message_id} {mark}" + (f" ({note})" if note else "")
        )

    def say(self, file: CaseFile, step: Step, answers: str | None = None) -> None:
        """Say a step, and let the case be in that state."""
        part = assigned(step, file.units)
        if part is not None and part.unit not in {one.unit for one in file.units}:
            file.units = (*file.units, part)
        if step.say in CHINESE:
            file.state = step.say
        self._queue(file, step, answers=answers, part=part)
        details = (part.unit.name if part else "", part.role if part else "", step.reason or "")
        shown = " ".join(one for one in details if one)
        self._lines.append(f"{file.case_id} {CHINESE.get(step.say, '')} {step.say} {shown}".rstrip())

    def decide(self, file: CaseFile, step: Step) -> None:
        """Say that the incident was confirmed or dismissed on the desk's own screen."""
        decision = DecisionMade(
            number=f"decision:{uuid.uuid4()}",
            incident_id=file.incident_id,
            decision=step.say,
            at=self._local_now(),
            by=step.by or "d-01",
            reason=step.reason or ("false_alarm" if step.say == "dismissed" else None),
            note=step.note,
            destination=file.source,
        )
        self._put(decision_fields(decision, self._source), step)
        self._lines.append(f"{file.case_id} {CHINESE[step.say]} {step.say} by {decision.by}")

    def _queue(
        self,
        file: CaseFile,
        step: Step,
        *,
        answers: str | None,
        outcome: str | None = None,
        part: Assignment | None = None,
    ) -> None:
        number = None
        revision = self._store.case_revision(file.case_id)
        if step.same_revision and revision:
            number = f"{file.case_id}:{revision}:{uuid.uuid4()}"
        else:
            revision = self._store.next_case_revision(file.case_id)
        reply = Reply(
            word=step.say,
            incident_id=file.incident_id,
            case_id=file.case_id,
            case_revision=revision,
            at=self._local_now(),
            answers=answers,
            outcome=outcome,
            unit=part.unit if part else None,
            role=part.role if part else None,
            reason=step.reason,
            note=step.note,
            number=number,
            destination=file.source,
        )
        self._put(reply_fields(reply, self._source), step)

    def _put(self, fields: dict[str, str], step: Step) -> None:
        send_at = self._now() + step.hold_s if step.hold_s else 0.0
        for _ in range(2 if step.twice else 1):
            self._store.queue_reply(fields, send_at)

    def _local_now(self) -> datetime:
        return datetime.fromtimestamp(self._now(), CHINA)
