# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clips and variants that the cameras of one process share: each is read or coded once, and kept within a bound."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.recoding import LOOP_S, Clip, LiveTrack, make_track
from gridwatch.simulator.tracks import MEMORY_BYTES, CodedTrack, MemoryTrack, open_track
from gridwatch.simulator.variants import Plan, Variant, scaled

KEPT_BYTES = 1024 * 1024 * 1024
MAX_WAITING = 64
"""So many variants are in making at once; who asks for one more asks again."""


@dataclass(frozen=True, slots=True)
class Order:
    """A variant of one clip, as it is asked for.

    Attributes:
        shown: None: the clip as it is, only scaled.
        width_px: scaled to so many pixels across; None: the clip's own size.
        position_s: which picture of the clip a still variant shows; 0 for all others, so that they are shared.
    """

    path: Path
    shown: Variant | None
    width_px: int | None = None
    position_s: float = 0.0

    def plan(self, clip: Clip) -> Plan:
        """Return how it is made."""
        coding = clip.coding
        if self.width_px is not None:
            height = round(coding.height * self.width_px / coding.width / 2) * 2
            coding = scaled(coding, self.width_px & ~1, height)
        return Plan(coding) if self.shown is None else self.shown.plan(coding)


class _Making:
    """A variant that is being coded in a thread of its own, or could not be: that stays until somebody was told."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.problem: str | None = None


class ClipShelf:
    """Reads clips and has variants made, one at a time, for cameras in any number of threads.

    Args:
        memory_bytes: a larger clip file is not kept: each camera reads it for itself.
        kept_bytes: all that is kept; beyond it what was longest not asked for goes.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
        self._memory_bytes, self._kept_bytes = memory_bytes, kept_bytes
        self._kept: OrderedDict[Path | Order, MemoryTrack] = OrderedDict()
        self._making: dict[Order, _Making] = {}
        self._lock = threading.Lock()
        self._reading, self._coding = threading.Lock(), threading.Lock()
        self._closed = threading.Event()

    @property
    def kept_bytes(self) -> int:
        """How much coded video is kept now."""
        with self._lock:
            return sum(track.size_bytes for track in self._kept.values())

    def clip(self, path: Path) -> CodedTrack:
        """Return a clip's own track: a shared one in memory, or one that is the caller's to close.

        Raises:
            InputError: it cannot be served.
        """
        with self._reading:
            track: CodedTrack | None = self._find(path)
            if track is None:
                track = open_track(path, self._memory_bytes)
                if isinstance(track, MemoryTrack):
                    self._keep(path, track)
        return track

    def live(self, order: Order, clip: CodedTrack) -> LiveTrack | None:
        """Return a track of the caller's own where the variant can only be coded while it is shown, else None.

        Raises:
            FeedError: its coder does not start.
        """
        source = Clip(order.path, clip)
        plan = order.plan(source)
        return LiveTrack(source, plan) if plan.is_endless else None

    def made(self, order: Order, clip: CodedTrack) -> MemoryTrack:
        """Return a variant's track; code it now, whole, where it is not kept. Takes as long as that takes.

        Raises:
            FeedError: it cannot be coded.
        """
        with self._coding:
            track = self._find(order)
            if track is None:
                length_s = clip.duration_s if order.shown is None else LOOP_S
                source = Clip(order.path, clip)
                plan = order.plan(source)
                track = make_track(source, plan, order.position_s, length_s, self._closed.is_set)
                self._keep(order, track)
        return track

    def ask(self, order: Order, clip: CodedTrack, wait_s: float) -> MemoryTrack | None:
        """Return a variant's track, or None while another thread codes it; ask again.

        Args:
            wait_s: how long to wait for it.

        Raises:
            FeedError: it could not be coded.
        """
        track = self._find(order)
        if track is not None:
            return track
        making = self._making_of(order, clip)
        if making is None:
            return None
        making.done.wait(wait_s)
        if making.problem is not None:
            with self._lock:
                self._making.pop(order, None)
            raise FeedError(making.problem)
        return self._find(order)

    def close(self) -> None:
        """End what is being coded; what is kept can still be shown."""
        self._closed.set()

    def _making_of(self, order: Order, clip: CodedTrack) -> _Making | None:
        with self._lock:
            making = self._making.get(order)
            if making is not None:
                return making
            if len(self._making) >= MAX_WAITING:
                self._making = {key: one for key, one in self._making.items() if one.problem is None}
            if len(self._making) >= MAX_WAITING:
                return None
            making = self._making[order] = _Making()
        work = (order, clip, making)
        threading.Thread(target=self._make, args=work, name="variant-coder", daemon=True).start()
        return making

    def _make(self, order: Order, clip: CodedTrack, making: _Making) -> None:
        try:
            self.made(order, clip)
        except Exception as exc:  # noqa: BLE001  the thread's top loop: who asks next is told
            making.problem = str(exc)
        else:
            with self._lock:
                self._making.pop(order, None)
        finally:
            making.done.set()

    def _find(self, key: Path | Order) -> MemoryTrack | None:
        with self._lock:
            track = self._kept.get(key)
            if track is not None:
                self._kept.move_to_end(key)
            return track

    def _keep(self, key: Path | Order, track: MemoryTrack) -> None:
        with self._lock:
            self._kept[key] = track
            total = sum(kept.size_bytes for kept in self._kept.values())
            while total > self._kept_bytes and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                total -= dropped.size_bytes
