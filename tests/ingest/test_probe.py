# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a probe finds out about a stream, on clips whose answers are known and on real RTSP."""

from dataclasses import replace
from fractions import Fraction

import pytest

from gridwatch.core.camera import Transport
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from gridwatch.simulator.rtsp.digest import Credentials
from ingest.errors import SourceError, StreamEndedError, UnauthorizedError, UnreachableError
from ingest.files import FileSource
from ingest.probe import ProbeBounds, examine, probe

ALL = ProbeBounds(keys=1000, at_least_s=1000, at_most_s=1000)
SOON = ProbeBounds(keys=2, at_least_s=0.5, at_most_s=20)


class Given:
    """A source of packets that are there already; then it breaks off."""

    def __init__(self, packets, failure=None):
        self._packets, self._failure = packets, failure

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def packets(self):
        yield from self._packets
        if self._failure:
            raise self._failure


@pytest.fixture
def facts_of(clock):
    """Return a function that examines a clip as if it were a stream."""

    def facts(clip):
        return examine(FileSource("probe", clip, clock), clock, ALL)

    return facts


def test_a_clips_rates_groups_and_sizes_are_measured(make_clip, facts_of):
    """Pictures a second, bit rate, groups of pictures and profile are those that the clip was made with."""
    clip = make_clip(size=(320, 180), fps=20, gop=10, pictures=61)
    facts, picture = facts_of(clip)
    assert (facts.codec, facts.profile, facts.width, facts.height) == (
        "h264",
        "Constrained Baseline",
        320,
        180,
    )
    assert (facts.pictures, facts.keys, facts.b_frames) == (61, 7, False)
    assert facts.fps == pytest.approx(20, rel=0.01)
    assert facts.gop_s == pytest.approx((0.5, 0.5, 0.5), abs=0.01)
    assert facts.gop_pictures == (10, 10, 10)
    assert facts.bit_rate_bps == pytest.approx(8 * clip.stat().st_size / 3, rel=0.15)
    assert (picture.width, facts.undecodable, facts.clock_offset_s) == (320, "", None)


def test_h265_and_its_profile_are_known(make_clip, facts_of):
    """The level stands behind bytes in which zeros are escaped."""
    facts, picture = facts_of(make_clip(codec="libx265", size=(320, 192), gop=5, pictures=12))
    assert (facts.codec, facts.profile, picture.height) == ("hevc", "Main", 192)
    assert float(facts.level) >= 1


def test_reordered_pictures_are_told_from_a_restart_of_the_streams_time(
    make_clip, facts_of, make_packet, clock
):
    """B-frames step back all the time; a camera that was restarted does so once."""
    facts, _ = facts_of(make_clip(b_frames=2, preset="veryfast", pictures=40, gop=20))
    assert facts.b_frames
    packets = [make_packet(at, key=at == 0) for at in range(5)]
    once = [*packets, replace(packets[-1], pts=0, at_mono_s=5.0)]
    assert not examine(Given(once), clock, ALL)[0].b_frames


def test_uneven_groups_have_a_shortest_a_usual_and_a_longest(make_packet, clock):
    """A codec that thinks for itself sends key frames when it likes."""
    packets = [make_packet(at, key=at in (0, 1, 3, 5, 11)) for at in range(12)]
    facts, picture = examine(Given(packets), clock, ALL)
    assert facts.gop_s == (1, 2, 6)
    assert facts.gop_pictures == (1, 2, 6)
    assert (facts.keys_without_sets, picture) == (5, None)
    assert "without parameter sets" in facts.undecodable


def test_a_stream_without_a_second_key_frame_has_no_group_of_pictures(make_packet, clock):
    """Endless groups and intra refresh: nothing is made up."""
    facts, _ = examine(Given([make_packet(at, key=at == 0) for at in range(9)]), clock, ALL)
    assert (facts.keys, facts.gop_s, facts.gop_pictures) == (1, None, None)
    assert facts.fps == pytest.approx(1)


def test_a_picture_that_only_begins_a_gradual_refresh_is_no_key_frame(make_clip, packets_of, clock):
    """It is called one, and shows one column: with such alone every picture has to be decoded."""
    refreshed = {"x264-params": "intra-refresh=1:keyint=20:scenecut=0"}
    packets = packets_of(make_clip(gop=20, pictures=60, **refreshed))
    called = [packet.is_key for packet in packets].count(True)
    assert called > 1
    facts, picture = examine(Given(packets), clock, ALL)
    assert (facts.keys, facts.refreshes, facts.gop_s) == (1, called - 1, None)
    assert picture is not None
    from_the_middle, picture = examine(Given(packets[1:]), clock, ALL)
    assert (from_the_middle.keys, from_the_middle.refreshes, picture) == (0, called - 1, None)
    assert from_the_middle.profile == facts.profile != ""
    assert examine(Given(packets), clock, ProbeBounds(keys=2, at_least_s=0))[0].pictures < len(packets)


