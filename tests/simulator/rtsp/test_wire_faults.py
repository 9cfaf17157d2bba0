# SPDX-License-Identifier: AGPL-3.0-or-later
"""What each fault does to a camera's packets, without a socket."""

import pytest

from gridwatch.simulator.faults import make_order
from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.media import AccessUnit, ParameterSets, VideoMedia
from gridwatch.simulator.rtsp.rtcp import SenderReport, parse_compound
from gridwatch.simulator.rtsp.rtp import RtpPacket, RtpSender
from gridwatch.simulator.wire_faults import StreamFaults

SPS, PPS = b"\x67\x42\xc0\x0d", b"\x68\x01"
BODY = bytes(range(1, 201)) * 20


class Viewer:
    def __init__(self):
        self.bursts, self.aborted = [], False

    def send(self, burst):
        self.bursts.append(burst)
        return True

    def abort(self):
        self.aborted = True

    def packets(self):
        return [RtpPacket.parse(data) for burst in self.bursts for data in burst.datagrams()]

    def reports(self):
        return [
            SenderReport.from_packet(parse_compound(burst.report)[0]) for burst in self.bursts if burst.report
        ]


class Camera:
    """A broadcast with faults and one viewer."""

    def __init__(self, codec="h264"):
        media = VideoMedia(ParameterSets((SPS,), (PPS,)), 320, 240, 10.0, codec)
        self.faults, self.viewer = StreamFaults(), Viewer()
        self.broadcast = Broadcast("gate-1", media, RtpSender(ssrc=7, sequence=0), start_timestamp=1000)
        self.broadcast.tamper = self.faults
        self.broadcast.attach(self.viewer)
        self.index = 0

    def on(self, name, **values):
        self.faults.switch(name, make_order(name, values).values)

    def off(self, name):
        self.faults.switch(name, None)

    def send(self, count=10):
        """Send so many pictures, every fifth a key picture, and return what the viewer got of them."""
        self.viewer.bursts.clear()
        for index in range(self.index, self.index + count):
            is_key = index % 5 == 0
            unit = AccessUnit(((b"\x65" if is_key else b"\x41") + BODY,), index / 10, index / 10, is_key)
            self.broadcast.publish(unit, 1_767_323_000.0 + index / 10)
        self.index += count
        return self.viewer.packets()


@pytest.fixture
def camera():
    return Camera()


def sequences(packets):
    return [packet.sequence for packet in packets]


def test_without_a_fault_nothing_is_changed(camera):
    """Three packets a picture and two parameter sets a key picture, in order, with reports at key pictures."""
    packets = camera.send()
    assert sequences(packets) == list(range(34))
    assert len(camera.viewer.reports()) == 2


def test_lost_packets_leave_gaps(camera):
    """About the share that was asked for, the same each time, and all again afterwards."""
    camera.on("loss", share=0.3, seed=5)
    got = sequences(camera.send(50))
    assert 0.15 < 1 - len(got) / 170 < 0.45
    assert got == sorted(got)
    again = Camera()
    again.on("loss", share=0.3, seed=5)
    assert sequences(again.send(50)) == got
    camera.off("loss")
    assert sequences(camera.send(5)) == list(range(170, 187))


def test_late_packets_come_all_the_same(camera):
    """Nothing is lost by reordering; what was held back comes when the fault ends."""
    camera.on("reorder", share=0.2, by=3)
    got = sequences(camera.send(50))
    camera.off("reorder")
    got += sequences(camera.send(5))
    assert got != sorted(got)
    assert sorted(got) == list(range(187))
    assert max(abs(place - number) for place, number in enumerate(got)) <= 12


def test_cut_nal_units_are_shorter(camera):
    """Parameter sets stay whole; packets are numbered as if nothing was wrong."""
    whole = sum(len(packet.payload) for packet in camera.send())
    camera.on("truncate", keep=0.25)
    packets = camera.send()
    assert sum(len(packet.payload) for packet in packets) < 0.3 * whole
    assert {SPS, PPS} <= {packet.payload for packet in packets}
    assert sequences(packets) == list(range(34, 34 + len(packets)))


def test_garbage_as_payload_keeps_the_headers(camera):
    """Sequence numbers, timestamps and sizes are right; the bytes are noise."""
    right = camera.send()
    camera.on("garbage", mode="payload")
    wrong = camera.send()
    assert [len(packet.payload) for packet in wrong] == [len(packet.payload) for packet in right]
    assert sequences(wrong) == [number + 34 for number in sequences(right)]
    assert not {packet.payload for packet in wrong} & {packet.payload for packet in right}


