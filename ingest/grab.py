# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connect, grab, drop: a short visit to a camera that is not read all the time."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from gridwatch.core.clock import Clock
from ingest.admission import Admission, Way
from ingest.errors import SourceError, StreamEndedError, TimedOutError
from ingest.packets import Packet, PacketSource


@dataclass(frozen=True, slots=True)
class Grabbed:
    """What a visit brought.

    Attributes:
        keys, packets: how many key frames and packets came.
        payload_bytes: what they weighed.
        began_mono_s: when the first byte was sent. Waiting for a place is not counted.
        opened_s, took_s: from then until the stream was open, and until it was left again.
    """

    keys: int
    packets: int
    payload_bytes: int
    began_mono_s: float
    opened_s: float
    took_s: float


class Grabber:
    """Visits cameras, one at a time in each thread that calls.

    Args:
        stop: ends visits that wait or read.
        want_keys: key frames after which a visit is over.
        within_s: the longest that a visit may take, from the first byte sent; it ends with fewer then. An opening is bounded
            by the source itself.
    """

    def __init__(
        self,
        clock: Clock,
        admission: Admission,
        stop: threading.Event,
        *,
        want_keys: int = 2,
        within_s: float = 20.0,
    ) -> None:
        self._clock, self._admission, self._stop = clock, admission, stop
        self._want_keys, self._within_s = want_keys, within_s

    def grab(
        self,
        source: PacketSource,
        way: Way,
        take: Callable[[Packet], object],
        begins: Callable[[], object] = lambda: None,
    ) -> Grabbed:
        """Open `source`, hand its packets to `take` until enough key frames came, and close it.

        `begins` is called when it has its places: what it waited for before is not the camera's.

        Raises:
            SourceError: it cannot be had, or no key frame came of it.
        """
        with self._admission.session(way) as place:
            if not place.wait(self._stop):
                raise StreamEndedError("the visit was called off")
            return self._visit(source, way, take, begins)

    def _visit(
        self, source: PacketSource, way: Way, take: Callable[[Packet], object], begins: Callable[[], object]
    ) -> Grabbed:
        opening = self._admission.opening(way, self._stop)
        with opening as admitted:
            if not admitted:
                raise StreamEndedError("the visit was called off")
            begins()
            began = self._clock.mono_s()
            source.__enter__()
        try:
            return self._read(source, take, began)
        finally:
            source.__exit__(None, None, None)

    def _read(self, source: PacketSource, take: Callable[[Packet], object], began: float) -> Grabbed:
        opened = self._clock.mono_s()
        keys = packets = payload_bytes = 0
        failure: SourceError | None = None
        try:
            with closing(source.packets()) as coming:
                for packet in coming:
                    take(packet)
                    packets, keys = packets + 1, keys + packet.is_key
                    payload_bytes += packet.size
                    late = self._clock.mono_s() - began > self._within_s
                    if keys >= self._want_keys or late or self._stop.is_set():
                        break
        except SourceError as error:
            failure = error
        if not keys:
            raise failure or TimedOutError(f"no key frame came within {self._within_s:.0f} s")
        took_s = self._clock.mono_s() - began
        return Grabbed(keys, packets, payload_bytes, began, opened - began, took_s)
