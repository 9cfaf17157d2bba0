# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether one camera is decoded picture by picture now, and the packets that wait for it. Decodes nothing."""

import threading
from collections import deque

from gridwatch.core.clock import Clock
from gridwatch.core.look import Interest
from ingest.follow_budget import FollowBudget
from ingest.packets import Packet
from ingest.ring import Ring

LOOKS_STEP_S = 0.5  # of a followed camera

_SUSPECT_EVERY_S = 20.0
_SUSPECT_AT_MOST_S = 30.0
_WISH_HOLDS_S = 30.0
_GROUPS_AT_MOST = 2
_BEHIND_AT_LEAST_S = 4.0  # groups may be as short as one picture


class Following:
    """The following of one camera. Safe for several threads.

    A camera is followed while somebody has an interest in it and the budget has a place; one without key frames always. A
    mere change is followed for at most 30 s if nothing comes of it, until the picture was quiet again, and at most every 20 s:
    a busy street must not hold a place for ever.

    What waits is bounded by two groups of pictures and by the ring's bytes; if the decoders are slower, it goes on at the
    newest key frame.

    Attributes:
        followed: somebody is interested and there is a place.
        everything: there are no key frames; every picture is decoded, followed or not.
        refused: somebody is interested and there is no place.
        overflows: how often packets were left out because the decoders were slower.
    """

    def __init__(self, camera_id: str, ring: Ring, clock: Clock, budget: FollowBudget | None) -> None:
        self._camera_id, self._ring, self._clock, self._budget = camera_id, ring, clock, budget
        self._lock = threading.Lock()
        self._queue: deque[Packet] = deque()
        self._bytes = self._keys = 0
        self._wanting_key_since_mono_s: float | None = None
        self._chain = 0  # counts up where the queue does not continue what was taken from it before
        self._wish, self._wished_mono_s = Interest.NOTHING, 0.0
        self._suspect_mono_s: float | None = None  # since when; None: it is quiet, or enough is enough
        self._suspected_mono_s = float("-inf")
        self._judged_mono_s = float("-inf")
        self.followed = self.everything = self.refused = False
        self.overflows = 0

    @property
    def active(self) -> bool:
        """Whether pictures are decoded one by one."""
        return self.followed or self.everything

    def keep(self, packet: Packet) -> None:
        """Take the next packet into the ring, and into what waits where the camera is followed."""
        with self._lock:
            self._ring.append(packet)
            if self.followed or self.everything:
                self._put(packet)

    def wish(self, interest: Interest) -> None:
        """Say what the detectors think of the camera; it holds for 30 s."""
        with self._lock:
            self._wish, self._wished_mono_s = interest, self._clock.mono_s()
            self._decide()

    def changed(self, at_mono_s: float) -> bool:
        """Say that the picture changed after it was quiet; return whether that is to be looked into now."""
        with self._lock:
            if 0.0 <= at_mono_s - self._suspected_mono_s < _SUSPECT_EVERY_S:
                return False
            self._suspect_mono_s = self._suspected_mono_s = at_mono_s
            return True

    def judge(self, at_mono_s: float, *, restless: bool) -> None:
        """Take the time of a picture, and whether changes in it were seen of late."""
        with self._lock:
            self._judged_mono_s = self._clock.mono_s()
            since = self._suspect_mono_s
            if since is not None and not (restless and 0.0 <= at_mono_s - since <= _SUSPECT_AT_MOST_S):
                self._suspect_mono_s = None
            self._decide()

    def may_decode_group(self) -> bool:
        """Tell whether the budget allows to decode a group of pictures in memory."""
        return self._budget is not None and self._budget.may_decode_group(self._clock.mono_s())

    def set_everything(self, *, on: bool) -> None:
        """Say whether every picture has to be decoded because there are no key frames."""
        with self._lock:
            was_active, self.everything = self.active, on
            self._switched(was_active)

    def renew(self) -> None:
        """Look whether the place is still there: another camera may have taken it."""
        with self._lock:
            if not self.followed or self._budget is None:
                return
            silent_s = self._clock.mono_s() - max(self._judged_mono_s, self._wished_mono_s)
            if silent_s > _WISH_HOLDS_S:
                self._suspect_mono_s = None  # nothing came of following it: key frames alone may do
            if silent_s > _WISH_HOLDS_S or not self._budget.holds(self._camera_id):
                self._decide()

    def take(self, at_most: int) -> tuple[list[Packet], int]:
        """Return the packets that wait, at most so many, and the number of the chain that they continue."""
        with self._lock:
            packets = [self._queue.popleft() for _ in range(min(at_most, len(self._queue)))]
            self._bytes -= sum(packet.size for packet in packets)
            self._keys -= sum(packet.is_key for packet in packets)
            return packets, self._chain

    def lost(self, chain: int) -> None:
        """Say that the decoder cannot go on in this chain before the next key frame."""
        with self._lock:
            if chain == self._chain and not any(packet.is_key for packet in self._queue):
                self._clear(self._clock.mono_s())

    def stranded_s(self) -> float:
        """Return for how long a stream without key frames has waited for one to begin with; 0.0 where it does not."""
        since = self._wanting_key_since_mono_s
        return 0.0 if since is None or not self.everything else self._clock.mono_s() - since

    def _decide(self) -> None:
        was_active = self.active
        interest = self._interest()
        self.followed = self.refused = False
        if self._budget is not None and interest is not Interest.NOTHING:
            self.followed = self._budget.ask(self._camera_id, interest, self._clock.mono_s())
            self.refused = not self.followed
        elif self._budget is not None:
            self._budget.leave(self._camera_id)
        self._switched(was_active)

    def _interest(self) -> Interest:
        fresh = self._clock.mono_s() - self._wished_mono_s <= _WISH_HOLDS_S
        suspect = Interest.NOTHING if self._suspect_mono_s is None else Interest.SUSPECT
        return max(self._wish if fresh else Interest.NOTHING, suspect)

    def _switched(self, was_active: bool) -> None:
        if self.active == was_active:
            return
        self._clear(None)
        if self.active:
            self._queue.extend(self._ring.newest_group())
            self._bytes = sum(packet.size for packet in self._queue)
            self._keys = bool(self._queue)
            self._wanting_key_since_mono_s = None if self._queue else self._clock.mono_s()

    def _put(self, packet: Packet) -> None:
        if packet.is_key:
            self._wanting_key_since_mono_s = None
        if self._wanting_key_since_mono_s is not None:
            return
        self._queue.append(packet)
        self._bytes += packet.size
        self._keys += packet.is_key
        behind_s = packet.at_mono_s - self._queue[0].at_mono_s
        too_old = self._keys > _GROUPS_AT_MOST and behind_s > _BEHIND_AT_LEAST_S
        if too_old or self._bytes > self._ring.max_bytes:
            self._skip()

    def _skip(self) -> None:
        """Go on at the newest key frame that waits; where there is none, at the next."""
        self.overflows += 1
        kept = self._newest_group()
        self._clear(None if kept else self._clock.mono_s())
        self._queue.extend(kept)
        self._bytes, self._keys = sum(packet.size for packet in kept), len(kept) and 1

    def _newest_group(self) -> list[Packet]:
        kept: list[Packet] = []
        for packet in reversed(self._queue):
            kept.append(packet)
            if packet.is_key:
                whole = sum(each.size for each in kept) <= self._ring.max_bytes
                return kept[::-1] if whole else []
        return []

    def _clear(self, wanting_key_since_mono_s: float | None) -> None:
        self._queue.clear()
        self._bytes = self._keys = 0
        self._chain += 1
        self._wanting_key_since_mono_s = wanting_key_since_mono_s
