# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is still to be said about a case: steps, the units that take part, and how short words become steps. Pure.

A way is written in few words: `dispatched` and `signed` stand for one step of each unit, `rework` (返工) for a
check that failed: dispatched, signed and handled once more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from gridwatch.simulator.case_desk.wire import Assignment, Unit

OVER: Final = ("closed", "rejected", "voided")
DECISIONS: Final = ("confirmed", "dismissed")
RECEIPTS: Final = ("merged", "conflict")
WAIT, REWORK = "wait", "rework"
CHINESE: Final[Mapping[str, str]] = {
    "reported": "收到",
    "accepted": "受理",
    "dispatched": "派遣",
    "signed": "签收",
    "handled": "办理完毕",
    "verified": "核查通过",
    "closed": "结案",
    "returned": "退回补充",
    "rejected": "不予受理",
    "voided": "作废",
    "reopened": "重新打开",
    "confirmed": "核实",
    "dismissed": "撤销警示",
    "merged": "并案",
    "conflict": "冲突",
}
UNKNOWN_PREFIX = "x-"
STEPS: Final = frozenset(CHINESE) - {"reported", *DECISIONS, *RECEIPTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to be said about a case.

    Attributes:
        say: a word of a case; `confirmed` or `dismissed`, a decision of the desk's own screen; `wait`, which stops the
            plan until the incident's next message; `rework`; or, for trials, any word that begins with `x-`.
        unit: a unit's name or code; None takes the units of the case.
        role: `lead` or `assist`, of a unit that the case does not have yet.
        case: of `merged`, the case that the incident goes into.
        by: of a decision, a pseudonymous staff code.
        after_s: seconds after the step before; None takes the desk's own pace.
        hold_s: the reply gets its number in time and is sent so much later: an answer that comes late.
        twice: the very same reply is sent a second time.
        same_revision: the reply takes the number of the one before it: two answers that contradict each other.
    """

    say: str
    unit: str | None = None
    role: str | None = None
    case: str | None = None
    reason: str | None = None
    note: str | None = None
    by: str | None = None
    after_s: float | None = None
    hold_s: float = 0.0
    twice: bool = False
    same_revision: bool = False

    def document(self) -> dict[str, Any]:
        """Return what differs from the defaults, for JSON."""
        defaults = {one.name: one.default for one in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


USUAL_WAY: Final = tuple(
    Step(say=word) for word in ("accepted", "dispatched", "signed", "handled", "verified", "closed")
)


def known_word(word: str) -> bool:
    """Tell whether a step may say `word`."""
    return word in {*STEPS, *DECISIONS, *RECEIPTS, WAIT, REWORK} or (
        word.startswith(UNKNOWN_PREFIX) and len(word) <= 40 and word.isascii() and word.isprintable()  # noqa: PLR2004
    )


def expand(way: Sequence[Step], units: Sequence[Assignment]) -> list[Step]:
    """Return a way with one step for each unit that takes part in it."""
    steps: list[Step] = []
    for step in way:
        if step.say == REWORK:
            unit = step.unit or _lead(units)
            again = replace(step, say="dispatched", unit=unit, reason=step.reason or "返工")
            steps += [again, Step(say="signed", unit=unit), Step(say="handled", unit=unit)]
        elif step.say in {"dispatched", "signed"} and step.unit is None:
            steps += [replace(step, unit=one.unit.name) for one in units]
        elif step.say == "handled" and step.unit is None:
            steps.append(replace(step, unit=_lead(units)))
        else:
            steps.append(step)
    return steps


def assigned(step: Step, units: Sequence[Assignment]) -> Assignment | None:
    """Return who takes a step: a unit of the case by code or name, or one that is new to it; None where nobody does."""
    if step.unit is None:
        return None
    for one in units:
        if step.unit in {one.unit.name, one.unit.code}:
            return one if step.role is None else replace(one, role=step.role)
    return Assignment(Unit("", step.unit), step.role or "assist")


def _lead(units: Sequence[Assignment]) -> str | None:
    return next((one.unit.name for one in units if one.role == "lead"), None)
