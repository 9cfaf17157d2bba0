# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which packets of one camera are decoded alone. Looks at headers and times only; decodes nothing.

Usual cameras are sampled at their key frames. Some send none: with intra-refresh a picture heals column by column, with an
endless group only the first is whole. Those are told here too, and have to be decoded picture by picture.
"""

from collections import deque

from ingest import annexb
from ingest.errors import DamagedError
from ingest.packets import Packet

RAREST_KEY_S = 12.0  # rarer than so is too rare for a look: as good as none

_LEAST_INTERVAL_S = 0.3
_FIRST_GROUP_S = (
    8.0  # so long the first group of a stream is waited for: a camera is not to be blind meanwhile
)
_FULL = 0.75  # share of the memory that the first group of a stream may take before it counts as endless
_LONGEST_STEP_S = 2.0  # a longer gap between two packets is a gap of the stream, not a wait for a key frame


class Sampler:
    """The key frames of one camera, at most three a second. One thread at a time.

    Attributes:
        keyless: no key frames come that would do: every picture has to be decoded. It ends when two come within 12 s.
    """

    def __init__(self) -> None:
        self.keyless = False
        self._session: int | None = None
        self._keys = 0
        self._admitted_mono_s = float("-inf")
        self._last_mono_s = 0.0
        self._without_s = 0.0  # since the last key frame, while packets came
        self._intervals: deque[float] = deque(maxlen=9)
        self._usual_s = RAREST_KEY_S  # their median

    @property
    def unproven(self) -> bool:
        """Whether this opening of the stream has brought less than two key frames."""
        return self._keys <= 1

    def admits(self, packet: Packet, *, memory_share: float = 0.0) -> bool:
        """Tell whether `packet` is a key frame that is to be decoded alone.

        Args:
            memory_share: how much of the ring the group takes, 0 to 1: the first group of a stream that is about to be
                cut there would be lost for good if it proved endless.
        """
        if packet.session != self._session:
            self._session, self._keys, self._without_s = packet.session, 0, 0.0
            self._intervals.clear()
            self._usual_s, self._last_mono_s = RAREST_KEY_S, packet.at_mono_s
        step_s, self._last_mono_s = packet.at_mono_s - self._last_mono_s, packet.at_mono_s
        if step_s > 0.0:
            self._without_s += min(step_s, _LONGEST_STEP_S)
        if packet.is_key:
            return self._key(packet)
        first = self.unproven and (self._without_s > _FIRST_GROUP_S or memory_share >= _FULL)
        if first or self._without_s > self._patience_s():
            self.keyless = True
        return False

    def _patience_s(self) -> float:
        """Return how long a key frame is waited for: of a camera that sent one a second it is missed before it is blind."""
        return min(RAREST_KEY_S, max(_FIRST_GROUP_S, 3 * self._usual_s))

    def _key(self, packet: Packet) -> bool:
        if _heals_later(packet):
            self.keyless = True  # such a one begins a refresh; alone it shows one column of the picture
            return False
        if self._keys and self._without_s <= RAREST_KEY_S:
            self.keyless = False
        if self._keys:
            self._intervals.append(self._without_s)
            self._usual_s = sorted(self._intervals)[len(self._intervals) // 2]
        self._keys, self._without_s = self._keys + 1, 0.0
        if 0.0 <= packet.at_mono_s - self._admitted_mono_s < _LEAST_INTERVAL_S:
            return False  # a camera that sends key frames only must not cost as much as ten others
        self._admitted_mono_s = packet.at_mono_s
        return True


def _heals_later(packet: Packet) -> bool:
    try:
        return annexb.heals_later(packet.payload, packet.info.extradata, packet.info.codec)
    except DamagedError:
        return False  # the decoder will say so, and with it the camera's state
