# SPDX-License-Identifier: AGPL-3.0-or-later
"""The last seconds of one camera's packets, in whole groups of pictures, never decoded unless needed."""

import threading
from collections import deque
from itertools import pairwise

from ingest.packets import Packet

_MIB = 1 << 20
_SHORT_FOR = 3  # groups
_SHORT_UNTIL = 1.1  # times what a clip needs: a bit rate at the limit is told once


class _Gop:
    """A key frame and what refers to it."""

    __slots__ = ("packets", "session", "size", "whole")

    def __init__(self, key: Packet) -> None:
        self.packets = [key]
        self.size, self.session = key.size, key.session
        self.whole = True

    @property
    def began_mono_s(self) -> float:
        return self.packets[0].at_mono_s


class Ring:
    """A bounded memory of packets. Safe for several threads.

    Old groups go when the rest still spans `span_s` and `clip_s` and holds `min_gops`. `max_bytes` is hard: above it old
    groups go whatever they span, and a group that alone is larger loses its tail until the next key frame.

    Args:
        clip_s: seconds that have to be there when a clip is cut: its own, and what may pass until it is; 0: none is cut.

    Attributes:
        dropped: packets that were not kept: tails, and packets without the key frame that they refer to.
    """

    def __init__(
        self, min_gops: int = 2, span_s: float = 20.0, max_bytes: int = 8 * _MIB, *, clip_s: float = 0.0
    ) -> None:
        self._min_gops, self._span_s, self._max_bytes = min_gops, max(span_s, clip_s), max_bytes
        self._clip_s = clip_s
        self._gops: deque[_Gop] = deque()
        self._bytes = 0
        self._cut = False  # the current group has lost a packet: what follows refers to it
        self._early = False  # since the last key frame a group went for the cap that a clip would have needed
        self._long = 0
        self._lock = threading.Lock()
        self.dropped = 0

    @property
    def max_bytes(self) -> int:
        """The cap of what is held."""
        return self._max_bytes

    @property
    def bytes(self) -> int:
        """Bytes of payload held."""
        return self._bytes

    @property
    def span_s(self) -> float:
        """Seconds from the oldest to the newest packet held."""
        with self._lock:
            return self._newest_mono_s() - self._gops[0].began_mono_s if self._gops else 0.0

    @property
    def short(self) -> bool:
        """Whether the cap is too small: two of the camera's groups do not fit, or a clip does not. Its beginning may be missing then."""
        with self._lock:
            return self._long > 0 or bool(self._gops and not self._gops[-1].whole)

    @property
    def share_of_newest(self) -> float:
        """How much of the cap the newest group takes, 0 to 1; 1 where it has lost its tail."""
        with self._lock:
            return 0.0 if not self._gops else 1.0 if self._cut else self._gops[-1].size / self._max_bytes

    def append(self, packet: Packet) -> None:
        """Keep `packet`, and let go of what is too old or too much."""
        size = packet.size
        with self._lock:
            if packet.is_key:
                self._measure()
            if self._bytes + size > self._max_bytes:
                self._make_room(packet)
            if packet.is_key and size <= self._max_bytes:
                self._gops.append(_Gop(packet))
                self._bytes += size
                self._cut = False
                self._expire()
            elif self._continues(packet):
                gop = self._gops[-1]
                gop.packets.append(packet)
                gop.size += size
                self._bytes += size
            else:
                self._cut = True
                self.dropped += 1
                if self._gops and self._gops[-1].session == packet.session:
                    self._gops[-1].whole = False

    def clear(self) -> None:
        """Let go of everything; it begins anew with the next key frame."""
        with self._lock:
            self._gops.clear()
            self._bytes = 0
            self._cut = False

    def first_key(self, after_mono_s: float) -> Packet | None:
        """Return the first key frame that came later than `after_mono_s`; None while there is none."""
        with self._lock:
            return next((gop.packets[0] for gop in self._gops if gop.began_mono_s > after_mono_s), None)

    def newest_group(self) -> list[Packet]:
        """Return the last key frame and all that came after it; empty where some of that is lost."""
        with self._lock:
            return list(self._gops[-1].packets) if self._gops and not self._cut else []

    def group_before(self, key: Packet) -> list[Packet]:
        """Return the whole group before the one that begins with `key`, of the same session; empty where it is not there."""
        with self._lock:
            for before, gop in pairwise(self._gops):
                if gop.packets[0] is key:
                    return list(before.packets) if before.whole and before.session == key.session else []
        return []

    def window(self, from_mono_s: float, to_mono_s: float) -> list[Packet]:
        """Return the packets from the last key frame at or before `from_mono_s` to `to_mono_s`.

        It begins with a key frame (the first there is, where memory does not reach back so far) and stays inside one
        session, the newest that has a key frame before `to_mono_s`. Empty where there is none.
        """
        with self._lock:
            gops = [gop for gop in self._gops if gop.began_mono_s <= to_mono_s]
            gops = [gop for gop in gops if gop.session == gops[-1].session]
            first = max((i for i, gop in enumerate(gops) if gop.began_mono_s <= from_mono_s), default=0)
            packets = [packet for gop in gops[first:] for packet in gop.packets]
        while packets and packets[-1].at_mono_s > to_mono_s:
            packets.pop()  # from the end only: with B-frames an earlier one may be shown later and still be needed
        return packets

    def _measure(self) -> None:
        """Take the size of the group that ends now. Three that fit are needed after one that does not: sizes vary."""
        if self._gops:
            last = self._gops[-1]
            fits = last.whole and self._min_gops * last.size <= self._max_bytes
            self._long = max(0, self._long - 1) if fits and not self._early else _SHORT_FOR
            self._early = False

    def _continues(self, packet: Packet) -> bool:
        return (
            not packet.is_key
            and not self._cut
            and bool(self._gops)
            and self._gops[-1].session == packet.session
            and self._bytes + packet.size <= self._max_bytes
        )

    def _make_room(self, packet: Packet) -> None:
        keep = 0 if packet.is_key else 1  # the group that `packet` belongs to stays
        dropped = False
        while len(self._gops) > keep and self._bytes + packet.size > self._max_bytes:
            self._drop_oldest()
            dropped = True
        if dropped:
            rest_s = max(0.0, packet.at_mono_s - self._gops[0].began_mono_s) if self._gops else 0.0
            self._early |= rest_s < self._clip_s * (_SHORT_UNTIL if self._long else 1.0)

    def _expire(self) -> None:
        newest = self._newest_mono_s()
        while len(self._gops) > self._min_gops and newest - self._gops[1].began_mono_s >= self._span_s:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._bytes -= self._gops.popleft().size

    def _newest_mono_s(self) -> float:
        return max(packet.at_mono_s for packet in self._gops[-1].packets)