def test_garbage_in_slices_keeps_what_frames_them(camera):
    """A decoder finds NAL units of the right kind and size, and nonsense inside."""
    camera.on("garbage", mode="slices")
    packets = camera.send(1)
    assert [packet.payload[0] & 0x1F for packet in packets] == [7, 8, 28, 28, 28]
    assert packets[2].payload[2:9] == BODY[:7]
    assert packets[3].payload[2:] != BODY[1398 : 1398 + 1398]


def test_loose_bytes_stand_before_a_picture_in_the_connection(camera):
    """Datagrams have none."""
    right = camera.send(1)
    size = len(camera.viewer.bursts[0].framed(0))
    camera.on("garbage", mode="stream")
    camera.index = 0
    again = camera.send(1)
    assert len(camera.viewer.bursts[0].framed(0)) == size + 997
    assert [packet.payload for packet in again] == [packet.payload for packet in right]


def test_a_stream_without_timestamps_has_one_for_all(camera):
    """And no report that would give it a time."""
    camera.on("no-timestamps")
    assert {packet.timestamp for packet in camera.send()} == {0}
    assert camera.viewer.reports() == []


def test_a_jump_moves_timestamps_and_their_reports(camera):
    """The camera's clock stays right: the report tells the same wall time for the new timestamp."""
    camera.send(5)
    camera.broadcast.jump(-60.0)
    packets = camera.send(5)
    assert packets[0].timestamp == (1000 + 45_000 - 60 * 90_000) % 2**32
    report = camera.viewer.reports()[0]
    assert (report.timestamp, report.unix_s) == (packets[0].timestamp, 1_767_323_000.5)


def test_a_wrong_clock_is_told_in_reports_only(camera):
    """Timestamps go on as they were."""
    camera.on("clock", offset_s=-7.5)
    packets = camera.send(5)
    assert camera.viewer.reports()[0].unix_s == 1_767_323_000.0 - 7.5
    assert packets[0].timestamp == 1000


def test_no_reports_are_none(camera):
    """The pictures come."""
    camera.on("no-reports")
    assert len(camera.send()) == 34
    assert camera.viewer.reports() == []


@pytest.mark.parametrize(("name", "reports"), [("silent", 0), ("no-packets", 0), ("no-packets", 2)])
def test_a_mute_stream_sends_no_packets(camera, name, reports):
    """Reports go on only where that was asked for; afterwards numbers go on without a gap."""
    camera.send(5)
    camera.on(name, **({"reports": True} if reports else {}))
    assert camera.send(10) == []
    assert len(camera.viewer.reports()) == reports
    camera.off(name)
    assert sequences(camera.send(5))[0] == 17


def test_a_restarted_camera_is_another_source(camera):
    """SSRC, sequence and timestamp are new, and the counts of its reports begin again."""
    camera.send(5)
    camera.broadcast.restart(99, 500, 7)
    packets = camera.send(5)
    assert (packets[0].ssrc, packets[0].sequence, packets[0].timestamp) == (99, 500, 7 + 45_000)
    report = camera.viewer.reports()[0]
    assert (report.ssrc, report.packets) == (99, 0)


def test_another_codec_cuts_the_viewers(camera):
    """What was described to them holds no longer; another size goes on in the same session."""
    camera.send(1)
    sets = ParameterSets((SPS + b"\x01",), (PPS,))
    larger = VideoMedia(sets, 640, 480, 10.0)
    camera.broadcast.publish(AccessUnit((b"\x65x",), 0.1, 0.1, is_key=True, media=larger), 1.0)
    assert camera.viewer.packets()[-3].payload == SPS + b"\x01"
    assert not camera.viewer.aborted
    other = VideoMedia(sets, 640, 480, 10.0, "hevc")
    camera.broadcast.publish(AccessUnit((b"\x26\x01x",), 0.2, 0.2, is_key=True, media=other), 1.1)
    assert camera.viewer.aborted
    assert camera.broadcast.viewers == 0


def test_a_stream_without_key_pictures_takes_viewers_at_any_picture(camera):
    """They get the parameter sets and a report first."""
    camera.broadcast.keyless = True
    camera.index = 2
    packets = camera.send(2)
    assert [packet.payload for packet in packets[:2]] == [SPS, PPS]
    assert len(packets) == 2 + 3 + 3
    assert len(camera.viewer.reports()) == 1
