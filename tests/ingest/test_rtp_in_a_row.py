# SPDX-License-Identifier: AGPL-3.0-or-later
"""The short way of packets that do nothing but go on with a fragment: it leads where the long one does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.annexb import split_annexb
from ingest.rtp import Depacketizer
from tests.ingest.rtsp_kit import fragments, framed, pictures_of, random_packets, rtp

IDR, SLICE = b"\x65\x88" + b"key" * 20, b"\x41\x9a" + b"rest" * 10
LONG = {"h264": b"\x65\x88" + bytes(range(250)), "hevc": b"\x26\x01\x80" + bytes(range(250))}
HEAD = int.from_bytes(b"$\0")


def taken_in_a_row(stream, codec="h264", taker=None):
    """The pictures of interleaved packets that lie one behind another, and how many packets went the short way."""
    taker, at, pictures, quick = taker or Depacketizer(codec, 96), 0, [], 0
    buffer = bytearray(stream)
    view = memoryview(buffer)
    while at + 4 < len(buffer):
        body, at = at + 4, at + 4 + int.from_bytes(buffer[at + 2 : at + 4])
        pictures += taker.take(buffer, view, body, at) or ()
        if taker.is_open:
            before, at = at, taker.take_more(buffer, view, at, len(buffer), HEAD)
            quick += buffer[before:at].count(b"$\0")
    return pictures, quick


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_what_goes_on_with_a_fragment_is_taken_at_once(codec):
    """All packets between the first and the last one of a picture; the picture is the same."""
    parts = fragments(LONG[codec], 12, codec)
    packets = [rtp(part, 65_530 + number, 5, mark=number == 11) for number, part in enumerate(parts)]
    pictures, quick = taken_in_a_row(b"".join(map(framed, packets)), codec)
    assert [list(split_annexb(picture.payload)) for picture in pictures] == [[LONG[codec]]]
    assert quick == 10


@pytest.mark.parametrize(
    "other",
    [
        framed(rtp(fragments(IDR, 3)[1], 3, 5), channel=1),
        framed(rtp(fragments(IDR, 3)[1], 4, 5)),
        framed(rtp(fragments(IDR, 3)[1], 3, 6)),
        framed(rtp(fragments(IDR, 3)[1], 3, 5, ssrc=8)),
        framed(rtp(fragments(IDR, 3)[1], 3, 5, kind=97)),
        framed(rtp(fragments(IDR, 3)[1], 3, 5, mark=True)),
        framed(rtp(fragments(IDR, 3)[1] + b"\x01", 3, 5, first=0xA0)),
        framed(rtp(fragments(IDR, 3)[1][:2], 3, 5)),
        framed(rtp(fragments(IDR, 3)[2], 3, 5)),
        framed(rtp(fragments(IDR, 3)[0], 3, 5)),
        framed(rtp(fragments(SLICE, 3)[1], 3, 5)),
        framed(rtp(IDR, 3, 5)),
        framed(rtp(fragments(IDR, 3)[1], 3, 5))[:-1],
        framed(rtp(fragments(IDR, 3)[1], 3, 5))[:18],
        b"",
    ],
    ids=[
        "channel",
        "gap",
        "time",
        "source",
        "kind",
        "mark",
        "padding",
        "empty",
        "last",
        "first",
        "unit",
        "whole",
        "cut",
        "header",
        "nothing",
    ],
)
def test_what_does_more_than_go_on_is_left(other):
    """It is taken packet by packet, or once it is there; what comes before it is not."""
    taker = Depacketizer("h264", 96)
    one, two, _ = fragments(IDR, 3)
    assert pictures_of([rtp(one, 1, 5)], taker=taker) == []
    buffer = bytearray(framed(rtp(two, 2, 5)) + other)
    assert taker.take_more(buffer, memoryview(buffer), 0, len(buffer), HEAD) == len(buffer) - len(other)


def test_a_fragment_without_end_is_bounded_on_the_short_way():
    """No more than 8 MiB and one packet is kept of it."""
    packets = [rtp(fragments(SLICE + bytes(130_000), 2)[0], 0, 0)]
    packets += [rtp(b"\x5c\x01" + bytes(65_000), number, 0) for number in range(1, 200)]
    taker = Depacketizer("h264", 96)
    assert taken_in_a_row(b"".join(map(framed, packets)), taker=taker)[0] == []
    (picture,) = pictures_of([rtp(IDR, 200, 1)], taker=taker)
    assert (8 << 20) - 70_000 < len(picture.payload) < (8 << 20) + 70_000


PACKETS = random_packets([IDR, SLICE, *fragments(IDR, 3)])


@given(st.data(), st.sampled_from(["h264", "hevc"]))
def test_the_short_way_leads_to_the_same(data, codec):
    """Whatever the packets are: fragments in a row, here and there something else, something missing or twice."""
    parts = fragments(LONG[codec], 9, codec)
    packets = [
        rtp(part, 9 * picture + number, picture, mark=number == len(parts) - 1)
        for picture in range(3)
        for number, part in enumerate(parts)
    ]
    for at in data.draw(st.lists(st.integers(0, len(packets) - 1), max_size=4)):
        packets[at : at + data.draw(st.integers(0, 1))] = data.draw(st.lists(PACKETS, max_size=2))
    one, other = Depacketizer(codec, 96), Depacketizer(codec, 96)
    in_a_row, _ = taken_in_a_row(b"".join(map(framed, packets)), codec, one)
    assert in_a_row == pictures_of(packets, codec, other)
    assert (one.lost, one.is_open) == (other.lost, other.is_open)
