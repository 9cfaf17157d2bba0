# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a camera is followed, and what waits to be decoded then."""

import pytest

from gridwatch.core.look import Interest
from ingest.follow_budget import LEASE_S, FollowBudget
from ingest.following import Following
from ingest.ring import Ring

SUSPECT, FORMING, CLAIMED = Interest.SUSPECT, Interest.FORMING, Interest.CLAIMED


@pytest.fixture
def budget():
    return FollowBudget(1)


@pytest.fixture
def following(clock, budget):
    return Following("cam", Ring(max_bytes=10_000), clock, budget)


def send(following, make_packet, start_s, seconds, *, gop_s=2, size=100, keys=True):
    """Ten packets a second."""
    packets = [
        make_packet(start_s + i / 10, key=keys and i % (gop_s * 10) == 0, size=size)
        for i in range(round(seconds * 10))
    ]
    for packet in packets:
        following.keep(packet)
    return packets


def test_nothing_waits_of_a_camera_that_is_not_followed(following, make_packet):
    """Its packets go to the ring alone."""
    send(following, make_packet, 0, 5)
    assert not following.active
    assert following.take(99)[0] == []


def test_it_begins_at_the_last_key_frame_and_misses_nothing(following, make_packet):
    """What was in memory comes first, then what arrives, each packet once and in order."""
    packets = send(following, make_packet, 0, 5)
    following.wish(FORMING)
    packets += send(following, make_packet, 5, 1, keys=False)
    taken = []
    while batch := following.take(7)[0]:
        taken += batch
    assert taken == packets[40:]
    assert taken[0].is_key


def test_it_ends_when_nobody_is_interested(following, budget, make_packet):
    """The place is given back, what waits is dropped, and a new beginning is another chain."""
    send(following, make_packet, 0, 5)
    following.wish(CLAIMED)
    _, chain = following.take(1)
    following.wish(Interest.NOTHING)
    assert (following.active, budget.following, following.take(99)[0]) == (False, 0, [])
    following.wish(CLAIMED)
    packets, later = following.take(99)
    assert later != chain
    assert packets[0].is_key


def test_a_wish_that_is_not_renewed_ends(following, clock, make_packet):
    """Detectors that are asked no more want nothing."""
    send(following, make_packet, 0, 1)
    following.wish(FORMING)
    clock.advance(30)
    following.judge(30.0, restless=False)
    assert following.followed
    clock.advance(0.1)
    following.judge(30.1, restless=False)
    assert not following.followed


def test_a_change_is_followed_until_it_is_quiet(following, make_packet):
    """Without any wish of the detectors, and not again within 20 s."""
    send(following, make_packet, 0, 1)
    assert following.changed(10.0)
    for at_s in (10.0, 12.0, 20.0):
        following.judge(at_s, restless=True)
        assert following.followed
    following.judge(22.0, restless=False)
    assert not following.followed
    assert not following.changed(29.9)
    following.judge(29.9, restless=True)
    assert not following.followed
    assert following.changed(30.0)


def test_a_busy_street_does_not_hold_a_place_for_ever(following, clock, make_packet):
    """Changes of which nothing comes are followed for 30 s; what the detectors see is followed on."""
    send(following, make_packet, 0, 1)
    following.changed(0.0)
    following.judge(30.0, restless=True)
    assert following.followed
    following.judge(30.1, restless=True)
    assert not following.followed
    following.wish(FORMING)
    assert following.followed


def test_without_a_place_it_is_refused_and_says_so(following, clock, budget, make_packet):
    """Another camera has it; as soon as that one leaves, the place is taken."""
    budget.ask("other", CLAIMED, clock.mono_s())
    following.wish(FORMING)
    assert (following.followed, following.refused) == (False, True)
    budget.leave("other")
    following.judge(1.0, restless=False)
    assert (following.followed, following.refused) == (True, False)
    following.wish(Interest.NOTHING)
    assert not following.refused


def test_a_place_that_was_taken_away_is_noticed(following, clock, budget, make_packet):
    """A camera with an open claim takes it; this one stops decoding everything."""
    send(following, make_packet, 0, 1)
    following.wish(FORMING)
    budget.ask("other", CLAIMED, clock.mono_s())
    following.renew()
    assert (following.active, following.refused) == (False, True)
    clock.advance(LEASE_S + 1)
    following.wish(FORMING)
    assert following.followed


