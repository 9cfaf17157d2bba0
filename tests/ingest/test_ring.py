# SPDX-License-Identifier: AGPL-3.0-or-later
"""The packets that are remembered."""

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.ring import Ring


def fill(ring, make_packet, seconds, *, gop_s=2, size=100, start=0, session=1):
    """One packet a second half, a key frame every `gop_s`."""
    for half in range(start * 2, (start + seconds) * 2):
        at = half / 2
        ring.append(make_packet(at, key=at % gop_s == 0, size=size, session=session))


def test_old_groups_go_when_the_rest_spans_enough(make_packet):
    """An hour of packets leaves the span asked for, and not a group more."""
    ring = Ring(span_s=20)
    fill(ring, make_packet, 600)
    assert 20 <= ring.span_s <= 24
    assert ring.bytes <= 100 * 2 * 24


def test_two_groups_stay_however_long_they_are(make_packet):
    """A camera with a key frame a minute keeps two whole groups although one spans enough."""
    ring = Ring(span_s=5)
    fill(ring, make_packet, 179, gop_s=60)
    assert [packet.at_mono_s for packet in ring.window(0, 1e9) if packet.is_key] == [60, 120]


def test_as_many_groups_stay_as_are_asked_for(make_packet):
    """More whole groups than the span needs are kept where they are asked for."""
    ring = Ring(min_gops=4, span_s=5)
    fill(ring, make_packet, 299, gop_s=60)
    assert [packet.at_mono_s for packet in ring.window(0, 1e9) if packet.is_key] == [60, 120, 180, 240]


def test_what_follows_a_lost_packet_is_not_kept(make_packet):
    """A small packet that would still fit refers to the large one that did not."""
    ring = Ring(max_bytes=1000)
    ring.append(make_packet(0.0, key=True, size=100))
    ring.append(make_packet(0.5, size=950))
    ring.append(make_packet(1.0, size=100))
    assert (ring.bytes, ring.dropped) == (100, 2)


def test_the_cap_in_bytes_is_hard(make_packet):
    """Above the cap old groups go, whatever they span."""
    ring = Ring(span_s=1000, max_bytes=2000)
    fill(ring, make_packet, 100)
    assert ring.bytes <= 2000
    assert ring.window(0, 1e9)[0].is_key
    assert ring.dropped == 0


def test_a_group_larger_than_the_cap_loses_its_tail(make_packet):
    """Its beginning stays and is playable; what is cut is counted; the next key frame is kept again."""
    ring = Ring(max_bytes=1000)
    fill(ring, make_packet, 20, gop_s=20)
    assert (ring.bytes, ring.dropped) == (1000, 30)
    ring.append(make_packet(20.0, key=True))
    ring.append(make_packet(20.5))
    assert [packet.at_mono_s for packet in ring.window(19, 30)] == [20.0, 20.5]


def test_a_key_frame_larger_than_the_cap_is_dropped_with_what_refers_to_it(make_packet):
    """Memory is bounded even by a single picture."""
    ring = Ring(max_bytes=1000)
    ring.append(make_packet(0.0, key=True, size=2000))
    ring.append(make_packet(0.5))
    assert (ring.bytes, ring.dropped, ring.window(0, 9)) == (0, 2, [])


def test_a_window_begins_with_the_key_frame_before_it(make_packet):
    """What is asked for can be decoded: it begins at or before the time asked for, with a key frame."""
    ring = Ring()
    fill(ring, make_packet, 12)
    window = ring.window(5.0, 8.5)
    assert window[0].is_key
    assert (window[0].at_mono_s, window[-1].at_mono_s) == (4.0, 8.5)
    assert ring.window(-5.0, 1.0)[0].at_mono_s == 0.0
    assert ring.window(-5.0, -1.0) == []
    assert Ring().window(0, 10) == []


