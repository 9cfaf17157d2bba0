# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures out of one connection, however its bytes are cut and whatever stands between them."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.clock import ManualClock, SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.annexb import split_annexb
from ingest.errors import SourceError, StreamEndedError, TimedOutError
from ingest.interleaved import InterleavedStream
from tests.ingest.conftest import START
from tests.ingest.rtsp_kit import answer, answers_until_play, fragments, framed, goodbye, rtp, sender_report

SPS, IDR, SLICE = b"\x67\x4d\x00\x2a", b"\x65\x88" + b"key" * 40, b"\x41\x9a" + b"rest" * 10
KEEP_ALIVE = answer("Session: 5")


class Bytes:
    """A connection over which `data` comes in `pieces` (sizes; the last one again and again), and then `rest` for ever.

    `tick`: called whenever no more data comes; the connection ends where it returns False.
    """

    def __init__(self, data, pieces=(1 << 20,), tick=lambda: False, rest=b""):
        self.buffer = bytearray(128 * 1024)
        self.view = memoryview(self.buffer)
        self.start = self.end = 0
        self._data, self._at, self._tick, self._rest = data, 0, tick, rest
        self._sizes = itertools.chain(pieces, itertools.repeat(pieces[-1]))
        self.sent, self.closed = [], False

    def __call__(self, *_, **__):
        return self

    def fill(self):
        rest = bytes(self.view[self.start : self.end])
        piece = self._data[self._at : self._at + min(next(self._sizes), len(self.buffer) - len(rest))]
        if not piece:
            stands, piece = self._tick(), self._rest
            if not stands or not piece:
                return stands
        self._at += len(piece)
        self.buffer[: len(rest) + len(piece)] = rest + piece
        self.start, self.end = 0, len(rest) + len(piece)
        return True

    def gather(self):
        pass

    def send(self, data):
        self.sent.append(data)

    def close(self, farewell=b""):
        self.sent.append(farewell)
        self.closed = True


def opened(connection, clock=None, **bounds):
    bounds = {"within_s": 5.0, "answers_s": 3.0, "stall_s": 4.0} | bounds
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingest.rtsp_session.Connection", connection)
        stream = InterleavedStream(clock or ManualClock(START), **bounds)
        return stream.open(SecretUrl("rtsp://u:p@camera/live"))


def read(stream, clock=None):
    """The pictures of a stream, of which each takes two seconds on `clock`, and how it ended."""
    pictures, units = [], stream.units()
    while True:
        try:
            unit = next(units)
        except SourceError as error:
            return pictures, error
        pictures.append((unit.pts, unit.is_key, tuple(split_annexb(unit.payload))))
        if clock is not None:
            clock.advance(2.0)


def read_all(data, pieces=(1 << 20,), **answers):
    return read(opened(Bytes(answers_until_play(**answers) + data, pieces)))


def stream_of(pictures, channel=0):
    """`pictures` pictures in the connection, every third a key picture in fragments; as packets."""
    packets = []
    for number in range(pictures):
        payloads = [SPS, *fragments(IDR, 3)] if number % 3 == 0 else [SLICE]
        for payload in payloads:
            mark = payload is payloads[-1]
            packets.append(framed(rtp(payload, len(packets), number * 3600, mark=mark), channel))
    return packets


WHOLE = [(i * 3600, i % 3 == 0, (SPS, IDR) if i % 3 == 0 else (SLICE,)) for i in range(6)]
MIXED = b"".join(
    [
        *(packets := stream_of(6))[:3],
        framed(sender_report(1_700_000_000, 0), 1),
        KEEP_ALIVE,
        *packets[3:5],
        framed(b"$\x00sound", 2),
        *packets[5:],
    ]
)


def test_the_pictures_are_read_and_the_end_is_told():
    """In order, each whole; a connection that ends is an error of its own."""
    pictures, error = read_all(b"".join(stream_of(6)))
    assert pictures == WHOLE
    assert type(error) is StreamEndedError


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_it_does_not_matter_where_the_bytes_are_cut(pieces):
    """Packets, reports, answers and packets of other channels may come in any pieces."""
    assert read_all(MIXED, pieces)[0] == WHOLE


def test_they_may_come_one_by_one():
    """Each byte in a piece of its own, from the first answer on."""
    assert read_all(MIXED, (1,))[0] == WHOLE


