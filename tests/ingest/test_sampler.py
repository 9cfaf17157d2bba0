# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which packets are decoded alone, and which streams have no such packets."""

import pytest

from ingest.sampler import Sampler

NO_KEYS = {"x264-params": "intra-refresh=1:keyint=20:scenecut=0"}


def run(sampler, packets):
    return [packet for packet in packets if sampler.admits(packet)]


def test_key_frames_are_admitted(make_packet):
    """A usual stream: each key frame, nothing else."""
    packets = [make_packet(i / 10, key=i % 20 == 0) for i in range(200)]
    sampler = Sampler()
    assert run(sampler, packets) == [packet for packet in packets if packet.is_key]
    assert not sampler.keyless


def test_a_stream_whose_only_key_frame_is_the_first_is_decoded_as_a_whole(make_packet):
    """An endless group is noticed before the camera would count as blind."""
    sampler = Sampler()
    sampler.admits(make_packet(0.0, key=True))
    told_s = next(
        i / 10 for i in range(1, 300) if not sampler.admits(make_packet(i / 10)) and sampler.keyless
    )
    assert 8.0 < told_s < 10.0


@pytest.mark.parametrize(("every_s", "missed_s"), [(1, 8), (2, 8), (3, 9), (4, 12), (10, 12)])
def test_key_frames_that_stop_coming_are_missed(make_packet, every_s, missed_s):
    """After three usual intervals, but 8 s at the least and 12 s at the most: before the camera counts as blind."""
    sampler, last = Sampler(), 60
    run(sampler, [make_packet(i / 10, key=i % (10 * every_s) == 0) for i in range(10 * last + 1)])
    run(sampler, [make_packet(last + i / 10) for i in range(1, 10 * missed_s - 1)])
    assert not sampler.keyless
    run(sampler, [make_packet(last + missed_s + i / 10) for i in range(5)])
    assert sampler.keyless


def test_two_key_frames_that_are_near_end_it(make_packet):
    """One alone does not: with one in 20 s a camera would be decoded anew at every turn."""
    sampler = Sampler()
    run(sampler, [make_packet(float(i), key=i % 20 == 0) for i in range(60)])
    assert sampler.keyless
    run(sampler, [make_packet(60.0, key=True), make_packet(61.0)])
    assert sampler.keyless
    assert sampler.admits(make_packet(62.0, key=True))
    assert not sampler.keyless


def test_a_silent_stream_is_no_endless_group(make_packet):
    """Time in which no packets came says nothing of key frames; nor does time that jumps."""
    sampler = Sampler()
    run(sampler, [make_packet(i / 10, key=i % 20 == 0) for i in range(60)])
    for at_s in (30.0, 31.0, 5000.0, 5001.0, 3.0):
        sampler.admits(make_packet(at_s))
    assert not sampler.keyless


def test_a_first_group_about_to_be_cut_is_decoded_in_time(make_packet):
    """What the ring loses of an endless group never comes back; a proven camera is known to send another key frame."""
    sampler = Sampler()
    sampler.admits(make_packet(0.0, key=True))
    sampler.admits(make_packet(1.0), memory_share=0.74)
    assert not sampler.keyless
    sampler.admits(make_packet(2.0), memory_share=0.76)
    assert sampler.keyless
    proven = Sampler()
    run(proven, [make_packet(0.0, key=True), make_packet(4.0, key=True)])
    proven.admits(make_packet(5.0), memory_share=1.0)
    assert not proven.keyless


def test_a_new_session_is_unproven(make_packet):
    """After a reconnect the first group is watched again."""
    sampler = Sampler()
    run(sampler, [make_packet(float(i), key=True) for i in range(4)])
    assert not sampler.unproven
    sampler.admits(make_packet(9.0, key=True, session=2))
    assert sampler.unproven


def test_intra_refresh_is_told_from_key_frames(make_clip, packets_of):
    """FFmpeg calls the start of a refresh a key frame; decoded alone it is a picture of one column."""
    packets = packets_of(make_clip(gop=20, pictures=60, **NO_KEYS))
    assert [packet.is_key for packet in packets].count(True) > 1
    sampler = Sampler()
    assert run(sampler, packets) == packets[:1]
    assert sampler.keyless


@pytest.mark.parametrize(
    "options",
    [
        {"b_frames": 2, "preset": "medium", "x264-params": "open-gop=1"},
        {"codec": "libx265", "b_frames": 2, "x265-params": "log-level=none:open-gop=1"},
        {},
    ],
    ids=["open-gop", "hevc-open-gop", "plain"],
)
def test_open_groups_have_key_frames(make_clip, packets_of, options):
    """Their key frames are no IDR pictures, and whole nevertheless."""
    packets = packets_of(make_clip(gop=6, pictures=24, **options))
    sampler = Sampler()
    assert len(run(sampler, packets)) == 4
    assert not sampler.keyless