def test_what_came_before_a_break_is_told_with_its_reason(make_packet, clock):
    """One that breaks off before anything came is an error."""
    packets = [make_packet(0, key=True), make_packet(1)]
    facts, _ = examine(Given(packets, StreamEndedError("the camera closed the stream")), clock, ALL)
    assert (facts.pictures, facts.ended) == (2, "the camera closed the stream")
    with pytest.raises(StreamEndedError):
        examine(Given([], StreamEndedError("the camera closed the stream")), clock, ALL)
    with pytest.raises(SourceError, match="no picture came"):
        examine(Given([]), clock, ALL)


def test_the_cameras_clock_is_told_as_it_was_last_reported(make_packet, clock):
    """The offset is what the source made of the camera's reports."""
    packets = [make_packet(0, key=True), replace(make_packet(1), camera_ahead_s=7.5), make_packet(2)]
    assert examine(Given(packets), clock, ALL)[0].clock_offset_s == 7.5


def test_reading_ends_after_its_bounds(make_packet, clock):
    """After the key frames and seconds that were asked for, and in any case after the longest time."""

    class Slow(Given):
        def packets(self):
            for packet in self._packets:
                clock.advance(1.0)
                yield packet

    packets = [make_packet(at, key=at % 2 == 0) for at in range(100)]
    seen = []
    facts, _ = examine(Slow(packets), clock, ProbeBounds(keys=3, at_least_s=7, at_most_s=50), seen.append)
    assert (facts.keys, facts.seconds, seen) == (4, 7, [float(second) for second in range(8)])
    endless = [make_packet(at, key=at == 0) for at in range(100)]
    assert examine(Slow(endless), clock, ProbeBounds(keys=3, at_least_s=7, at_most_s=50))[0].seconds == 50

    waits = ProbeBounds(keys=3, at_least_s=7, at_most_s=10, group_s=25)
    late = [make_packet(at, key=at in (0, 12)) for at in range(100)]
    read_s = [examine(Slow(given), clock, waits)[0].seconds for given in (packets, late, endless)]
    assert read_s == [7, 12, 25], "for longer while no group of pictures was seen whole"


@pytest.mark.parametrize("transport", Transport)
def test_a_camera_over_rtsp_is_found_out_over_both_transports(make_clip, serve, transport):
    """A real session with authentication, over TCP and over UDP; the picture is the clip's."""
    clip = make_clip(size=(640, 352), fps=20, gop=10, pictures=40)
    served = serve({"gate": clip}, Credentials("admin", "s3cret"))
    facts, picture = probe(SecretUrl(served.url(user="admin:s3cret@")), SystemClock(), transport, SOON)
    assert (facts.codec, facts.keys >= 2, picture.width) == ("h264", True, 640)
    assert facts.first_picture_s is not None
    assert 0 < facts.opened_s <= facts.first_picture_s < 10
    assert abs(facts.clock_offset_s or 0) < 1


def test_what_cannot_be_had_is_an_error_without_the_password(make_clip, serve):
    """A refused password and a dead port are different things, and neither shows it."""
    served = serve({"gate": make_clip()}, Credentials("admin", "s3cret"))
    with pytest.raises(UnauthorizedError) as refused:
        probe(SecretUrl(served.url(user="admin:wr0ng@")), SystemClock(), Transport.TCP, SOON)
    with pytest.raises(UnreachableError) as dead:
        probe(SecretUrl("rtsp://admin:wr0ng@127.0.0.1:1/x"), SystemClock(), Transport.TCP, SOON)
    assert "wr0ng" not in str(refused.value) + str(dead.value)


def test_a_profile_that_has_no_name_here_keeps_its_number(make_packet, clock):
    """Parameter sets beside the stream count where a key frame brings none."""
    sps = bytes([0, 0, 0, 1, 0x67, 44, 0, 31, 0xFF])
    packet = make_packet(0, key=True)
    info = replace(packet.info, extradata=sps, time_base=Fraction(1, 1000))
    facts, _ = examine(Given([replace(packet, info=info), make_packet(1)]), clock, ALL)
    assert (facts.profile, facts.level) == ("profile 44", "3.1")
