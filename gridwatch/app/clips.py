# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cuts an incident's clip out of the camera's ring once its post-roll has passed, from whichever stream the ring holds."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from gridwatch.core.redact import redact
from ingest.errors import IngestError
from ingest.packets import Packet
from ingest.remux import remux_mp4
from ingest.ring import Ring

log = structlog.get_logger()

MOST_WAITING = 1_000
MOST_AT_ONCE = 50  # the ticker that cuts them also says that the process lives
CUT_WITHIN_S = 2.0  # of the end of a clip: the ticker comes once a second, and packets have their way

RingFor = Callable[[float, float, float], Ring]
"""Returns the memory that shows an incident: given the clip's beginning, the opening and the clip's end, monotonic seconds."""

Attach = Callable[[str, bytes | None, float | None], None]
"""Takes an incident's id, its clip or None, and the seconds that it shows before the opening (below 0: it begins after it)."""


@dataclass(frozen=True, slots=True)
class _Cut:
    incident_id: str
    choose: RingFor
    from_mono_s: float
    at_mono_s: float
    to_mono_s: float


class ClipCutter:
    """Holds the cuts that wait for their post-roll. Ordered from the recorder's thread, stepped from the ticker's.

    Args:
        attach: must not block.
    """

    def __init__(self, pre_roll_s: float, post_roll_s: float, attach: Attach) -> None:
        self._pre_roll_s, self._post_roll_s, self._attach = pre_roll_s, post_roll_s, attach
        self._waiting: deque[_Cut] = deque()
        self._lock = threading.Lock()

    def order(self, incident_id: str, choose: RingFor, at_mono_s: float) -> None:
        """Have the time around `at_mono_s` cut for an incident when it has passed. Past the bound there is no clip.

        `choose` is asked when it is cut: which of a camera's streams shows the incident is known only then.
        """
        from_mono_s, to_mono_s = at_mono_s - self._pre_roll_s, at_mono_s + self._post_roll_s
        with self._lock:
            full = len(self._waiting) >= MOST_WAITING
            if not full:
                self._waiting.append(_Cut(incident_id, choose, from_mono_s, at_mono_s, to_mono_s))
        if full:
            log.warning("clip_not_cut", incident_id=incident_id, reason="too many wait")
            self._attach(incident_id, None, None)

    def step(self, now_mono_s: float) -> int:
        """Cut what is due; return how many."""
        with self._lock:
            due = [cut for cut in self._waiting if now_mono_s >= cut.to_mono_s][:MOST_AT_ONCE]
        for cut in due:
            with self._lock:  # one by one: where this cut ends in an error, the others still wait
                self._waiting.remove(cut)
            self._attach(cut.incident_id, *_made(cut))
        return len(due)


def remuxed(incident_id: str, choose: Callable[[], list[Packet]]) -> bytes | None:
    """Return the packets that `choose` returns as an MP4; None, and told to the log, where that cannot be."""
    try:
        packets = choose()
        return remux_mp4(packets) if packets else None
    except IngestError as error:
        log.warning("clip_not_cut", incident_id=incident_id, reason=str(error))
    except Exception as error:  # noqa: BLE001  a camera's stream may break the muxer; its incident has no clip, that is all
        log.error("clip_not_cut", incident_id=incident_id, reason=redact(repr(error)))
    return None


def _made(cut: _Cut) -> tuple[bytes | None, float | None]:
    """Return an incident's clip, and how much of the time before the opening it shows; told to the log where that is none."""
    shown: list[Packet] = []

    def choose() -> list[Packet]:
        shown.extend(_packets(cut))
        return shown

    mp4 = remuxed(cut.incident_id, choose)
    if mp4 is None:
        return None, None
    pre_roll_s = round(cut.at_mono_s - shown[0].at_mono_s, 1)
    if pre_roll_s < 0:
        log.warning("clip_begins_late", incident_id=cut.incident_id, after_opening_s=-pre_roll_s)
    return mp4, pre_roll_s


def _packets(cut: _Cut) -> list[Packet]:
    """Return the packets that show the incident: pictures of two sessions of a camera cannot stand in one clip.

    Where the camera reconnected meanwhile, the session in which it was seen is worth more than the one after it. What
    ended before the clip was to begin shows nothing of it: an endless group that has lost its tail.
    """
    ring = cut.choose(cut.from_mono_s, cut.at_mono_s, cut.to_mono_s)
    packets = ring.window(cut.from_mono_s, cut.to_mono_s)
    if packets and packets[-1].at_mono_s < cut.from_mono_s:
        return []
    if packets and packets[0].at_mono_s > cut.at_mono_s:
        return ring.window(cut.from_mono_s, cut.at_mono_s) or packets
    return packets
