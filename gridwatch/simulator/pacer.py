# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sends every camera's pictures when they are due: one task for all cameras of a city, in order of their times."""

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from gridwatch.simulator.feed import Ahead
from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.timeline import Timeline

_EMPTY_POLL_S = 0.02
_SHORTEST_WAIT_S = 0.001
_IN_A_ROW = 32
_IN_TIME_S = 0.04


@dataclass(slots=True)
class Paced:
    """A camera that is sent.

    Attributes:
        late_s: the longest that a picture left after its time, seconds, since the first that left in time.
    """

    ahead: Ahead
    broadcast: Broadcast
    late_s: float = 0.0
    has_caught_up: bool = False


class Pacer:
    """Takes units from each camera's stock when they are due. A camera that breaks is told of and left out."""

    def __init__(self, cameras: Sequence[Paced], timeline: Timeline) -> None:
        self._cameras, self._timeline = cameras, timeline
        self._due: list[tuple[float, int]] = [(0.0, index) for index in range(len(cameras))]

    async def run(self) -> None:
        """Send until cancelled."""
        while self._due:
            for _ in range(_IN_A_ROW):
                if not self._due or self._due[0][0] > self._timeline.now_s():
                    break
                self._send_next()
            left_s = self._due[0][0] - self._timeline.now_s() if self._due else 0.0
            await asyncio.sleep(0 if left_s <= 0 else max(left_s, _SHORTEST_WAIT_S))

    def _send_next(self) -> None:
        _, index = self._due[0]
        try:
            due_s = self._sent(self._cameras[index])
        except Exception as exc:  # noqa: BLE001  the top loop of all cameras: one that breaks must not end the others
            heapq.heappop(self._due)
            _tell(exc)
        else:
            heapq.heapreplace(self._due, (due_s, index))

    def _sent(self, camera: Paced) -> float:
        """Send what is due of one camera; return when to look at it again."""
        ahead, timeline = camera.ahead, self._timeline
        unit = ahead.peek()
        if unit is None:
            return timeline.now_s() + _EMPTY_POLL_S
        late_s = timeline.now_s() - unit.due_s
        if late_s < 0:
            return unit.due_s
        camera.has_caught_up = camera.has_caught_up or late_s < _IN_TIME_S
        if camera.has_caught_up:
            camera.late_s = max(camera.late_s, late_s)
        camera.broadcast.publish(ahead.pop(), timeline.unix_s(unit.due_s))
        following = ahead.peek()
        return timeline.now_s() + _EMPTY_POLL_S if following is None else following.due_s


def _tell(exc: Exception) -> None:
    context = {"message": "a camera's pace ended", "exception": exc}
    asyncio.get_running_loop().call_exception_handler(context)
