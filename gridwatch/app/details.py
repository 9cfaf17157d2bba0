# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes what a camera's main stream shows of an incident, where a smaller stream is looked at: a larger still, and a clip.

The still is the first whole key frame after the opening. The network is asked who is to be seen in it; where it does not
say there is no such picture. The clip begins with that key frame and lasts as long as a post-roll; where the usual clip is
cut from the main stream there is no second one. One thread of its own, because decoding and asking take their time.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from events.evidence import Shot
from gridwatch.app.clips import RingFor, remuxed
from gridwatch.app.watched import Watched
from gridwatch.core.clock import Clock
from gridwatch.core.finding import Box, Finding
from gridwatch.core.frame import Frame
from gridwatch.core.zone import Kind
from ingest.decoder import KeyDecoder
from ingest.decoding_page import SLOTS, DecodingPage
from ingest.errors import IngestError
from ingest.packets import Packet
from ingest.ring import Ring

log = structlog.get_logger()

WITHIN_S = 30.0  # of the opening: the main stream is read so much longer than its post-roll
TRIES = 4  # key frames, until one is whole and the network says who is to be seen
MOST_WAITING = 64
STEP_S = 0.5
_LATE_S = 5.0
_SLOT = SLOTS - 1  # of the page; the shared decoders have the first ones

People = Callable[[Frame], tuple[Box, ...] | None]


class Attach(Protocol):
    """Takes what was found for an incident; must not block."""

    def __call__(self, incident_id: str, shot: Shot | None = None, mp4: bytes | None = None) -> None:
        """Record it."""
        ...


@dataclass(slots=True, eq=False)
class _Wanted:
    """What is still to be taken for one incident.

    Attributes:
        after_mono_s: the still is looked for among later key frames.
        began_mono_s: the main stream's first key frame after the opening; None until it came.
        usual_is_main: whether the usual clip was cut from the main stream; None until it was cut.
        tries: for the still; 0 when there is nothing to be tried any more.
        clip: whether a clip may still be made.
    """

    incident_id: str
    one: Watched
    at_mono_s: float
    veil: bool
    after_mono_s: float
    began_mono_s: float | None = None
    usual_is_main: bool | None = None
    tries: int = TRIES
    clip: bool = True

    @property
    def ring(self) -> Ring:
        """The main stream's memory."""
        return self.one.pipeline.intake.ring if self.one.evidence is None else self.one.evidence.ring

    def choose(self, from_mono_s: float, at_mono_s: float, to_mono_s: float) -> Ring:
        """Return the memory of the usual clip, and note which one that is."""
        chosen = self.one.ring_for(from_mono_s, at_mono_s, to_mono_s)
        self.usual_is_main = chosen is not self.one.pipeline.intake.ring
        return chosen


class Details:
    """Holds what is wanted, and takes it. Ordered from the recorder's thread, stepped by its own.

    Args:
        people: who is to be seen in a frame; None where that is not known.
        attach: takes what was found.
        post_roll_s: how long a clip is.
        page: names the camera that is being decoded to whoever outlives a crash of the decoder.
    """

    def __init__(
        self, people: People, attach: Attach, clock: Clock, post_roll_s: float, page: DecodingPage
    ) -> None:
        self._people, self._attach, self._clock = people, attach, clock
        self._post_roll_s, self._page = post_roll_s, page
        self._decoder = KeyDecoder()
        self._waiting: list[_Wanted] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="details", daemon=True)

    def order(self, incident_id: str, one: Watched, finding: Finding) -> RingFor:
        """Have the main stream's pictures taken, where a camera has one beside what is looked at. It is to be read by then.

        Returns:
            What the usual clip is to be cut from: which stream that is decides whether there is a second one.
        """
        if one.evidence is None:
            return one.ring_for
        at_mono_s = finding.at_mono_s
        wanted = _Wanted(incident_id, one, at_mono_s, finding.kind is Kind.CROWD, after_mono_s=at_mono_s)
        with self._lock:
            if any(other.incident_id == incident_id for other in self._waiting):
                return one.ring_for
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(wanted)
                return wanted.choose
        log.warning("detail_not_taken", incident_id=incident_id, reason="too many wait")
        return one.ring_for

    def start(self) -> None:
        """Begin to take."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End; what waits is given up."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def step(self) -> int:
        """Take what is there by now; return how many incidents still wait."""
        now_mono_s = self._clock.mono_s()
        with self._lock:
            waiting = list(self._waiting)
        for wanted in waiting:
            try:
                over = self._take(wanted, now_mono_s)
            except Exception:  # one camera's stream must not end it for the others
                log.exception("detail_failed", incident_id=wanted.incident_id)
                over = True
            if over:
                with self._lock:
                    self._waiting.remove(wanted)
        with self._lock:
            return len(self._waiting)

    def _run(self) -> None:
        while not self._stop.wait(STEP_S):
            self.step()

    def _take(self, wanted: _Wanted, now_mono_s: float) -> bool:
        """Take what there is for one incident; return whether that was all."""
        key = wanted.ring.first_key(wanted.after_mono_s)
        if key is not None and key.at_mono_s <= wanted.at_mono_s + WITHIN_S and wanted.tries:
            if wanted.began_mono_s is None:
                wanted.began_mono_s = key.at_mono_s
            self._take_still(wanted, key)
        if wanted.clip and wanted.usual_is_main is not None:
            self._take_clip(wanted, now_mono_s)
        late = now_mono_s > wanted.at_mono_s + WITHIN_S + self._post_roll_s + _LATE_S
        return late or not (wanted.tries or wanted.clip)

    def _take_still(self, wanted: _Wanted, key: Packet) -> None:
        wanted.after_mono_s, wanted.tries = key.at_mono_s, wanted.tries - 1
        try:
            with self._page.decoding(_SLOT, key.camera_id):
                frame = self._decoder.decode(key)
        except IngestError as error:
            log.info("detail_still_not_taken", incident_id=wanted.incident_id, reason=str(error))
            return
        persons = self._people(frame)
        if persons is None:
            reason = "the network does not say who is to be seen"
            log.info("detail_still_not_taken", incident_id=wanted.incident_id, reason=reason)
            return
        wanted.tries = 0
        self._attach(wanted.incident_id, shot=Shot(frame, persons, key.captured_at, wanted.veil))

    def _take_clip(self, wanted: _Wanted, now_mono_s: float) -> None:
        if wanted.usual_is_main:
            wanted.clip = False
            return
        began_mono_s = wanted.began_mono_s
        if began_mono_s is None or now_mono_s < began_mono_s + self._post_roll_s:
            return
        wanted.clip = False
        shown = partial(wanted.ring.window, began_mono_s, began_mono_s + self._post_roll_s)
        mp4 = remuxed(wanted.incident_id, shown)
        if mp4 is not None:
            self._attach(wanted.incident_id, mp4=mp4)