def test_a_window_does_not_cross_a_reconnect(make_packet):
    """Pictures of two connections are not put into one clip: the newest that began before the end counts."""
    ring = Ring()
    fill(ring, make_packet, 6)
    fill(ring, make_packet, 6, start=6, session=2)
    assert {packet.session for packet in ring.window(1.0, 11.0)} == {2}
    assert {packet.session for packet in ring.window(1.0, 5.5)} == {1}


def test_packets_before_the_first_key_frame_are_not_kept(make_packet):
    """A new connection may begin in the middle of a group; its packets do not go to the group before."""
    ring = Ring()
    fill(ring, make_packet, 4)
    ring.append(make_packet(4.5, session=2))
    ring.append(make_packet(5.0, key=True, session=2))
    assert ring.dropped == 1
    assert [packet.at_mono_s for packet in ring.window(0, 4.9)][-1] == 3.5


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 400), st.integers(0, 5), st.integers(0, 1)), max_size=120
    ),
    st.integers(1, 4),
)
def test_the_bounds_hold_for_every_stream(steps, min_gops):
    """Never over the cap, bytes counted right, and every window begins with a key frame of one session."""
    ring, at, session = Ring(min_gops=min_gops, span_s=4, max_bytes=1000), 0, 1
    for key, size, gap, reconnect in steps:
        at, session = at + gap, session + reconnect
        ring.append(_Fake(at, key, size, session))
        window = ring.window(at - 3, at)
        assert ring.bytes <= 1000
        assert sum(packet.size for packet in ring.window(-1e9, 1e9)) <= ring.bytes
        assert not window or window[0].is_key
        assert len({packet.session for packet in window}) <= 1


def stream(ring, seconds, mbit_per_s, *, gop_s=2.0, start_s=0.0, per_s=10):
    """Send a constant bit rate; yield the time after each key frame, when memory was measured."""
    for i in range(round(seconds * per_s)):
        at = start_s + i / per_s
        key = i % round(gop_s * per_s) == 0
        ring.append(_Fake(at, key, round(mbit_per_s * 1e6 / 8 / per_s), 1))
        if key:
            yield at


class _Fake:
    def __init__(self, at_mono_s, is_key, size, session):
        self.at_mono_s, self.is_key, self.size, self.session = at_mono_s, is_key, size, session


def test_readers_and_the_writer_do_not_meet(make_packet):
    """Windows taken while packets arrive are whole."""
    ring, wrong, done = Ring(span_s=3), [], threading.Event()

    def read():
        while not done.is_set():
            window = ring.window(-1e9, 1e9)
            if window and not (window[0].is_key and ring.span_s >= 0):
                wrong.append(window)

    reader = threading.Thread(target=read)
    reader.start()
    fill(ring, make_packet, 400)
    done.set()
    reader.join()
    assert wrong == []
    assert ring.bytes == pytest.approx(sum(packet.size for packet in ring.window(-1e9, 1e9)))


def test_the_group_that_is_being_received_is_handed_out(make_packet):
    """From its key frame to the newest packet; nothing where a part of it is lost."""
    ring = Ring(max_bytes=3000)
    fill(ring, make_packet, 5)
    assert [packet.at_mono_s for packet in ring.newest_group()] == [4.0, 4.5]
    ring.append(make_packet(5.0, size=2900))
    assert ring.newest_group() == []
    assert Ring().newest_group() == []


def test_the_group_before_a_key_frame_is_handed_out_whole_or_not_at_all(make_packet):
    """What lies between two key frames; a group that lost its tail, or another session's, is no such thing."""
    ring, keys = Ring(max_bytes=3000), []
    for at in range(4):
        keys.append(make_packet(at * 2.0, key=True))
        ring.append(keys[-1])
        ring.append(make_packet(at * 2.0 + 1))
    assert [packet.at_mono_s for packet in ring.group_before(keys[2])] == [2.0, 3.0]
    assert ring.group_before(keys[0]) == []
    assert ring.group_before(make_packet(2.0, key=True)) == []
    ring.append(make_packet(7.5, size=2950))
    cut = make_packet(8.0, key=True)
    ring.append(cut)
    assert ring.group_before(cut) == []
    other = make_packet(10.0, key=True, session=2)
    ring.append(other)
    assert ring.group_before(other) == []


