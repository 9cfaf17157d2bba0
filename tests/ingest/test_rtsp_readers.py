# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two readers of one camera: our own, and FFmpeg's where ours is none. They bring the same, and each has its cameras."""

from itertools import islice, pairwise

import pytest

from gridwatch.core.camera import Transport
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest import annexb
from ingest.decoder import KeyDecoder
from ingest.errors import DamagedError
from ingest.interleaved import InterleavedStream
from ingest.rtsp import RtspOptions, RtspSource
from ingest.rtsp_ffmpeg import FfmpegStream
from ingest.rtsp_session import NotUnderstoodError
from tests.ingest.rtsp_kit import fragments, framed, rtp

AUD = {"h264": 9, "hevc": 35}
PICTURES = 12


def units_of(stream, count):
    try:
        return list(islice(stream.units(), count))
    finally:
        stream.close()


def content(unit, codec):
    return tuple(u for u in annexb.split_annexb(unit.payload) if annexb.nal_type(u, codec) != AUD[codec])


def steps_of(units, codec):
    """From one picture to the next: what both are → ticks between them."""
    seen = [
        (content(unit, codec), unit.pts) for unit in units if unit.pts is not None
    ]  # FFmpeg's first has none
    return {(one, other): later - earlier for (one, earlier), (other, later) in pairwise(seen)}


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {}),
        ("libx264", {"b_frames": 2, "preset": "veryfast"}),
        ("libx264", {"slices": "4"}),
        ("libx264", {"x264-params": "intra-refresh=1"}),
        ("libx265", {"b_frames": 2}),
    ],
    ids=["h264", "h264-b", "h264-slices", "h264-refresh", "h265-b"],
)
def test_both_readers_bring_the_same_pictures(make_clip, serve, codec, options):
    """The same NAL units in the same pictures, the same of them keys, and the same time from each to the next."""
    served = serve(
        {"gate": make_clip(codec=codec, fps=24, gop=4, pictures=PICTURES, size=(640, 360), **options)}
    )
    url, clock = SecretUrl(served.url()), SystemClock()
    own = InterleavedStream(clock, within_s=8, answers_s=8, stall_s=8).open(url)
    name = own.info.codec
    ours = units_of(own, 2 * PICTURES)
    other = FfmpegStream(clock, within_s=8, answers_s=8, transport=Transport.TCP).open(url)
    assert (own.info.codec, own.info.width, own.info.height) == (other.info.codec, 640, 360)
    assert own.info.time_base == other.info.time_base
    assert set(annexb.parameter_sets(own.info.extradata, name)) == set(
        annexb.parameter_sets(other.info.extradata, name)
    )
    theirs = units_of(other, 2 * PICTURES)
    keys = [{content(unit, name) for unit in units if unit.is_key} for units in (ours, theirs)]
    assert keys[0] == keys[1]
    assert len(keys[0]) == PICTURES // 4
    our_steps, their_steps = steps_of(ours, name), steps_of(theirs, name)
    within = our_steps.keys() & their_steps.keys()
    assert len(within) >= PICTURES - 1
    seams = {pair for pair in within if abs(our_steps[pair]) > 90_000}  # where the clip begins again
    assert {pair: our_steps[pair] for pair in within - seams} == {
        pair: their_steps[pair] for pair in within - seams
    }


def test_a_key_picture_with_a_hole_shows_nothing(make_clip, packets_of, scripted):
    """A camera that could not send a fragment of it: it is told as damaged, and the whole one behind it is shown."""
    key = packets_of(make_clip(size=(640, 360), gop=1, pictures=2))[0]
    payload = annexb.decodable_alone(key.payload, key.info.extradata, "h264")
    *sets, picture = list(annexb.split_annexb(payload))
    payloads = [*sets, *fragments(picture, 5)]
    packets = [
        framed(rtp(part, time * 50 + i, time * 3600, mark=part is payloads[-1]))
        for time in range(2)
        for i, part in enumerate(payloads)
    ]
    broken = [packet for i, packet in enumerate(packets) if i != len(sets) + 2]
    camera = scripted(streams=(b"", b"".join(broken)))
    with RtspSource("cam", SecretUrl(camera.url()), SystemClock()) as source:
        damaged, whole = islice(source.packets(), 2)
    with pytest.raises(DamagedError):
        KeyDecoder().decode(damaged)
    assert KeyDecoder().decode(whole).width == 640


class Recorded:
    """A reader that only notes that it was asked; `fails` where it opens."""

    def __init__(self, asked, name, fails=None):
        self._asked, self._name, self._fails = asked, name, fails
        self.info = None

    def __call__(self, *_, **bounds):
        self._asked.append((self._name, bounds.get("transport")))
        return self

    def open(self, url):
        if self._fails is not None:
            raise self._fails
        raise LookupError(url.host)  # far enough

    def close(self):
        pass


@pytest.mark.parametrize(
    ("url", "transport", "understood", "readers"),
    [
        ("rtsp://h/", Transport.TCP, True, [("own", None)]),
        ("RTSP://h/", Transport.TCP, True, [("own", None)]),
        ("rtsp://h/", Transport.UDP, True, [("ffmpeg", Transport.UDP)]),
        ("rtsps://h/", Transport.TCP, True, [("ffmpeg", Transport.TCP)]),
        ("rtsp://h/", Transport.TCP, False, [("own", None), ("ffmpeg", Transport.TCP)]),
    ],
    ids=["tcp", "tcp-in-capitals", "udp", "tls", "not-understood"],
)
def test_each_reader_has_its_cameras(monkeypatch, url, transport, understood, readers):
    """Ours reads TCP; datagrams, TLS, and what ours does not understand are FFmpeg's."""
    asked = []
    failure = None if understood else NotUnderstoodError("packets out of order")
    monkeypatch.setattr("ingest.rtsp.InterleavedStream", Recorded(asked, "own", failure))
    monkeypatch.setattr("ingest.rtsp.FfmpegStream", Recorded(asked, "ffmpeg"))
    source = RtspSource("cam", SecretUrl(url), SystemClock(), RtspOptions(transport=transport))
    with pytest.raises(LookupError, match=r"^h$"), source:
        pass
    assert asked == readers