def test_the_channels_are_those_that_the_camera_chose():
    """Pictures on another than the first, and none of what comes on the first then."""
    sound = framed(rtp(IDR, 1, 5, mark=True), 0)
    data = sound + b"".join(sound + packet for packet in stream_of(6, channel=4))
    assert read_all(data, transport="RTP/AVP/TCP;interleaved=4-5")[0] == WHOLE


def test_a_packet_of_another_channel_is_passed_over_whole():
    """Whatever stands in it: it is not searched for beginnings."""
    inside = framed(rtp(SLICE, 3, 99, mark=True)) + b"RTSP/1.0 200 OK\r\n\r\n"
    packets = stream_of(6)
    data = b"".join(framed(inside, 9) + packet for packet in packets)
    assert read_all(data)[0] == WHOLE


@pytest.mark.parametrize("garbage", [b"\0" * 70, b"RTSP/nonsense\r\n\r\n", b"$\x09\x00\x03abcdef", b"R"])
def test_after_garbage_reading_goes_on(garbage):
    """What is neither packet nor answer is passed over up to the next packet."""
    packets = stream_of(6)
    data = b"".join([*packets[:4], garbage, *packets[4:]])
    for pieces in ((1 << 20,), (1,), (50,)):
        assert read_all(data, pieces)[0] == WHOLE


def test_garbage_that_looks_like_a_packet_costs_no_picture():
    """A length that leads nowhere is not followed: what was waited for is searched once it is there."""
    packets = stream_of(300)
    data = b"".join([*packets[:4], b"$$$$$$$", *packets[4:]])
    for pieces in ((1 << 20,), (1000,)):
        assert [pts for pts, *_ in read_all(data, pieces)[0]] == list(range(0, 300 * 3600, 3600))


def test_garbage_without_end_is_given_up():
    """Bytes come and come, and no picture: nobody waits for more than a quarter of a megabyte of them."""
    pictures, error = read_all(b"".join(stream_of(6)) + bytes(1 << 20), (50_000,))
    assert pictures == WHOLE
    assert type(error) is StreamEndedError
    assert "no RTSP any more" in error.reason


@given(st.binary(max_size=300), st.integers(0, 20))
def test_any_bytes_in_between_end_nothing_but_the_stream(garbage, at):
    """No other error is raised, whatever comes, and the pictures before it are there."""
    packets = stream_of(6)
    at = min(at + 4, len(packets))
    pictures, _ = read_all(b"".join([*packets[:at], garbage, *packets[at:]]))
    assert pictures[0] == WHOLE[0]


def test_pictures_that_came_before_plays_answer_are_not_lost():
    """They are the first ones; their reports are taken too."""
    *answers, play = answers_until_play().partition(KEEP_ALIVE)[:2]
    packets = stream_of(6)
    early = b"".join(packets[:5]) + framed(sender_report(1_700_000_000, 3600), 1)
    data = b"".join(answers) + early + play + b"".join(packets[5:])
    for pieces in ((1 << 20,), (1,), (700, 13)):
        stream = opened(Bytes(data, pieces))
        assert read(stream)[0] == WHOLE


def test_the_cameras_clock_is_told_for_each_picture():
    """From its last report on, by timestamps; before any, nothing."""
    packets = stream_of(3)
    data = answers_until_play() + b"".join(packets[:4])
    stream = opened(Bytes(data + framed(sender_report(1_700_000_000, 3600), 1) + b"".join(packets[4:]), (1,)))
    units = stream.units()
    assert stream.camera_at(next(units)) is None
    assert [stream.camera_at(next(units)).timestamp() for _ in range(2)] == [
        1_700_000_000.5,
        1_700_000_000.54,
    ]


def test_a_report_that_is_a_minute_old_tells_nothing_any_more():
    """A camera that has stopped reporting may have another clock by now."""
    report = framed(sender_report(1_700_000_000, 0), 1)
    pictures = [framed(rtp(IDR, i, 90_000 * after_s, mark=True)) for i, after_s in enumerate((0, 60, 61))]
    stream = opened(Bytes(answers_until_play() + report + b"".join(pictures)))
    known = [stream.camera_at(unit) is not None for unit in itertools.islice(stream.units(), 3)]
    assert known == [True, True, False]


