# SPDX-License-Identifier: AGPL-3.0-or-later
"""The running parts of one camera, as the shard holds them; made by wiring, one set a camera."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gridwatch.app.homes import Homes
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.core.camera import Camera, EvidenceFrom, Note
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.look import Look
from ingest.evidence_feed import EvidenceFeed
from ingest.feed import Feed
from ingest.health import PictureHealth
from ingest.packets import Packet
from ingest.ring import Ring

Deliver: TypeAlias = Callable[[Packet], None]

HOLD_S = 15.0  # a main stream that is always read is held for so long, again and again
_LOOKS = 128  # that are remembered: more than the service and what waits for it hold of one camera


@dataclass(slots=True, eq=False)
class Watched:
    """One camera: its steps, the threads that read it, and which claims are open. Safe for several threads.

    A camera that was changed, or removed and came back, is another one with the same id: what was still in the decoder or
    the network of the one before is not its own.

    Attributes:
        evidence: reads its main stream where a second one is looked at; None where one stream serves for both.
        health: judges its pictures; None where nobody does.
        homes: keeps over restarts what its picture is like; None where nobody does.
        connects: False for a camera that nobody wants to be watched.
        claims: finding ids that are open now, and watched: looks of such a camera come first.
        ended: it is watched no more, for good.
    """

    pipeline: CameraPipeline
    feed: Feed
    evidence: EvidenceFeed | None = None
    health: PictureHealth | None = None
    homes: Homes | None = None
    connects: bool = True
    claims: set[str] = field(default_factory=set)
    ended: bool = field(default=False, init=False)
    _reads: bool = field(default=False, init=False)
    _asked: deque[float] = field(default_factory=lambda: deque(maxlen=_LOOKS), init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def camera(self) -> Camera:
        """What is watched."""
        return self.pipeline.camera

    @property
    def reads(self) -> bool:
        """Whether it is read all the time now."""
        return self._reads

    @property
    def failures(self) -> int:
        """Openings and streams that failed, of all its streams."""
        return self.feed.failures + (0 if self.evidence is None else self.evidence.failures)

    @property
    def abandoned(self) -> int:
        """Threads that were left behind in a demuxer, of all its streams."""
        return self.feed.abandoned + (0 if self.evidence is None else self.evidence.abandoned)

    def start(self, now_mono_s: float) -> None:
        """Begin to read, if anybody wants it; nothing happens where that goes on already, or has ended."""
        with self._lock:
            if not self.connects or self.ended or self._reads:
                return
            self._reads = True
            self._hold(now_mono_s)
            self.feed.start()

    def check(self, now_mono_s: float) -> None:
        """Look after the threads; every second or so."""
        with self._lock:
            if self.ended:
                return
            if self._reads:
                self._hold(now_mono_s)
                self.feed.check()
        if self.evidence is not None:
            self.evidence.check()
            self.pipeline.intake.sight.note(Note.MAIN_STREAM_AWAY, bool(self.evidence.trouble))
            self.pipeline.intake.main_short = self.evidence.ring.short

    def halt(self) -> None:
        """Read no more until `start`; returns at once. A main stream that is held for an incident is read on."""
        with self._lock:
            self._reads = False
            self.feed.stop()

    def end(self) -> None:
        """Ask the threads to end, for good; returns at once."""
        with self._lock:
            self.ended, self._reads = True, False
            self.feed.stop()
        if self.evidence is not None:
            self.evidence.stop()

    def join(self, timeout_s: float) -> None:
        """Wait for the threads."""
        self.feed.join(timeout_s)
        if self.evidence is not None:
            self.evidence.join(timeout_s)

    def accept_view(self) -> bool:
        """Take what it shows from now on for its home view, also after a restart; return whether anybody judges it."""
        if self.health is None:
            return False
        self.health.accept()
        if self.homes is not None:
            self.homes.forget(self.camera)
        return True

    def keep_home(self) -> None:
        """Have kept what its picture is like, for the one that takes its place or comes after a restart."""
        if self.health is not None and self.homes is not None:
            self.homes.keep(self.camera, self.health.home)

    def note(self, finding: Finding) -> None:
        """Remember whether a claim is open and watched."""
        if finding.stage in (Stage.ENDED, Stage.UNSEEN):
            self.claims.discard(finding.finding_id)
        else:
            self.claims.add(finding.finding_id)

    def ask(self, looks: Sequence[Look]) -> None:
        """Remember that these looks are its own."""
        with self._lock:
            self._asked.extend(look.at_mono_s for look in looks)

    def asked(self, look: Look) -> bool:
        """Tell whether a look is its own."""
        with self._lock:
            return look.at_mono_s in self._asked

    def hold_evidence(self, until_mono_s: float) -> None:
        """Have the main stream read until then, where there is one beside the one that is looked at."""
        if self.evidence is not None:
            self.evidence.hold(until_mono_s)

    def ring_for(self, from_mono_s: float, at_mono_s: float, to_mono_s: float) -> Ring:
        """Return the memory that a clip is to be cut from."""
        looking = self.pipeline.intake.ring
        if self.evidence is None:
            return looking
        return self.evidence.ring_for(looking, from_mono_s, at_mono_s, to_mono_s)

    def _hold(self, now_mono_s: float) -> None:
        """Have the main stream read as long as the camera is, where the time before an incident matters."""
        if self.evidence is not None and self.camera.evidence is EvidenceFrom.ALWAYS:
            self.evidence.hold(now_mono_s + HOLD_S)


Wire: TypeAlias = Callable[[Camera, Deliver], Watched]
"""Makes the parts of a camera; starts nothing."""
