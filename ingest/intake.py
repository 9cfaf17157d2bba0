# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of one camera from packet to look, without threads: the same live and in lockstep."""

from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock
from gridwatch.core.look import Look
from ingest.frame import DecodedFrame
from ingest.gate import Gate
from ingest.packets import Packet
from ingest.ring import Ring
from ingest.sight import Sight

_LEAST_INTERVAL_S = 0.3


class CameraIntake:
    """What a camera's packets and pictures go through.

    `take` belongs to the thread that reads the stream, `see` and `damaged` to whoever decodes, one at a time.

    Attributes:
        camera: what is watched.
        ring: the last seconds of packets.
        sight: whether it sees.
        last_picture: the last decoded picture, at most 640 wide; None if there is none yet.
    """

    def __init__(
        self,
        camera: Camera,
        clock: Clock,
        *,
        ring: Ring | None = None,
        gate: Gate | None = None,
        sight: Sight | None = None,
    ) -> None:
        self.camera = camera
        self.ring = ring or Ring()
        self.sight = sight or Sight(camera.camera_id, camera.name, clock)
        self.last_picture: DecodedFrame | None = None
        self._gate = gate or Gate()
        self._admitted_mono_s = float("-inf")

    def take(self, packet: Packet) -> Packet | None:
        """Remember `packet`; return it if it is to be decoded: key frames, at most three a second."""
        self.ring.append(packet)
        since = packet.at_mono_s - self._admitted_mono_s
        if not packet.is_key or 0.0 <= since < _LEAST_INTERVAL_S:
            return None  # a camera that sends key frames only must not cost as much as ten others
        self._admitted_mono_s = packet.at_mono_s
        return packet

    def see(self, packet: Packet, frame: DecodedFrame) -> Look | None:
        """Note the picture of `packet`; return a look if the network should see it."""
        self.last_picture = frame.reduced()
        self.sight.decoded(packet.at_mono_s)
        why, change = self._gate.admit(frame.luma(), packet.at_mono_s)
        if why is None:
            return None
        return Look(
            camera_id=self.camera.camera_id,
            why=why,
            at_mono_s=packet.at_mono_s,
            captured_at=packet.captured_at,
            gate=change,
            frame=frame,
        )

    def damaged(self, reason: str) -> None:
        """Say that a key frame could not be decoded; a camera that sends nothing better becomes blind."""
        self.sight.failed(reason)
