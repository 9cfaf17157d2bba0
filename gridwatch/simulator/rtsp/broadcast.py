# SPDX-License-Identifier: AGPL-3.0-or-later
"""One camera's live stream to all who watch it. Packets are made once; nobody is sent anything older than he came.

A viewer starts with the next key picture. Each key picture is preceded by a sender report, so that every viewer has the
camera's clock before its first picture and again after each jump of pts. No socket, no clock.
"""

from dataclasses import dataclass, field
from typing import Protocol

from gridwatch.simulator.rtsp.h264 import AccessUnit, with_parameter_sets
from gridwatch.simulator.rtsp.rtcp import SenderReport
from gridwatch.simulator.rtsp.rtp import CLOCK_HZ, RtpSender
from gridwatch.simulator.rtsp.sdp import VideoMedia
from gridwatch.simulator.rtsp.wire import interleaved_header


class Viewer(Protocol):
    """A client that plays."""

    @property
    def channel(self) -> int:
        """Its interleaved RTP channel; RTCP has the next one."""
        ...

    def send(self, data: bytes) -> bool:
        """Take whole interleaved frames without waiting; False when it is too slow and was dropped."""
        ...


@dataclass(slots=True)
class Broadcast:
    """Packetises one camera and hands it to its viewers.

    Attributes:
        start_timestamp: RTP timestamp of pts 0. Small, so that it is hours before its 32 bits wrap.
        units, dropped_viewers: counts since the start.
    """

    path: str
    media: VideoMedia
    sender: RtpSender
    start_timestamp: int
    units: int = 0
    dropped_viewers: int = 0
    _waiting: set[Viewer] = field(default_factory=set)
    _watching: set[Viewer] = field(default_factory=set)

    @property
    def viewers(self) -> int:
        """How many are attached."""
        return len(self._waiting) + len(self._watching)

    def attach(self, viewer: Viewer) -> None:
        """Let `viewer` join at the next key picture."""
        self._waiting.add(viewer)

    def detach(self, viewer: Viewer) -> None:
        """Send `viewer` nothing more; unknown ones are ignored."""
        self._waiting.discard(viewer)
        self._watching.discard(viewer)

    def publish(self, unit: AccessUnit, unix_s: float) -> None:
        """Send one picture to all; `unix_s` is its wall time for the sender report."""
        self.units += 1
        if unit.is_key:
            self._watching |= self._waiting
            self._waiting.clear()
        timestamp = (self.start_timestamp + round(unit.pts_s * CLOCK_HZ)) & 0xFFFF_FFFF
        report = self._report(unix_s, timestamp) if unit.is_key else b""
        nals = with_parameter_sets(unit.nals, self.media.parameter_sets) if unit.is_key else unit.nals
        packets = self.sender.packetise(nals, timestamp)
        framed: dict[int, bytes] = {}
        for viewer in tuple(self._watching):
            channel = viewer.channel
            if channel not in framed:
                framed[channel] = _frame(channel, report, packets)
            if not viewer.send(framed[channel]):
                self.dropped_viewers += 1
                self.detach(viewer)

    def _report(self, unix_s: float, timestamp: int) -> bytes:
        sender = self.sender
        report = SenderReport(sender.ssrc, unix_s, timestamp, sender.packets, sender.octets)
        return report.compound(f"{self.path}@gridwatch")


def _frame(channel: int, report: bytes, packets: list[bytes]) -> bytes:
    parts = [interleaved_header(channel + 1, len(report)), report] if report else []
    for packet in packets:
        parts += (interleaved_header(channel, len(packet)), packet)
    return b"".join(parts)