def test_who_asks_again_goes_on():
    """The first picture comes once, and a second iterator begins where the one before was left."""
    stream = opened(Bytes(answers_until_play() + b"".join(stream_of(6))))
    first = stream.units()
    before = [next(first).pts for _ in range(2)]
    first.close()
    assert before + [pts for pts, *_ in read(stream)[0]] == [pts for pts, *_ in WHOLE]


def test_a_nonce_that_expires_in_between_is_renewed():
    """The session is kept with the new one, while pictures come."""
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="{}"'
    clock = ManualClock(START)
    refused = answer(challenge.format("new"), status="401 Unauthorized")
    options, rest = answers_until_play().split(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type", 1)
    asked = answer(challenge.format("old"), status="401 Unauthorized")
    data = options + asked + b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type" + rest
    packets = stream_of(6)
    whole = data + b"".join(packets[:5]) + refused + b"".join(packets[5:])
    cut = len(data) + 10 + len(b"".join(packets[:5]))
    connection = Bytes(whole, (cut, len(refused), 10, 60))
    stream = opened(connection, clock)
    pictures, _ = read(stream, clock)
    assert pictures == WHOLE
    kept = [request for request in connection.sent if b'nonce="new"' in request]
    assert len(kept) == 1


def test_a_sender_that_says_goodbye_is_not_waited_for():
    """Its stream has ended, though the connection stands; what another sender says ends nothing."""
    packets = stream_of(6)
    data = b"".join([*packets[:4], framed(goodbye(ssrc=8), 1), *packets[4:], framed(goodbye(), 1)])
    pictures, error = read(opened(Bytes(answers_until_play() + data, tick=lambda: True)))
    assert pictures == WHOLE
    assert type(error) is StreamEndedError
    assert error.reason == "the camera says that its stream is over"


def silence(clock, packets=b"", rest=b""):
    """A connection that, behind `packets`, brings nothing but `rest` for a second at a time, and ends after an hour."""

    def tick():
        clock.advance(1.0)
        return clock.mono_s() < 7200

    return Bytes(answers_until_play() + packets, tick=tick, rest=rest)


def test_a_stream_that_falls_silent_is_given_up():
    """After the time without a picture, whatever else the camera sends; the session is kept until then."""
    clock = ManualClock(START)
    connection = silence(clock, b"".join(stream_of(6)), framed(sender_report(1, 1), 1) + KEEP_ALIVE)
    stream = opened(connection, clock, stall_s=40.0)
    began = clock.mono_s()
    pictures, error = read(stream)
    assert pictures == WHOLE
    assert type(error) is TimedOutError
    assert 40 < clock.mono_s() - began < 44
    assert sum(request.startswith(b"OPTIONS") for request in connection.sent) == 2


def test_a_machine_that_stood_still_has_not_waited():
    """A gap in our own time, however long, is no silence of the camera."""
    clock = ManualClock(START)
    stream = opened(silence(clock, b"".join(stream_of(6))), clock, stall_s=40.0)
    units = stream.units()
    for _ in range(6):
        next(units)
    clock.advance(3600.0)
    began = clock.mono_s()
    with pytest.raises(TimedOutError):
        next(units)
    assert clock.mono_s() - began > 25


def test_a_camera_without_a_first_picture_is_given_up():
    """Within the time for opening, which is not that for a stall; the connection is hung up."""
    clock = ManualClock(START)
    connection = silence(clock)
    with pytest.raises(TimedOutError, match="sends no picture"):
        opened(connection, clock, within_s=8.0, stall_s=100.0)
    assert 7 < clock.mono_s() < 13
    assert connection.closed
    assert connection.sent[-1].startswith(b"TEARDOWN")


def test_a_real_connection_brings_the_same(scripted):
    """Over TCP, around PLAY's answer."""
    packets = stream_of(6)
    camera = scripted(streams=(b"".join(packets[:3]), b"".join(packets[3:])), piece=211)
    stream = InterleavedStream(SystemClock(), within_s=5, answers_s=5, stall_s=0.5)
    stream.open(SecretUrl(camera.url()))
    try:
        began = time.monotonic()
        pictures, error = read(stream)
    finally:
        stream.close()
    assert pictures == WHOLE
    assert type(error) is TimedOutError
    assert time.monotonic() - began < 8
