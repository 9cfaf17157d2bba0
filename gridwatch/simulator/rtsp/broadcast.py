# SPDX-License-Identifier: AGPL-3.0-or-later
"""One camera's live stream to all who watch it. Packets are made once; nobody is sent anything older than he came.

A viewer starts with the next key picture. Each key picture is preceded by a sender report, so that every viewer has the
camera's clock before its first picture and again after each jump of pts. No socket, no clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gridwatch.simulator.rtsp.media import AccessUnit, VideoMedia, with_parameter_sets
from gridwatch.simulator.rtsp.rtcp import SenderReport
from gridwatch.simulator.rtsp.rtp import CLOCK_HZ, RtpSender, Segment
from gridwatch.simulator.rtsp.tamper import Door, Tamper

_FRAME_BYTES = 4
_REPORT_EVERY_S = 5.0


class Burst:
    """One picture's packets on their way to all viewers, put into the form that each needs once for all of them.

    Attributes:
        report: a compound of RTCP that goes before them; empty where there is none.
    """

    __slots__ = ("_datagrams", "_framed", "_segments", "_stray", "report")

    def __init__(self, report: bytes, segments: Sequence[Segment], stray: bytes = b"") -> None:
        self.report, self._segments, self._stray = report, segments, stray
        self._framed: dict[int, bytes] = {}
        self._datagrams: list[bytes] | None = None

    def framed(self, channel: int) -> bytes:
        """Return everything as interleaved frames, RTP on `channel` and RTCP on the next one (RFC 2326 10.12)."""
        framed = self._framed.get(channel)
        if framed is None:
            framed = self._framed[channel] = self._frame(channel)
        return framed

    def datagrams(self) -> list[bytes]:
        """Return the RTP packets, each by itself."""
        if self._datagrams is None:
            self._datagrams = [b"".join(segment) for segment in self._segments]
        return self._datagrams

    def _frame(self, channel: int) -> bytes:
        parts: list[bytes | memoryview] = [self._stray] if self._stray else []
        if self.report:
            parts += (b"$%c%b" % (channel + 1, len(self.report).to_bytes(2, "big")), self.report)
        start = bytes((0x24, channel))
        for head, body in self._segments:
            parts += (start, (len(head) + len(body)).to_bytes(2, "big"), head, body)
        return b"".join(parts)


class Viewer(Protocol):
    """A client that plays."""

    def send(self, burst: Burst) -> bool:
        """Take a picture without waiting; False when the client is too slow and was dropped."""
        ...

    def abort(self) -> None:
        """End the client's session now."""
        ...


@dataclass(slots=True)
class Broadcast:
    """Packetises one camera and hands it to its viewers.

    Attributes:
        start_timestamp: RTP timestamp of pts 0. Small, so that it is hours before its 32 bits wrap.
        tamper: what is wrong with the stream.
        door: what is wrong with how its clients are received.
        keyless: the stream has no key pictures to begin with: viewers begin with any picture.
        units, dropped_viewers: counts since the start.
    """

    path: str
    media: VideoMedia
    sender: RtpSender
    start_timestamp: int
    tamper: Tamper = field(default_factory=Tamper)
    door: Door = field(default_factory=Door)
    keyless: bool = False
    units: int = 0
    dropped_viewers: int = 0
    _waiting: set[Viewer] = field(default_factory=set)
    _watching: set[Viewer] = field(default_factory=set)
    _reported_at_s: float = 0.0

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
        if unit.media is not None and unit.media is not self.media:
            self._change(unit.media)
        starts = unit.is_key or (self.keyless and bool(self._waiting))
        if starts and self._waiting:
            self._watching |= self._waiting
            self._waiting.clear()
        if self._watching:
            self._hand_out(self._burst(unit, unix_s, starts=starts))

    def restart(self, ssrc: int, sequence: int, start_timestamp: int) -> None:
        """Go on as a camera does that was started again: another source, other numbers, other times."""
        self.sender = RtpSender(ssrc, sequence)
        self.start_timestamp = start_timestamp

    def jump(self, by_s: float) -> None:
        """Move all RTP timestamps from now on."""
        self.start_timestamp = (self.start_timestamp + round(by_s * CLOCK_HZ)) & 0xFFFF_FFFF

    def _change(self, media: VideoMedia) -> None:
        if media.codec != self.media.codec:  # what was described and set up holds no longer
            for viewer in (*self._waiting, *self._watching):
                viewer.abort()
                self.detach(viewer)
        self.media = media

    def _burst(self, unit: AccessUnit, unix_s: float, *, starts: bool) -> Burst:
        tamper, media = self.tamper, self.media
        timestamp = tamper.stamp((self.start_timestamp + round(unit.pts_s * CLOCK_HZ)) & 0xFFFF_FFFF)
        due = starts or unix_s - self._reported_at_s >= _REPORT_EVERY_S
        report = self._report(unix_s, timestamp) if due else b""
        if tamper.is_mute():
            return Burst(report, ())
        nals = unit.nals
        if starts:
            nals = with_parameter_sets(nals, media.parameter_sets, media.codec)
        segments = self.sender.segments(tamper.nals(nals, media.codec), timestamp, media.codec)
        return Burst(report, tamper.segments(segments), tamper.stray())

    def _report(self, unix_s: float, timestamp: int) -> bytes:
        told_s = self.tamper.reported_s(unix_s)
        if told_s is None:
            return b""
        self._reported_at_s = unix_s
        sender = self.sender
        report = SenderReport(sender.ssrc, told_s, timestamp, sender.packets, sender.octets)
        return report.compound(f"{self.path}@gridwatch")

    def _hand_out(self, burst: Burst) -> None:
        for viewer in tuple(self._watching):
            if not viewer.send(burst):
                self.dropped_viewers += 1
                self.detach(viewer)
