# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one step of a case makes of how it stands: the state of the whole, and of each unit. Pure; knows no order of arrival.

The whole case follows the unit that leads (主办): it is signed when that one signed. A unit that helps (协办) moves only
its own state, at its own pace, until the case is over.
"""

from dataclasses import dataclass, replace
from typing import Final

from events.alerts import CASE_OVER, CaseState, CaseUnit, UnitRole
from events.incident import CaseStep, Standing

_S = CaseState
UNITS_MAX: Final = 16
_WAY: Final = (
    _S.NONE,
    _S.REPORTED,
    _S.ACCEPTED,
    _S.DISPATCHED,
    _S.SIGNED,
    _S.HANDLED,
    _S.VERIFIED,
    _S.CLOSED,
)
_UNDER_WAY: Final = frozenset({_S.DISPATCHED, _S.SIGNED, _S.HANDLED, _S.VERIFIED})
_DONE: Final = frozenset({_S.HANDLED, _S.VERIFIED})
_OF_UNITS: Final = frozenset({_S.DISPATCHED, _S.SIGNED, _S.HANDLED, _S.RETURNED})
_NEW_ROUND: Final = frozenset({_S.ACCEPTED, _S.REOPENED})


@dataclass(frozen=True, slots=True)
class _Actor:
    """Whose step it is.

    Attributes:
        role: lead also where no unit is named, because the step is the whole case's then.
        known: the same unit as the case lists it; None where it is new, or none is meant.
    """

    role: UnitRole
    known: CaseUnit | None


def stepped(standing: Standing, step: CaseStep) -> tuple[Standing, str | None]:
    """Return how the case stands after `step`, and why the step moved nothing, if it was not allowed."""
    seen = replace(standing, revision=max(standing.revision, step.revision))
    word = step.word
    if word is None:
        return seen, "unknown"
    if word is _S.REPORTED and standing.state is not _S.NONE:
        return seen, None  # a receipt comes at any time and moves only from none
    actor = _actor(standing, step)
    if not _may_follow(standing.state, word, actor):
        return seen, "illegal"
    state = _whole(standing.state, word, actor.role)
    again = state is _S.DISPATCHED and standing.state in _DONE
    units = () if word in _NEW_ROUND else _units(standing.units, step, actor)
    after = replace(seen, state=state, units=units, reworks=standing.reworks + again)
    if actor.role is UnitRole.ASSIST and state is standing.state:
        return after, None
    lead = step if actor.role is UnitRole.LEAD and _names_unit(step) else None
    return (
        replace(
            after,
            at=step.at,
            reason=step.reason,
            note=step.note,
            unit_code=lead.code if lead else standing.unit_code,
            unit_name=lead.name if lead else standing.unit_name,
        ),
        None,
    )


def _actor(standing: Standing, step: CaseStep) -> _Actor:
    units, word = standing.units, step.word
    if word not in _OF_UNITS:
        return _Actor(UnitRole.LEAD, None)
    lead = next((unit for unit in units if unit.role is UnitRole.LEAD), None)
    if _names_unit(step):
        known = next((unit for unit in units if _same(unit, step)), None)
        if step.role is not None:
            return _Actor(step.role, known)
        if known is not None:
            return _Actor(known.role, known)
        # Without a role, an order is to a new lead (改派); what a stranger does beside a lead is help.
        return _Actor(UnitRole.LEAD if lead is None or word is _S.DISPATCHED else UnitRole.ASSIST, None)
    if step.role is UnitRole.ASSIST:
        helping = [unit for unit in units if unit.role is UnitRole.ASSIST]
        return _Actor(UnitRole.ASSIST, helping[0] if len(helping) == 1 else None)
    # Returned without a unit, the case comes back to us (退回补充); no unit sent it back.
    return _Actor(UnitRole.LEAD, None if word is _S.RETURNED else lead)


def _may_follow(before: CaseState, to: CaseState, actor: _Actor) -> bool:
    if before in CASE_OVER:
        return to is _S.REOPENED or (to is _S.ACCEPTED and before is not _S.CLOSED)
    if to is _S.REOPENED:
        return False
    if actor.role is UnitRole.ASSIST:
        return _unit_may_follow(actor.known, to)
    if to in (_S.RETURNED, _S.REJECTED, _S.VOIDED) or before in (_S.RETURNED, _S.REOPENED):
        return True
    if to is _S.DISPATCHED:  # again, to another unit, or after a check that failed (返工)
        return True
    return _WAY.index(to) >= _WAY.index(before)


def _unit_may_follow(known: CaseUnit | None, to: CaseState) -> bool:
    if known is None or known.state is _S.RETURNED or to in (_S.DISPATCHED, _S.RETURNED):
        return True
    return _WAY.index(to) >= _WAY.index(known.state)


def _whole(before: CaseState, word: CaseState, role: UnitRole) -> CaseState:
    """Return the state of the whole case after a step of a unit with this role."""
    if role is UnitRole.LEAD:
        return word
    if word is _S.RETURNED:
        return before
    if word is _S.DISPATCHED:
        return before if before is _S.SIGNED else _S.DISPATCHED
    return before if before in _UNDER_WAY else _S.DISPATCHED  # whoever signs was dispatched to


def _units(units: tuple[CaseUnit, ...], step: CaseStep, actor: _Actor) -> tuple[CaseUnit, ...]:
    word, known = step.word, actor.known
    if word not in _OF_UNITS or not (known or _names_unit(step)):
        return units
    moved = CaseUnit(
        code=step.code or (known.code if known else ""),
        name=step.name or (known.name if known else ""),
        role=actor.role,
        state=word,
        at=step.at,
    )
    others = [unit for unit in units if unit is not known]
    if moved.role is UnitRole.LEAD:  # one leads; who led before is out of it
        return (moved, *(unit for unit in others if unit.role is UnitRole.ASSIST))[:UNITS_MAX]
    if known is not None and known.role is UnitRole.ASSIST:
        return tuple(moved if unit is known else unit for unit in units)
    return (*others, moved)[:UNITS_MAX]


def _names_unit(step: CaseStep) -> bool:
    return bool(step.code or step.name)


def _same(unit: CaseUnit, step: CaseStep) -> bool:
    if unit.code and step.code:
        return unit.code == step.code
    return bool(step.name) and unit.name == step.name
