# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures out of RTP packets: as cameras cut, mark, lose and number them, and random ones."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.annexb import START_CODE, split_annexb
from ingest.rtp import Depacketizer
from tests.ingest.rtsp_kit import fragments, pictures_of, random_packets, rtp, sender_report

SPS, PPS, AUD, SEI = b"\x67\x4d\x00\x2a", b"\x68\xee", b"\x09\x10", b"\x06\x05\x01\x00\x80"
IDR, SLICE = b"\x65\x88" + b"key" * 20, b"\x41\x9a" + b"rest" * 10
SECOND_SLICE = b"\x41\x1a" + b"more" * 10  # first_mb_in_slice is not 0
RECOVERY = b"\x06\x06\x01\xc4\x80"  # recovery point, recovery_frame_cnt 0
HEVC_IDR, HEVC_SLICE = b"\x26\x01\x80" + b"key" * 20, b"\x02\x01\x80" + b"rest" * 10


def numbered(payloads, timestamps, marks=(), start=0, **fields):
    """Payloads as packets with rising numbers; those at the indices `marks` are marked."""
    return [
        rtp(payload, start + i, timestamp, mark=i in marks, **fields)
        for i, (payload, timestamp) in enumerate(zip(payloads, timestamps, strict=True))
    ]


def units(picture):
    return list(split_annexb(picture.payload))


def test_a_picture_ends_with_its_mark():
    """It is handed on with the marked packet, and not only with the next one."""
    packets = numbered([SPS, PPS, IDR, SLICE], [0, 0, 0, 3600], {2, 3})
    taker = Depacketizer("h264", 96)
    assert [len(pictures_of([packet], taker=taker)) for packet in packets] == [0, 0, 1, 1]
    key, other = pictures_of(packets)
    assert (units(key), key.is_key, key.pts) == ([SPS, PPS, IDR], True, 0)
    assert (units(other), other.is_key, other.pts) == ([SLICE], False, 3600)
    assert key.payload == START_CODE + SPS + START_CODE + PPS + START_CODE + IDR


