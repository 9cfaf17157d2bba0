# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells the incident book what becomes of cameras' sight: lost, and seen again for long enough. Stepped by the ticker."""

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from functools import partial

import structlog

from detectors.judge import Judge
from events.incidents import IncidentBook
from gridwatch.core.camera import SightState
from gridwatch.core.zone import Kind
from ingest.sight import Sight

log = structlog.get_logger()

SETTLE_AFTER_S = 60.0  # observed so long without a claim, a camera ends what was open before it went blind

Submit = Callable[[Callable[[], object]], None]


@dataclass(frozen=True, slots=True)
class _Owed:
    """What a camera that sees again owes: by kind, the observed seconds of each of its zones at which it has paid."""

    sight: Sight
    at_observed_s: dict[Kind, tuple[float, ...]] = field(default_factory=dict)


class SightWatch:
    """Remembers which cameras still owe an answer about what was open when they went blind. For one thread, but `lost`.

    How long they saw is counted in what their detectors observed: neither looks without an answer nor the time between two
    visits of a camera that takes turns say that something is over.

    Args:
        submit: has something recorded; must not block.
    """

    def __init__(self, book: IncidentBook, submit: Submit) -> None:
        self._book, self._submit = book, submit
        self._owed: dict[str, _Owed] = {}

    def step(self, camera_id: str, sight: Sight, judging: Judge) -> None:
        """Judge one camera's sight anew."""
        owed = self._owed.get(camera_id)
        if owed is None or owed.sight is not sight:  # changed meanwhile: another camera with the same id
            owed = self._owed[camera_id] = _Owed(sight)
        change = sight.tick()
        if change is not None:
            log.info(
                "sight", camera_id=camera_id, state=change.after, before=change.before, reason=change.reason
            )
            owed.at_observed_s.clear()
            if change.after is SightState.SEEING:
                for kind in Kind:
                    wait_s = max(SETTLE_AFTER_S, judging.claims_within_s(kind))
                    owed.at_observed_s[kind] = tuple(at_s + wait_s for at_s in judging.observed_s(kind))
            else:
                self.lost(camera_id, change.reason)
        for kind, due_s in list(owed.at_observed_s.items()):
            if all(at_s >= due for at_s, due in zip(judging.observed_s(kind), due_s, strict=True)):
                del owed.at_observed_s[kind]
                self._submit(partial(self._book.settle, camera_id, kind))

    def lost(self, camera_id: str, reason: str) -> None:
        """Say that nothing is known any more of what is open at a camera. From any thread."""
        self._submit(lambda: self._book.camera_lost(camera_id, reason))

    def forget_others(self, cameras: Container[str]) -> None:
        """Forget the cameras that are not among these any more."""
        for camera_id in [one for one in self._owed if one not in cameras]:
            del self._owed[camera_id]
