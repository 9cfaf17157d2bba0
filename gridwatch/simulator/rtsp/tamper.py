# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a camera's stream and its manners towards clients can be spoilt. Here nothing is: these are the places only.

What is done at them is chosen by whoever runs the city (gridwatch.simulator.wire_faults).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gridwatch.simulator.rtsp.media import Codec
from gridwatch.simulator.rtsp.rtp import Segment


class Tamper:
    """What a camera's stream passes on its way out; as it stands, unchanged."""

    def is_mute(self) -> bool:
        """True while no RTP is sent."""
        return False

    def reported_s(self, unix_s: float) -> float | None:
        """Return the wall time that a sender report tells, seconds since 1970; None: no report is sent."""
        return unix_s

    def stamp(self, timestamp: int) -> int:
        """Return the RTP timestamp that is sent, 32 bits at 90 kHz."""
        return timestamp

    def nals(self, nals: tuple[bytes, ...], codec: Codec) -> tuple[bytes, ...]:
        """Return the NAL units of one picture that are sent."""
        _ = codec
        return nals

    def segments(self, segments: list[Segment]) -> Sequence[Segment]:
        """Return the packets of one picture that are sent, in their order."""
        return segments

    def stray(self) -> bytes:
        """Return bytes that stand in the RTSP connection before the next picture and belong to nothing."""
        return b""


@dataclass(slots=True)
class Door:
    """How clients of one camera are received; as it stands, properly.

    Attributes:
        shut: a connection is closed as soon as it asks for this camera.
        deaf: the connection stands, and nothing is answered or sent on it.
        status: answers every request, whatever it is; None: as it should be.
        drip_s: seconds between single bytes; 0: everything at once.
    """

    shut: bool = False
    deaf: bool = False
    status: int | None = None
    drip_s: float = 0.0
