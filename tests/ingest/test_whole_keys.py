# SPDX-License-Identifier: AGPL-3.0-or-later
"""Key pictures that come in pieces are joined; streams that send them whole are not held up."""

from dataclasses import replace

import pytest

from ingest import annexb
from ingest.whole_keys import WholeKeys

SETS = b"\0\0\0\1\x67\x42\0\0\0\1\x68\xce"
FIRST, NEXT = b"\0\0\0\1\x65\x88one", b"\0\0\0\1\x65\x44two"  # first_mb_in_slice is 0, and is not


@pytest.fixture
def unit(make_packet):
    """Return a function that makes a packet with bytes of our own."""

    def make(at_s, payload=b"\0\0\0\1\x41\x9a", *, key=False, pts="at"):
        return replace(make_packet(at_s, key=key, pts=pts), payload=payload)

    return make


def through(keys, packets):
    return [
        (ready.at_mono_s, ready.is_key, ready.payload) for packet in packets for ready in keys.take(packet)
    ]


def test_a_stream_of_whole_pictures_waits_for_nothing(unit):
    """Each packet goes on when it came."""
    keys = WholeKeys()
    for at_s, key in ((0.0, True), (0.1, False), (0.2, True), (0.3, False)):
        packet = unit(at_s, SETS + FIRST, key=True) if key else unit(at_s)
        assert keys.take(packet) == [packet]
        assert keys.held is None


def test_pieces_are_joined_once_they_were_seen(unit):
    """The first picture goes in pieces, the second of which is no key; every later one goes whole, before what follows it."""
    keys, one, two = WholeKeys(), SETS + FIRST, SETS + NEXT
    pieces = [unit(at_s, payload, key=True) for at_s in (0.0, 1.0, 2.0) for payload in (one, two)]
    first = through(keys, [*pieces[:2], unit(0.5)])
    assert [(at_s, key) for at_s, key, _ in first] == [(0.0, True), (0.0, False), (0.5, False)]
    second = through(keys, [*pieces[2:4], unit(1.5)])
    assert second == [(1.0, True, one + two), (1.5, False, unit(0).payload)]
    third = through(keys, [*pieces[4:], *pieces[2:3], unit(3.0)])
    assert [(at_s, key) for at_s, key, _ in third] == [(2.0, True), (1.0, True), (3.0, False)]


def test_a_joined_picture_has_a_time_if_a_piece_has_one(unit):
    """FFmpeg gives a stream's first packet none."""
    keys = WholeKeys()
    keys.take(unit(0.0, SETS + NEXT, key=True))  # now it is known
    keys.take(unit(1.0, SETS + FIRST, key=True, pts=None))
    keys.take(unit(1.0, SETS + NEXT, key=True))
    (whole, _) = keys.take(unit(1.1))
    assert whole.pts == 1000


@pytest.mark.parametrize(
    ("codec", "stream", "begins"),
    [
        ("h264", SETS + FIRST, True),
        ("h264", SETS + NEXT, False),
        ("h264", SETS, True),
        ("h264", b"\0\0\1\x65", True),
        ("hevc", b"\0\0\1\x40\1\x0c\0\0\1\x26\1\xaf", True),
        ("hevc", b"\0\0\1\x40\1\x0c\0\0\1\x26\1\x2f", False),
    ],
)
def test_the_first_bit_of_a_slice_says_whether_it_begins_a_picture(codec, stream, begins):
    """In both codecs; without a slice nothing is known against it."""
    assert annexb.begins_picture(stream, codec) is begins


def test_pieces_without_end_are_not_joined_for_ever(unit):
    """A damaged stream that has lost its first slices: nothing is held that is larger than any picture."""
    keys, piece = WholeKeys(), SETS + NEXT + bytes(3 << 20)
    sizes = [ready.size for at_s in range(12) for ready in keys.take(unit(float(at_s), piece, key=True))]
    assert len(sizes) > 2
    assert keys.held is None or keys.held.size <= 8 << 20