def test_a_camera_that_marks_nothing_is_read_by_its_timestamps():
    """Each picture is handed on with the first packet of the next."""
    pictures = pictures_of(numbered([IDR, SLICE, SLICE], [5, 10, 15]))
    assert [(units(picture), picture.pts) for picture in pictures] == [([IDR], 0), ([SLICE], 5)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_fragments_become_the_unit_that_they_were(codec):
    """Its header is put together again, whatever is marked in the middle of it (some cameras mark every packet)."""
    unit = IDR if codec == "h264" else HEVC_IDR
    for marks in ({4}, set(range(5))):
        packets = numbered(fragments(unit, 5, codec), [0] * 5, marks)
        (picture,) = pictures_of(packets, codec)
        assert (units(picture), picture.is_key) == ([unit], True)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_several_units_in_one_packet_are_taken_apart(codec):
    """STAP-A and AP; what is cut off in it is left out, an empty one too."""
    header, inner = (b"\x78", [SPS, PPS, IDR]) if codec == "h264" else (b"\x60\x01", [HEVC_IDR, HEVC_SLICE])
    whole = header + b"".join(struct.pack(">H", len(unit)) + unit for unit in inner)
    (picture,) = pictures_of([rtp(whole + b"\x00\x00", 1, mark=True)], codec)
    assert (units(picture), picture.is_key) == (inner, True)
    (short,) = pictures_of([rtp(whole + b"\x00\x20cut", 1, mark=True)], codec)
    assert units(short) == inner


def test_parameter_sets_with_marks_or_times_of_their_own_stay_with_their_picture():
    """Some cameras mark them, some give them another timestamp; without them no key picture can be decoded."""
    for times in ([0, 0, 0, 0], [100, 100, 200, 3600], [1, 2, 3600, 3600]):
        key, *_ = pictures_of(numbered([AUD, SPS, PPS, SEI, IDR], [*times, 3600], {1, 2, 4}))
        assert units(key) == [AUD, SPS, PPS, SEI, IDR]
        assert key.timestamp == 3600


def test_what_belongs_to_no_picture_is_not_kept_for_ever():
    """Units without a picture are dropped at the next timestamp once they are many."""
    packets = numbered([b"\x0c" + bytes(60_000)] * 8, range(8))
    taker = Depacketizer("h264", 96)
    assert pictures_of(packets, taker=taker) == []
    (key,) = pictures_of([rtp(IDR, 8, 99, mark=True)], taker=taker)
    assert len(key.payload) < 130_000


def test_a_camera_that_marks_each_slice_is_read_by_its_timestamps():
    """From its second slice on; its pictures are whole then."""
    payloads = [IDR, b"\x65\x11" + b"2"] + [SLICE, SECOND_SLICE] * 3
    pictures = pictures_of(numbered(payloads, [0, 0, 5, 5, 10, 10, 15, 15], set(range(8))))
    assert [units(picture) for picture in pictures[-2:]] == [[SLICE, SECOND_SLICE]] * 2


def test_timestamps_that_stand_still_end_no_picture_wrongly():
    """Each marked picture is one, though all have the same timestamp."""
    pictures = pictures_of(numbered([IDR, SLICE, SLICE], [7, 7, 7], {0, 1, 2}))
    assert [units(picture) for picture in pictures] == [[IDR], [SLICE], [SLICE]]
    assert {picture.pts for picture in pictures} == {0}


@pytest.mark.parametrize(
    ("payloads", "codec", "is_key"),
    [
        ([IDR], "h264", True),
        ([RECOVERY, SLICE], "h264", True),
        ([SEI, SLICE], "h264", False),
        ([SPS, PPS, SLICE], "h264", False),
        ([HEVC_IDR], "hevc", True),
        ([b"\x2a\x01\x80x"], "hevc", True),  # CRA
        ([b"\x20\x01\x80x"], "hevc", True),  # BLA
        ([HEVC_SLICE], "hevc", False),
        ([b"\x12\x01\x80x"], "hevc", False),  # RASL
    ],
)
def test_a_key_picture_is_one_that_decoding_may_begin_with(payloads, codec, is_key):
    """IDR and recovery points of H.264 (D.2.8); random access pictures of H.265 (table 7-1)."""
    packets = numbered(payloads, [0] * len(payloads), {len(payloads) - 1})
    assert [picture.is_key for picture in pictures_of(packets, codec)] == [is_key]


def test_numbers_and_timestamps_wrap():
    """At 2^16 and 2^32: nothing is missing, and times go on."""
    first = 0xFFFFFFFF - 5000
    packets = numbered([IDR] + [SLICE] * 4, [first + 3600 * i for i in range(5)], range(5), start=65533)
    taker = Depacketizer("h264", 96)
    assert [picture.pts for picture in pictures_of(packets, taker=taker)] == [0, 3600, 7200, 10800, 14400]
    assert taker.lost == 0


def test_pictures_may_be_shown_in_another_order():
    """Timestamps step back for B pictures; so do times."""
    pictures = pictures_of(numbered([IDR, SLICE, SLICE, SLICE], [0, 10800, 3600, 7200], range(4)))
    assert [picture.pts for picture in pictures] == [0, 10800, 3600, 7200]


@pytest.mark.parametrize(
    ("first", "around"),
    [
        (0x82, (b"\0" * 8, b"")),
        (0x90, (b"\xbe\xde\x00\x02" + b"\0" * 8, b"")),
        (0xA0, (b"", b"\0\0\x03")),
        (0xB1, (b"\0" * 4 + b"\xab\xac\x00\x00", b"\x01")),
    ],
    ids=["sources", "extension", "padding", "all"],
)
def test_what_stands_around_a_payload_is_left_out(first, around):
    """Contributing sources, header extensions (ONVIF's time, for one) and padding (RFC 3550, 5.1 and 5.3.1)."""
    (picture,) = pictures_of([rtp(around[0] + IDR + around[1], 1, mark=True, first=first)])
    assert units(picture) == [IDR]


def test_a_packet_of_padding_is_not_missing():
    """A fragmented picture goes on behind it; without payload at all, too."""
    one, two, three = fragments(IDR, 3)
    packets = [
        rtp(one, 1),
        rtp(b"\0\0\0\x04", 2, first=0xA0),
        rtp(two, 3),
        rtp(b"", 4),
        rtp(three, 5, mark=True),
    ]
    taker = Depacketizer("h264", 96)
    (picture,) = pictures_of(packets, taker=taker)
    assert (units(picture), taker.lost) == ([IDR], 0)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_picture_with_a_missing_fragment_ends_where_it_is_missing(missing):
    """Nothing behind the hole is joined to what was before it, and the next picture is whole."""
    packets = numbered([*fragments(IDR, 5), SLICE], [0] * 5 + [3600], {4, 5})
    del packets[missing]
    taker = Depacketizer("h264", 96)
    broken, following = pictures_of(packets, taker=taker)
    (unit,) = units(broken)
    assert IDR.startswith(unit)
    assert len(unit) < len(IDR)
    assert units(following) == [SLICE]
    assert taker.lost == 1


def test_a_picture_whose_beginning_is_missing_is_none():
    """Fragments without their first one are dropped."""
    packets = numbered([*fragments(IDR, 3), SLICE], [0] * 3 + [3600], {2, 3})
    assert [units(picture) for picture in pictures_of(packets[1:])] == [[SLICE]]


def test_numbers_that_stand_still_are_no_loss():
    """Over TCP nothing comes twice: a camera that does not count its packets is read all the same."""
    packets = [rtp(part, 0, 0, mark=mark) for part, mark in zip(fragments(IDR, 3), (0, 0, 1), strict=True)]
    assert [units(picture) for picture in pictures_of(packets)] == [[IDR]]


def test_another_sender_begins_anew():
    """Its times have nothing to do with those before, however close: they step back, beyond any reordering."""
    before = numbered([IDR, SLICE], [70_000, 73_600], {0, 1})
    after = numbered([IDR, SLICE], [60_000, 63_600], {0, 1}, start=900, ssrc=8)
    taker = Depacketizer("h264", 96)
    times = [picture.pts for picture in pictures_of([*before, *after], taker=taker)]
    assert times[:2] == [0, 3600]
    assert times[3] - times[2] == 3600
    assert times[2] < -90_000 * 10
    assert taker.lost == 0


def test_a_picture_that_a_restart_broke_off_is_dropped():
    """What has come of it is not joined to what another sender sends."""
    packets = [
        *numbered(fragments(SLICE, 3)[:2], [5, 5]),
        rtp(fragments(SLICE, 3)[2], 2, 5, mark=True, ssrc=8),
        rtp(IDR, 3, 5, mark=True, ssrc=8),
    ]
    assert [units(picture) for picture in pictures_of(packets)] == [[IDR]]


def test_packets_of_another_kind_are_passed_over():
    """Sound on the same channel, RTCP among the pictures, another version of RTP, packets that are cut off."""
    packets = [
        rtp(SPS, 1),
        rtp(IDR, 700, kind=8, ssrc=99),
        sender_report(1_700_000_000, 0),
        rtp(IDR, 2, first=0x40),
        rtp(IDR, 2)[:11],
        rtp(IDR, 2, mark=True),
    ]
    taker = Depacketizer("h264", 96)
    (picture,) = pictures_of(packets, taker=taker)
    assert (units(picture), taker.lost) == ([SPS, IDR], 0)


def report_to(taker, data):
    buffer = bytearray(b"?" + data)
    taker.take_report(buffer, 1, len(buffer))


def test_a_report_tells_the_cameras_time_of_a_timestamp():
    """Also behind other RTCP packets (RFC 3550, 6.1), and where the timestamp has wrapped since."""
    taker = Depacketizer("h264", 96)
    pictures_of([rtp(IDR, 1, mark=True)], taker=taker)
    receiver_report, names = b"\x80\xc9\x00\x01\0\0\0\x07", b"\x81\xca\x00\x02\0\0\0\x07\x01\x01x\0"
    report_to(taker, receiver_report + sender_report(1_700_000_000, 0xFFFFFFFF) + names)
    assert taker.report == (1_700_000_000_500_000, 0xFFFFFFFF)
    assert taker.since_report(89_999) == 90_000
    assert taker.since_report(0xFFFFFFFF - 10) == -10


def test_a_report_may_come_before_the_first_picture():
    """It is kept where it is the same sender's."""
    for ssrc, is_kept in ((7, True), (8, False)):
        taker = Depacketizer("h264", 96)
        report_to(taker, sender_report(1_700_000_000, 5, ssrc))
        pictures_of([rtp(IDR, 1, mark=True)], taker=taker)
        assert (taker.report is not None) == is_kept


@pytest.mark.parametrize(
    "data",
    [
        sender_report(0, 5),
        struct.pack(">BBHIIIIII", 0x80, 200, 6, 7, 1000, 0, 5, 0, 0),
        sender_report(1_700_000_000, 5, ssrc=8),
        sender_report(1_700_000_000, 5)[:27],
        b"\x40" + sender_report(1_700_000_000, 5)[1:],
        b"\x80\xc8\x00\x01" + sender_report(1_700_000_000, 5)[4:],
        b"",
    ],
    ids=["no-clock", "since-it-runs", "another-sender", "cut", "version", "short-by-its-length", "empty"],
)
def test_a_report_that_says_nothing_is_not_believed(data):
    """A camera without a clock, another sender's, and what is no report."""
    taker = Depacketizer("h264", 96)
    pictures_of([rtp(IDR, 1, mark=True)], taker=taker)
    report_to(taker, data)
    assert taker.report is None
    assert taker.since_report(5) == 0


def test_another_senders_times_are_not_reckoned_from_an_old_report():
    """After a restart nothing is known of the camera's clock until its next report."""
    taker = Depacketizer("h264", 96)
    pictures_of([rtp(IDR, 1, mark=True)], taker=taker)
    report_to(taker, sender_report(1_700_000_000, 5))
    assert taker.report is not None
    pictures_of([rtp(IDR, 1, mark=True, ssrc=8)], taker=taker)
    assert taker.report is None


@pytest.mark.parametrize("payload", [SLICE + bytes(65_000), fragments(SLICE + bytes(130_000), 2)[0]])
def test_a_picture_without_end_is_bounded(payload):
    """Units or fragments that never end: no more than 8 MiB and one packet is kept."""
    taker = Depacketizer("h264", 96)
    assert pictures_of([rtp(payload, i, 0) for i in range(200)], taker=taker) == []
    (picture,) = pictures_of([rtp(IDR, 200, 1)], taker=taker)
    assert (8 << 20) - 70_000 < len(picture.payload) < (8 << 20) + 70_000


PACKETS = random_packets([SPS, PPS, IDR, SLICE, SECOND_SLICE, RECOVERY, *fragments(IDR, 3)])


@given(st.lists(st.one_of(PACKETS, st.binary(max_size=60)), max_size=30), st.sampled_from(["h264", "hevc"]))
def test_any_packets_are_pictures_or_nothing(packets, codec):
    """Nothing is raised, nothing is read beside the packet, and each picture has a slice in it."""
    slices = range(1, 6) if codec == "h264" else range(32)
    for picture in pictures_of(packets, codec):
        assert picture.payload.startswith(START_CODE)
        kinds = {unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F for unit in units(picture)}
        assert kinds & set(slices) or b"\x00\x00" in picture.payload[4:]


@given(st.binary(max_size=200))
def test_any_report_is_taken_or_nothing(data):
    """Nothing is raised."""
    report_to(Depacketizer("h264", 96), data)


@given(st.lists(st.integers(0, 0xFFFFFFFF), min_size=2, max_size=20, unique=True))
def test_times_are_timestamps_without_wrapping(timestamps):
    """Whatever they are, the step from picture to picture is the shorter way round."""
    pictures = pictures_of([rtp(IDR, i, time, mark=True) for i, time in enumerate(timestamps)])
    for earlier, later in pairwise(pictures):
        step = later.pts - earlier.pts
        assert -(1 << 31) <= step < 1 << 31
        assert (later.timestamp - earlier.timestamp - step) % (1 << 32) == 0