def test_without_key_frames_everything_is_decoded_whatever_the_budget(clock, make_packet):
    """There is no other way to see it; interest changes nothing in what waits."""
    following = Following("cam", Ring(), clock, FollowBudget(0))
    send(following, make_packet, 0, 3, gop_s=1000)
    following.set_everything(on=True)
    assert (following.active, following.followed) == (True, False)
    assert len(following.take(99)[0]) == 30
    following.wish(CLAIMED)
    _, chain = following.take(0)
    send(following, make_packet, 3, 1, keys=False)
    assert len(following.take(99)[0]) == 10
    assert following.take(0)[1] == chain
    following.set_everything(on=False)
    assert not following.active


def test_no_budget_means_nobody_is_followed(clock, make_packet):
    """The key frames alone, and no group of pictures from memory."""
    following = Following("cam", Ring(), clock, None)
    send(following, make_packet, 0, 3)
    following.wish(CLAIMED)
    assert not following.active
    assert not following.refused
    assert not following.may_decode_group()


def test_decoders_that_are_slow_go_on_at_the_newest_key_frame(following, make_packet):
    """What waits is bounded by two groups; what is left out is counted, and the chain is another one."""
    send(following, make_packet, 0, 1)
    following.wish(FORMING)
    _, chain = following.take(0)
    send(following, make_packet, 2, 20)
    packets, later = following.take(999)
    assert packets[0].is_key
    assert packets[-1].at_mono_s == pytest.approx(21.9)
    assert len(packets) <= 60
    assert following.overflows > 0
    assert later != chain


def test_what_waits_is_bounded_in_bytes(following, make_packet):
    """A group larger than the ring is left at its cap, and the next key frame is waited for."""
    send(following, make_packet, 0, 1)
    following.wish(FORMING)
    send(following, make_packet, 2, 4, gop_s=1000, size=600)
    assert sum(packet.size for packet in following.take(999)[0]) <= 10_000
    send(following, make_packet, 6, 1, keys=False)
    assert following.take(999)[0] == []
    packets = send(following, make_packet, 8, 1)
    assert following.take(999)[0] == packets


def test_short_groups_are_not_left_out(following, make_packet):
    """A camera that sends key frames only has many groups in a second."""
    following.wish(FORMING)
    packets = [make_packet(i / 25, key=True) for i in range(50)]
    for packet in packets:
        following.keep(packet)
    assert following.take(99)[0] == packets
    assert following.overflows == 0


def test_a_stream_that_cannot_be_begun_is_stranded(clock, make_packet):
    """Without a key frame in memory nothing can be decoded; how long that lasts is told, until one comes."""
    following = Following("cam", Ring(), clock, None)
    send(following, make_packet, 0, 1, keys=False)
    following.set_everything(on=True)
    clock.advance(4)
    send(following, make_packet, 1, 1, keys=False)
    assert following.stranded_s() == 4
    assert following.take(99)[0] == []
    key = make_packet(5.0, key=True)
    following.keep(key)
    assert (following.stranded_s(), following.take(9)[0]) == (0.0, [key])


def test_a_decoder_that_lost_its_way_waits_for_a_key_frame(clock, make_packet):
    """Unless one waits already: then it goes on there."""
    following = Following("cam", Ring(), clock, None)
    send(following, make_packet, 0, 2, gop_s=1000)
    following.set_everything(on=True)
    _, chain = following.take(5)
    following.lost(chain)
    clock.advance(3)
    assert following.stranded_s() == 3
    key = make_packet(5.0, key=True)
    following.keep(key)
    _, chain = following.take(0)
    following.lost(chain)
    assert following.take(9)[0] == [key]


def test_following_that_brings_no_picture_ends(following, clock, make_packet):
    """A stream that only key frames can be decoded of must not stay in the hands of a decoder that gets nothing from it."""
    send(following, make_packet, 0, 1)
    following.wish(FORMING)
    clock.advance(29)
    following.renew()
    assert following.followed
    clock.advance(2)
    following.renew()
    assert not following.followed
