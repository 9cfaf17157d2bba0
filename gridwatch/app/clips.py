# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cuts an incident's clip out of the camera's ring once its post-roll has passed."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from ingest.errors import IngestError
from ingest.remux import remux_mp4
from ingest.ring import Ring

log = structlog.get_logger()

MOST_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class _Cut:
    incident_id: str
    ring: Ring
    from_mono_s: float
    to_mono_s: float


class ClipCutter:
    """Holds the cuts that wait for their post-roll. Ordered from the recorder's thread, stepped from the ticker's.

    Args:
        attach: takes an incident's id and what makes its clip, or None; must not block.
    """

    def __init__(
        self, pre_roll_s: float, post_roll_s: float, attach: Callable[[str, bytes | None], None]
    ) -> None:
        self._pre_roll_s, self._post_roll_s, self._attach = pre_roll_s, post_roll_s, attach
        self._waiting: deque[_Cut] = deque(maxlen=MOST_WAITING)
        self._lock = threading.Lock()

    def order(self, incident_id: str, ring: Ring, at_mono_s: float) -> None:
        """Have the time around `at_mono_s` cut for an incident when it has passed."""
        cut = _Cut(incident_id, ring, at_mono_s - self._pre_roll_s, at_mono_s + self._post_roll_s)
        with self._lock:
            self._waiting.append(cut)

    def step(self, now_mono_s: float) -> int:
        """Cut what is due; return how many."""
        with self._lock:
            due = [cut for cut in self._waiting if now_mono_s >= cut.to_mono_s]
            for cut in due:
                self._waiting.remove(cut)
        for cut in due:
            self._attach(cut.incident_id, _mp4(cut))
        return len(due)


def _mp4(cut: _Cut) -> bytes | None:
    packets = cut.ring.window(cut.from_mono_s, cut.to_mono_s)
    if not packets:
        return None
    try:
        return remux_mp4(packets)
    except IngestError as error:
        log.warning("clip_not_cut", incident_id=cut.incident_id, reason=str(error))
        return None
