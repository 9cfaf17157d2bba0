# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orders to a case desk at work, and a look at its cases. They go through its state file: no port, no password.

An order waits in the file until the desk takes it, a fraction of a second later; without a desk it waits for one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk.plan import CHINESE, WAIT, Step, known_word
from gridwatch.simulator.case_desk.store import CaseFile, CaseStore

SHOWN = 50
ORDERS_MOST = 1000


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case for a list: its numbers, what it is about, where it stands, and who takes part."""

    case_id: str
    incident_id: str
    revision: int
    title: str
    state: str
    units: str

    def __str__(self) -> str:
        shown = f"{self.case_id}  {self.incident_id}:{self.revision}  {self.title}"
        return f"{shown}  {CHINESE.get(self.state, '登记')} {self.state}  {self.units}".rstrip()


def give_order(state: Path, which: str, step: Step) -> str:
    """Let the desk of a state file say `step` about a case, now; return the case's number.

    Args:
        state: the desk's state file.
        which: an incident, a case, or `last`, the newest incident.
        step: a word of a case, `confirmed`, `dismissed`, `merged` with its case, `conflict` or `rework`.

    Raises:
        InputError: there is no such file, case or word; several incidents are in the case; or too many orders wait.
    """
    if not known_word(step.say) or step.say == WAIT:
        words = ", ".join(sorted(set(CHINESE) - {"reported"}))
        raise InputError(
            f"{step.say!r} is nothing that a desk says; it says {words}, rework, or x- and a word"
        )
    if (step.say == "merged") != (step.case is not None):
        raise InputError(
            "`merged` needs the number of the case that the incident goes into, and nothing else does"
        )
    with _opened(state) as store:
        found = store.newest_files(1) if which == "last" else store.files_named(which)
        if len(found) != 1:
            what = "no incident" if not found else f"{len(found)} incidents"
            raise InputError(f"{what} at this desk by the name {which!r}", file=state)
        with store.transaction():
            if store.waiting_orders() >= ORDERS_MOST:
                raise InputError(f"{ORDERS_MOST} orders wait already: no desk takes them", file=state)
            store.give_order(found[0].file_id, step)
    return found[0].case_id


def list_cases(state: Path, limit: int = SHOWN) -> Sequence[CaseLine]:
    """Return the newest cases of a desk, newest first.

    Raises:
        InputError: there is no such file, or it is something else.
    """
    with _opened(state) as store:
        return [_line(file) for file in store.newest_files(limit)]


def _opened(state: Path) -> CaseStore:
    if not state.exists():
        raise InputError("there is no case desk's state here; start the desk first", file=state)
    return CaseStore(state)


def _line(file: CaseFile) -> CaseLine:
    units = ", ".join(f"{one.unit.name} ({one.role})" for one in file.units)
    return CaseLine(file.case_id, file.incident_id, file.revision, file.title, file.state, units)
