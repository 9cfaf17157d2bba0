# SPDX-License-Identifier: AGPL-3.0-or-later
"""Packet sizes as a hint to look sooner."""

from fractions import Fraction

import av
import numpy as np
import pytest

from ingest.hint import SizeHint


@pytest.fixture
def stream(make_packet):
    """Return a function that makes packets, 25 a second and a key frame every 2 s, of given sizes by second."""

    def make(seconds, size_at, *, start_s=0.0, seed=1):
        rng = np.random.default_rng(seed)
        for i in range(round(seconds * 25)):
            at_s = start_s + i / 25
            key = i % 50 == 0
            size = 60_000 if key else max(1, round(size_at(at_s) * rng.normal(1.0, 0.08)))
            yield make_packet(at_s, key=key, size=size)

    return make


def hinted(hint, packets):
    return [round(packet.at_mono_s, 2) for packet in packets if hint.take(packet)]


def test_pictures_that_grow_are_told(stream):
    """A near person at constant quality: within a fifth of a second, once what is usual is known."""
    hint = SizeHint()
    found = hinted(hint, stream(60, lambda at_s: 40_000 if 50.5 <= at_s < 51.5 else 4000))
    assert 50.5 < found[0] <= 50.8
    assert found[-1] <= 51.8


def test_a_constant_bit_rate_is_silent(stream):
    """Where the encoder spends the same on everything, sizes say nothing, and nothing is made of them."""
    hint = SizeHint()
    assert hinted(hint, stream(120, lambda at_s: 18_000 * (1.25 if 60 < at_s < 70 else 1.0))) == []


def test_nothing_is_told_before_it_is_known_what_is_usual(stream):
    """The first groups of pictures are for learning."""
    assert hinted(SizeHint(), stream(10, lambda at_s: 40_000 if 1 < at_s < 2.8 else 4000)) == []


def test_one_large_picture_is_no_hint(stream):
    """An encoder's whim: a row of them is needed."""
    hint = SizeHint()
    found = hinted(hint, stream(60, lambda at_s: 80_000 if round(at_s * 25) % 40 == 7 else 4000))
    assert found == []


def test_a_restless_stream_has_limits_of_its_own(stream):
    """Rain makes sizes vary: what is twice the median there is usual."""
    hint = SizeHint()
    rain = lambda at_s: 4000 * (1 + 2 * (round(at_s * 5) % 5 == 0))  # noqa: E731
    found = hinted(hint, stream(240, rain))
    assert [at for at in found if at > 120] == []
    assert hinted(hint, stream(4, lambda _: 200_000, start_s=240.0))


def test_another_level_becomes_usual(stream):
    """At night a camera sends more noise, for hours; the hint does not go on for hours."""
    hint = SizeHint()
    found = hinted(hint, stream(300, lambda at_s: 4000 if at_s < 60 else 12_000))
    assert found
    assert max(found) < 200


def test_hints_that_come_to_nothing_make_it_cautious(stream):
    """Up to a bound; one that proves right makes it bolder again."""
    hint = SizeHint()
    hinted(hint, stream(60, lambda _: 4000))
    for _ in range(3):
        hint.proved(right=False)
    assert hinted(hint, stream(1, lambda _: 12_000, start_s=60.0)) == []
    for _ in range(9):
        hint.proved(right=False)
    assert hinted(hint, stream(1, lambda _: 100_000, start_s=62.0))
    for _ in range(9):
        hint.proved(right=True)
    assert hinted(hint, stream(1, lambda _: 12_000, start_s=64.0))


@pytest.fixture
def encoded(tmp_path, packets_of):
    """Return a function that encodes a noisy street in which a large thing passes from 30.5 to 31.5 s."""

    def make(**options):
        rng = np.random.default_rng(3)
        street = rng.integers(60, 140, (18, 32), np.uint8).repeat(10, 0).repeat(10, 1)
        with av.open(tmp_path / "clip.mp4", "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(25))
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 320, 180, "yuv420p", 50
            if "bit_rate" in options:
                stream.bit_rate = options.pop("bit_rate")
            stream.options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0", **options}
            for i in range(40 * 25):
                luma = np.clip(street + rng.normal(0, 2.0, street.shape), 0, 255).astype(np.uint8)
                if 30.5 <= i / 25 < 31.5:
                    at = 20 + 10 * (i % 25)
                    luma[40:140, at : at + 60] = rng.integers(0, 255, (100, 60), np.uint8)
                picture = np.repeat(luma[..., None], 3, axis=2)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            container.mux(stream.encode(None))
        return packets_of(tmp_path / "clip.mp4")

    return make


def test_a_real_stream_of_constant_quality_tells(encoded):
    """As encoded by x264: the passing thing and nothing else."""
    found = hinted(SizeHint(), encoded(crf="26"))
    assert 30.5 < found[0] <= 30.9
    assert found[-1] < 32.1


def test_a_real_stream_of_constant_bit_rate_is_silent(encoded):
    """As cameras send it: starved of bits, whatever happens."""
    rate = {"bit_rate": 400_000, "maxrate": "400000", "bufsize": "100000", "nal-hrd": "cbr"}
    assert hinted(SizeHint(), encoded(**rate)) == []