def test_a_cap_smaller_than_two_groups_is_told(make_packet):
    """And taken back after some groups that fit: sizes vary."""
    ring = Ring(max_bytes=1000)
    fill(ring, make_packet, 6, size=50)
    assert not ring.short
    fill(ring, make_packet, 8, size=200, start=6)
    assert ring.short
    fill(ring, make_packet, 4, size=50, start=14)
    assert ring.short
    fill(ring, make_packet, 8, size=50, start=18)
    assert not ring.short


def test_a_group_larger_than_the_cap_is_told(make_packet):
    """Ten seconds at 8 Mbit/s do not fit into 8 MiB."""
    ring = Ring()
    for i in range(501):
        ring.append(make_packet(i / 25, key=i % 250 == 0, size=40_000))
    assert ring.short
    assert ring.share_of_newest < 0.1
    assert ring.max_bytes == 8 << 20


def test_how_full_the_newest_group_makes_it_is_told(make_packet):
    """1.0 once it has lost its tail."""
    ring = Ring(max_bytes=1000)
    assert ring.share_of_newest == 0.0
    fill(ring, make_packet, 2, gop_s=100)
    assert ring.share_of_newest == 0.4
    fill(ring, make_packet, 9, gop_s=100, start=2)
    assert ring.share_of_newest == 1.0


def test_what_a_clip_needs_is_kept(make_packet):
    """However few seconds are asked for."""
    ring = Ring(span_s=4, clip_s=12)
    fill(ring, make_packet, 100)
    assert 12 <= ring.span_s <= 16


@pytest.mark.parametrize(
    ("mbit_per_s", "gop_s", "short"),
    [(16, 2.0, True), (8, 2.0, True), (8, 0.5, True), (5.4, 2.0, True), (4, 2.0, False), (2, 10.0, False)],
)
def test_a_cap_that_holds_no_clip_is_told(mbit_per_s, gop_s, short):
    """8 MiB are 4.2 s of 16 Mbit/s: two groups fit, and a clip of 10 s would begin after the incident."""
    ring = Ring(clip_s=12.0)
    told = [
        (ring.short, ring.window(at - 12.0, at)[0].at_mono_s <= at - 12.0)
        for at in stream(ring, 120, mbit_per_s, gop_s=gop_s)
    ]
    assert {said for said, _ in told[-5:]} == {short}
    assert short or all(reaches for _, reaches in told[-5:])


def test_a_bit_rate_at_the_limit_is_not_told_again_and_again():
    """Groups whose sizes vary a little make one message, not one a minute."""
    ring, told = Ring(clip_s=12.0), []
    for minute in range(60):
        rate = 5.2 if minute % 2 else 5.5  # memory reaches back 12.4 s or 11.7 s when a group has gone
        told += [ring.short for _ in stream(ring, 60, rate, gop_s=0.5, start_s=60.0 * minute)]
    assert sum(one != other for one, other in pairwise(told)) == 1


def test_a_memory_that_holds_a_clip_again_is_told():
    """After the bit rate was set lower, within about the time that memory holds."""
    ring = Ring(clip_s=12.0)
    assert [ring.short for _ in stream(ring, 60, 8.0)][-1]
    told = [ring.short for _ in stream(ring, 60, 3.0, start_s=60.0)]
    assert told[0]
    assert not any(told[15:])


def test_an_endless_group_that_lost_its_tail_is_told(make_packet):
    """Without another key frame nothing of what came later is in memory."""
    ring = Ring(max_bytes=1000)
    fill(ring, make_packet, 5, gop_s=1000)
    assert not ring.short
    fill(ring, make_packet, 1, gop_s=1000, start=5)
    assert ring.short
