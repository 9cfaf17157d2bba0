# SPDX-License-Identifier: AGPL-3.0-or-later
"""The main stream of a camera whose second stream is looked at: kept for evidence, never decoded.

It is read from an incident on, while somebody holds it, or always, where the time before an incident matters. Its
troubles are no trouble of the camera's sight: they are counted, its state notes them, and the clip is cut from the stream
that is looked at. One that could not be had is tried until it can, so that what is noted is so.
"""

import threading
from collections.abc import Callable

from gridwatch.core.camera import Camera, EvidenceFrom, Fault
from gridwatch.core.clock import Clock
from ingest.admission import Admission, Way
from ingest.backoff import Backoff
from ingest.packets import Packet
from ingest.reader import SourceFactory, StreamReader
from ingest.ring import Ring

_KEEP_S = 60.0  # a clip is cut a few seconds after the last moment that it shows
_MISSING_S = 1.0


class _Keeping:
    """Puts a stream into a ring, and nothing else."""

    def __init__(self, camera_id: str, ring: Ring) -> None:
        self.camera_id, self.ring = camera_id, ring
        self.trouble = ""
        self.failing = False

    def connecting(self) -> None: ...

    def waiting(self) -> None:
        self.trouble, self.failing = "it waits for a free session of its recorder", False

    def failed(self, reason: str, fault: Fault) -> None:
        _ = fault
        self.trouble, self.failing = reason, True

    def take(self, packet: Packet) -> None:
        if self.trouble:
            self.trouble, self.failing = "", False
        self.ring.append(packet)

    def rate(self, pictures_per_s: float, announced_per_s: float | None) -> None: ...

    def opened(self, *, second: bool) -> None: ...

    def busy(self) -> bool:
        return False

    def comes_to_nothing(self) -> bool:
        return False

    def decoded_mono_s(self) -> float | None:
        return None


class EvidenceFeed:
    """Reads a camera's main stream into a ring of its own while it is held. Safe for several threads.

    Args:
        camera: `camera.evidence` says whether it is read always.
        source: makes the source of the main stream, in the thread.
        make_ring: makes an empty memory; an old one is let go some time after nobody holds it any more.
    """

    def __init__(
        self,
        camera: Camera,
        source: SourceFactory,
        *,
        clock: Clock,
        backoff: Backoff,
        admission: Admission,
        make_ring: Callable[[], Ring] = Ring,
    ) -> None:
        self._always = camera.evidence is EvidenceFrom.ALWAYS
        self._clock, self._make_ring = clock, make_ring
        self._keeping = _Keeping(camera.camera_id, make_ring())
        way = Way(camera.url.host, camera.recorder or camera.url.host, yields=True)
        self._reader = StreamReader(
            self._keeping, (source,), way=way, clock=clock, backoff=backoff, admission=admission
        )
        self._lock = threading.Lock()
        self._until_mono_s = float("-inf")
        self._reading = self._stopped = False

    @property
    def reading(self) -> bool:
        """Whether the stream is being read, or tried for."""
        return self._reading

    @property
    def ring(self) -> Ring:
        """What is remembered of the stream; another one after a time in which nobody held it."""
        return self._keeping.ring

    @property
    def trouble(self) -> str:
        """Why nothing comes though it should, in one short phrase; empty while all is well."""
        return self._keeping.trouble if self._reading else ""

    @property
    def failures(self) -> int:
        """Openings and streams that failed since the start."""
        return self._reader.failures

    @property
    def abandoned(self) -> int:
        """Threads that their demuxer never let go, and that were left behind."""
        return self._reader.abandoned

    def start(self) -> None:
        """Begin, where the stream is always read."""
        if self._always:
            self.hold(float("inf"))

    def hold(self, until_mono_s: float) -> None:
        """Have it read until then at least; returns at once."""
        with self._lock:
            self._until_mono_s = max(self._until_mono_s, until_mono_s)
            if not self._reading and not self._stopped and self._clock.mono_s() < self._until_mono_s:
                self._reading = True
                self._reader.start()

    def check(self) -> None:
        """Let go of what nobody holds any more, once it can be had. To be called every second or so."""
        with self._lock:
            over_s = self._clock.mono_s() - self._until_mono_s
            if self._reading and over_s > 0 and not self._keeping.failing:
                self._reading = False
                self._reader.stop()
            if self._reading:
                self._reader.check()
            if over_s > _KEEP_S and self._keeping.ring.bytes:
                self._keeping.ring = self._make_ring()

    def stop(self) -> None:
        """Ask the thread to end; returns at once. It is not read again."""
        with self._lock:
            self._stopped, self._reading = True, False
            self._reader.stop()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread; return whether it has ended."""
        return self._reader.join(timeout_s)

    def ring_for(self, looking: Ring, from_mono_s: float, at_mono_s: float, to_mono_s: float) -> Ring:
        """Return the memory that a clip of an incident is to be cut from.

        That is this one, if it shows the moment `at_mono_s` at which the incident opened and goes as far as the other
        (a second less counts as equal); else `looking`, that of the stream which is looked at.
        """
        main = self._keeping.ring
        kept, other = main.window(from_mono_s, to_mono_s), looking.window(from_mono_s, to_mono_s)
        if not kept or kept[0].at_mono_s > at_mono_s or kept[-1].at_mono_s < at_mono_s:
            return looking
        behind = bool(other) and kept[-1].at_mono_s < other[-1].at_mono_s - _MISSING_S
        return looking if behind else main
