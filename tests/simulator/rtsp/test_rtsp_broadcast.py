# SPDX-License-Identifier: AGPL-3.0-or-later
"""One stream to many viewers, without a socket."""

import pytest

from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.media import AccessUnit, ParameterSets, VideoMedia
from gridwatch.simulator.rtsp.rtcp import SenderReport, parse_compound
from gridwatch.simulator.rtsp.rtp import RtpPacket, RtpSender
from gridwatch.simulator.rtsp.wire import InterleavedFrame, RtspReader

SPS, PPS = b"\x67\x42\xc0\x0d", b"\x68\x01"
ORIGIN = 1_767_323_000.0


class Viewer:
    """A client that keeps what it gets, or is too slow for it."""

    def __init__(self, channel=0, *, slow=False):
        self.channel, self.slow, self.reader = channel, slow, RtspReader()

    def send(self, burst):
        if not self.slow:
            self.reader.feed(burst.framed(self.channel))
        return not self.slow

    def abort(self):
        self.aborted = True

    def frames(self):
        found = []
        while (message := self.reader.next_message()) is not None:
            assert isinstance(message, InterleavedFrame)
            found.append(message)
        return found

    def packets(self):
        return [RtpPacket.parse(frame.payload) for frame in self.frames() if frame.channel == self.channel]


@pytest.fixture
def broadcast():
    media = VideoMedia(ParameterSets((SPS,), (PPS,)), 320, 240, 10.0)
    return Broadcast("gate-1", media, RtpSender(ssrc=7, sequence=65_535), start_timestamp=1000)


def send(broadcast, first, last, *, key_every=5):
    for index in range(first, last):
        is_key = index % key_every == 0
        nal = b"\x65key" if is_key else b"\x41%d" % index
        broadcast.publish(AccessUnit((nal,), index / 10, index / 10, is_key), ORIGIN + index / 10)


def test_a_late_viewer_starts_with_the_next_key_picture(broadcast):
    """Nothing older is sent: no replay, and no picture that it could not decode."""
    viewer = Viewer()
    send(broadcast, 0, 7)
    broadcast.attach(viewer)
    send(broadcast, 7, 12)
    payloads = [packet.payload for packet in viewer.packets()]
    assert payloads == [SPS, PPS, b"\x65key", b"\x4111"]


def test_a_key_picture_comes_with_the_cameras_clock(broadcast):
    """The report before it maps its RTP timestamp to its wall time, and counts what was sent before."""
    viewer = Viewer(channel=4)
    broadcast.attach(viewer)
    send(broadcast, 0, 6)
    reports = [frame for frame in viewer.frames() if frame.channel == 5]
    assert len(reports) == 2
    report = SenderReport.from_packet(parse_compound(reports[1].payload)[0])
    assert report == SenderReport(7, ORIGIN + 0.5, 1000 + 45_000, 7, 18)


def test_timestamps_follow_pts_and_sequence_numbers_wrap(broadcast):
    """90 kHz from the start's timestamp; 65,535 is followed by 0."""
    viewer = Viewer()
    broadcast.attach(viewer)
    send(broadcast, 0, 3)
    packets = viewer.packets()
    assert [packet.timestamp for packet in packets] == [1000, 1000, 1000, 10_000, 19_000]
    assert [packet.sequence for packet in packets] == [65_535, 0, 1, 2, 3]


def test_viewers_of_one_camera_get_the_same_packets_on_their_own_channels(broadcast):
    """The channel is each viewer's own; all else is one stream."""
    first, second = Viewer(0), Viewer(2)
    broadcast.attach(first)
    broadcast.attach(second)
    send(broadcast, 0, 4)
    assert first.packets() == second.packets() != []


def test_a_slow_viewer_is_dropped_and_counted(broadcast):
    """The others get everything."""
    fast, slow = Viewer(), Viewer(slow=True)
    broadcast.attach(slow)
    broadcast.attach(fast)
    send(broadcast, 0, 3)
    assert (broadcast.viewers, broadcast.dropped_viewers) == (1, 1)
    assert len(fast.packets()) == 5


def test_a_viewer_that_left_gets_nothing_more(broadcast):
    """Waiting or watching, and leaving twice does no harm."""
    waiting, watching = Viewer(), Viewer()
    broadcast.attach(watching)
    send(broadcast, 0, 1)
    broadcast.attach(waiting)
    watching.frames()
    for viewer in (waiting, watching, watching):
        broadcast.detach(viewer)
    send(broadcast, 1, 8)
    assert (waiting.frames(), watching.frames(), broadcast.viewers) == ([], [], 0)
