# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks of one camera that came together and are to be answered in order, one after the other.

The inference service holds one look of a camera and lets a newer one replace it. That is right for a live picture and
wrong for the pictures of a few seconds that were decoded at once because something changed in them.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gridwatch.core.look import Look

MOST = 12  # looks of one camera: a group of pictures of 5 s at two a second, and the one that opened the gate


@dataclass(slots=True)
class _Burst:
    """Looks of one camera that came together: the one in the service, and those that follow."""

    asked: Look
    waiting: deque[Look]


class LookLine:
    """Hands looks to the service: a burst one by one, a single one at once. Safe for several threads.

    Args:
        submit: gives a look to the service; must not block. What it does not give is to be told to `answered`.

    Attributes:
        dropped: looks of bursts that found no room, and live ones that a newer one replaced while a burst was answered.
    """

    def __init__(self, submit: Callable[[Look], None]) -> None:
        self._submit = submit
        self._bursts: dict[str, _Burst] = {}
        self._live: dict[str, Look] = {}  # the newest look that came meanwhile
        self._lock = threading.RLock()  # who submits may say at once that nothing comes of it
        self.dropped = 0

    def put(self, looks: Sequence[Look]) -> None:
        """Have looks of one camera answered, in their order; none at all is nothing to do."""
        if not looks:
            return
        camera_id = looks[0].camera_id
        with self._lock:
            burst = self._bursts.get(camera_id)
            if burst is not None:
                self._keep(camera_id, looks, burst.waiting)
                return
            if len(looks) > 1:
                self._bursts[camera_id] = _Burst(looks[0], deque(looks[1:MOST]))
                self.dropped += max(0, len(looks) - MOST)
            self._submit(looks[0])  # under the lock: what goes later must not come first

    def answered(self, look: Look) -> None:
        """Say that a look was answered: the next one of its burst may go. Others, asked before it, change nothing."""
        camera_id = look.camera_id
        with self._lock:
            burst = self._bursts.get(camera_id)
            if burst is None or burst.asked is not look:
                return
            following = burst.waiting.popleft() if burst.waiting else self._live.pop(camera_id, None)
            if following is None or not (burst.waiting or camera_id in self._live):
                del self._bursts[camera_id]  # what goes now is the last: a newer one may replace it
            else:
                burst.asked = following
            if following is not None:
                self._submit(following)

    def forget(self, camera_id: str) -> None:
        """Drop what waits of a camera."""
        with self._lock:
            self._bursts.pop(camera_id, None)
            self._live.pop(camera_id, None)

    def is_idle(self) -> bool:
        """Tell whether nothing waits here."""
        with self._lock:
            return not self._bursts

    def _keep(self, camera_id: str, looks: Sequence[Look], waiting: deque[Look]) -> None:
        if len(looks) == 1:
            self.dropped += camera_id in self._live
            self._live[camera_id] = looks[0]
            return
        room = MOST - len(waiting)
        waiting.extend(looks[:room])
        self.dropped += max(0, len(looks) - room)
