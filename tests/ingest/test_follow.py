# SPDX-License-Identifier: AGPL-3.0-or-later
"""One camera's stream, decoded picture by picture."""

from dataclasses import replace

import av
import numpy as np
import pytest

from gridwatch.core.look import LookReason
from ingest import annexb
from ingest.decoder import KeyDecoder, open_context
from ingest.errors import DamagedError
from ingest.follow import Cadence, Follower

STREAMS = {
    "plain": {},
    "b-frames": {"b_frames": 2, "preset": "medium"},
    "open-gop": {"b_frames": 2, "preset": "medium", "x264-params": "open-gop=1"},
    "hevc": {"codec": "libx265", "b_frames": 2, "x265-params": "log-level=none:open-gop=1"},
}


def as_camera(packet):
    """The packet as a camera would send it: with start codes."""
    info = packet.info
    sets = b"".join(annexb.START_CODE + each for each in annexb.parameter_sets(info.extradata, info.codec))
    stream = annexb.to_annexb(packet.payload, info.extradata, info.codec)
    return replace(packet, payload=stream, info=replace(info, extradata=sets))


def cut(payload):
    return payload[: len(payload) // 2]


def scramble(payload):
    return payload[:40] + bytes(range(1, 251)) * (len(payload) // 250) + payload[-40:]


def follow(follower, packets):
    found = [pair for packet in packets for pair in follower.decode(packet)]
    return [*found, *follower.drain()]


def shown_by_ffmpeg(path):
    with av.open(path) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.mark.parametrize("options", STREAMS.values(), ids=STREAMS)
def test_every_picture_comes_in_order_with_its_own_packet(make_clip, packets_of, options):
    """As a player shows them, each with the packet whose time it has."""
    path = make_clip(gop=6, pictures=24, **options)
    packets = packets_of(path)
    found = follow(Follower(), packets)
    assert [packet.at_mono_s for packet, _ in found] == sorted(packet.at_mono_s for packet in packets)
    for (_, frame), expected in zip(found, shown_by_ffmpeg(path), strict=True):
        assert np.corrcoef(frame.to_ndarray(format="gray").ravel(), expected.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("options", STREAMS.values(), ids=STREAMS)
def test_it_begins_at_a_key_frame(make_clip, packets_of, options):
    """In the middle of a stream it waits for one; nothing is made up."""
    packets = packets_of(make_clip(gop=6, pictures=24, **options))
    follower = Follower()
    assert follower.lost
    second_key = [i for i, packet in enumerate(packets) if packet.is_key][1]
    found = follow(follower, packets[3:])
    assert found[0][0] is packets[second_key]


def test_streams_without_times_are_followed(make_clip, packets_of):
    """The order of pictures does not come from their times: those may be missing or jump."""
    packets = [replace(p, pts=None, dts=None) for p in packets_of(make_clip(gop=6, pictures=18, b_frames=2))]
    found = follow(Follower(), packets)
    assert len(found) == 18
    assert {id(packet) for packet, _ in found} == {id(packet) for packet in packets}


def test_a_stream_that_heals_by_and_by_is_shown_once_it_is_whole(make_clip, packets_of):
    """Intra-refresh: after a point to begin with, and one round of the refresh."""
    path = make_clip(gop=20, pictures=80, **{"x264-params": "intra-refresh=1:keyint=20:scenecut=0"})
    packets = packets_of(path)
    begin = next(i for i, packet in enumerate(packets) if packet.is_key and i)
    found = follow(Follower(), packets[begin:])
    first = packets.index(found[0][0])
    assert begin < first <= begin + 21
    expected = shown_by_ffmpeg(path)[first]
    assert np.corrcoef(found[0][1].to_ndarray(format="gray").ravel(), expected.ravel())[0, 1] > 0.99


def test_a_new_opening_begins_anew(make_clip, packets_of):
    """Pictures of one session do not refer to those of another."""
    packets = packets_of(make_clip(gop=6, pictures=12))
    follower = Follower()
    follow_on = [replace(packet, session=9) for packet in packets]
    for packet in packets[:3]:
        follower.decode(packet)
    assert [pair for packet in follow_on[2:6] for pair in follower.decode(packet)] == []
    assert follower.decode(follow_on[6])


def test_a_change_of_size_in_the_stream_is_followed(make_clip, packets_of):
    """New parameter sets at a key frame, in one session."""
    small = packets_of(make_clip("small.mp4", gop=6, pictures=6))
    large = packets_of(make_clip("large.mp4", gop=6, pictures=6, size=(640, 360)))
    follower = Follower()
    sizes = [frame.width for packet in small + large for _, frame in follower.decode(packet)]
    sizes += [frame.width for _, frame in follower.drain()]
    assert sizes == [320] * 6 + [640] * 6


@pytest.mark.parametrize("damage", [cut, scramble])
def test_after_damage_it_waits_for_the_next_key_frame(make_clip, packets_of, damage):
    """A picture with parts made up, and all that refer to it, are not handed out."""
    packets = [as_camera(packet) for packet in packets_of(make_clip(gop=6, pictures=18))]
    packets[8] = replace(packets[8], payload=damage(packets[8].payload))
    follower, found, damaged = Follower(), [], 0
    for packet in packets:
        try:
            found += follower.decode(packet)
        except DamagedError:
            damaged += 1
    shown = {packets.index(packet) for packet, _ in found}
    assert damaged == 1
    assert {0, 1, 2, 6, 12, 13} <= shown
    assert not shown & {8, 9, 10, 11}


class Silent:
    """A decoder that takes everything and shows nothing."""

    def decode(self, _unit):
        return []


def test_what_is_held_back_is_bounded(make_clip, packets_of, monkeypatch):
    """Packets whose pictures never come do not pile up."""
    packets = packets_of(make_clip(gop=6, pictures=6))
    monkeypatch.setattr("ingest.follow.open_context", lambda *_: Silent())
    follower = Follower()
    for _ in range(50):
        follow_on = [follower.decode(packet) for packet in packets]
        assert not any(follow_on)
    assert len(follower._waiting) == 64


def test_a_group_from_memory_is_decoded_on_the_cpu(
    following_intake, clock, quiet_clip, packets_of, monkeypatch
):
    """A decoder on the GPU costs more to make than a group to decode; the key frames' own is made once."""
    opened, looks = [], []

    def open_cuda(codec):
        opened.append(codec)
        return open_context(codec)

    monkeypatch.setattr("ingest.decoder._open_cuda", open_cuda)
    monkeypatch.setattr(following_intake._hint, "take", lambda _packet: False)
    decoder = KeyDecoder("cuda")
    for packet in packets_of(quiet_clip(8.2, [(6.7, 8.2)])):
        clock.advance_to(packet.at_mono_s)
        if LookReason.FOLLOW not in looks and (admitted := following_intake.take(packet)) is not None:
            for shown, frame in following_intake.pictures(decoder, admitted):
                looks += [look.why for look in following_intake.see(shown, frame)]
    assert LookReason.FOLLOW in looks
    assert opened == ["h264"]


def test_a_cadence_lets_a_picture_through_every_so_often():
    """About twice a second at any rate of pictures, and anew where time began anew."""
    for fps in (5, 12, 25, 30):
        cadence = Cadence(0.5)
        passed = [i / fps for i in range(fps * 10) if cadence.is_due(i / fps)]
        assert 0.45 <= np.diff(passed).min() <= np.diff(passed).max() <= 0.61
    assert not cadence.is_due(passed[-1] + 0.4)
    assert cadence.is_due(0.0)
    cadence.passed(5.0)
    assert not cadence.is_due(5.3)
    assert cadence.is_due(5.3, earlier_s=0.2)
