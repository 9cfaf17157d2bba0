# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether one camera sees, judged by what was decoded and answered, never by what was not complained about."""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from gridwatch.core.camera import CameraStatus, SightState
from gridwatch.core.clock import Clock
from gridwatch.core.look import Look

_REMEMBERED = 9
_RAREST_KEYS_S = 60.0  # cameras that save bits send a key frame every 10 to 20 s, hardly ever less


@dataclass(frozen=True, slots=True)
class SightBounds:
    """How long silence is tolerated.

    Attributes:
        blind_after_s: without a decoded picture for so long, or for `key_intervals` of the camera's usual key
            intervals where that is longer, it is blind.
        answer_within_s: pictures come and the network answers none of them for so long (or for two key
            intervals): degraded.
    """

    blind_after_s: float = 10.0
    key_intervals: float = 3.0
    answer_within_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a camera's sight. `at` is when the new state began, UTC."""

    camera_id: str
    before: SightState
    after: SightState
    reason: str
    at: datetime


class Sight:
    """The state of one camera: blind until a picture was decoded. Safe for several threads.

    It is judged when somebody asks (`tick`, `status`), from times: nothing has to happen for a camera to become blind.
    """

    def __init__(self, camera_id: str, name: str, clock: Clock, bounds: SightBounds | None = None) -> None:
        self._camera_id, self._name, self._clock = camera_id, name, clock
        self._bounds = bounds or SightBounds()
        self._lock = threading.Lock()
        self._state = self._told = SightState.BLIND
        self._since = clock.now()
        self._trouble = "not connected yet"
        self._unknown = ""
        self._decoded: tuple[float, datetime] | None = None
        self._key_mono_s = 0.0
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self._answered_mono_s = 0.0
        self._look: tuple[float, datetime] | None = None

    def connecting(self, reason: str = "connecting") -> None:
        """Say that the stream is being opened; shown until a picture comes, unless a failure is known."""
        with self._lock:
            self._trouble = self._trouble if self._failing() else reason

    def failed(self, reason: str) -> None:
        """Say what is wrong, in one short phrase; it becomes the reason once the camera counts as blind."""
        with self._lock:
            self._trouble = reason

    def decoded(self, at_mono_s: float) -> None:
        """Say that a picture of the time `at_mono_s` was decoded now."""
        with self._lock:
            self._judge()
            gap_s, blind = at_mono_s - self._key_mono_s, self._state is SightState.BLIND
            if blind:  # the time without pictures is nobody's silence
                self._answered_mono_s, self._unknown = self._clock.mono_s(), ""
            # Nor is it a key interval, unless the stream ran on without a failure: then key frames are simply rare here.
            rare = not self._trouble and gap_s <= _RAREST_KEYS_S
            if gap_s > 0 and (rare or not blind):
                self._intervals.append(gap_s)
            self._key_mono_s = at_mono_s
            self._decoded = self._clock.mono_s(), self._clock.now()
            self._trouble = ""
            self._judge()

    def looked(self, look: Look) -> None:
        """Say that the network answered `look`."""
        with self._lock:
            if self._look is None or look.at_mono_s >= self._look[0]:
                self._look = look.at_mono_s, look.captured_at
            self._answered_mono_s = self._clock.mono_s()
            self._unknown = ""
            self._judge()

    def unknown(self, reason: str) -> None:
        """Say that a look got no answer: nothing is known of it, which is not that nothing is there."""
        with self._lock:
            self._unknown = reason
            self._answered_mono_s = self._clock.mono_s()
            self._judge()

    def tick(self) -> Transition | None:
        """Judge anew; return the change since the last tick, or None."""
        with self._lock:
            self._judge()
            if self._state is self._told:
                return None
            before, self._told = self._told, self._state
            return Transition(self._camera_id, before, self._state, self._reason(), self._since)

    def status(self) -> CameraStatus:
        """Return what is known now."""
        with self._lock:
            self._judge()
            age = None if self._look is None else max(0.0, self._clock.mono_s() - self._look[0])
            return CameraStatus(
                camera_id=self._camera_id,
                name=self._name,
                state=self._state,
                reason=self._reason(),
                since=self._since,
                last_look_at=None if self._look is None else self._look[1],
                last_look_age_s=age,
            )

    def _failing(self) -> bool:
        return self._trouble not in ("", "not connected yet", "connecting")

    def _judge(self) -> None:
        state, began = self._seen_now()
        if state is not self._state:
            self._state, self._since = state, began

    def _seen_now(self) -> tuple[SightState, datetime]:
        now = self._clock.now()
        if self._decoded is None:
            return SightState.BLIND, now
        decoded_mono_s, decoded_at = self._decoded
        if self._clock.mono_s() - decoded_mono_s > self._blind_after_s():
            return SightState.BLIND, decoded_at  # since its last picture, not since we noticed
        return (SightState.DEGRADED if self._unanswered() else SightState.SEEING), now

    def _unanswered(self) -> bool:
        waited = self._clock.mono_s() - self._answered_mono_s
        if waited > max(self._bounds.answer_within_s, 2 * self._usual_s()):
            self._unknown = self._unknown or "the network does not answer"
        return self._unknown != ""

    def _blind_after_s(self) -> float:
        return max(self._bounds.blind_after_s, self._bounds.key_intervals * self._usual_s())

    def _usual_s(self) -> float:
        return sorted(self._intervals)[len(self._intervals) // 2] if self._intervals else 0.0

    def _reason(self) -> str:
        if self._state is SightState.BLIND:
            return self._trouble or "no picture could be decoded"
        return self._unknown if self._state is SightState.DEGRADED else ""
