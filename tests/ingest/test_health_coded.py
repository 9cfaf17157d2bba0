# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proof of sight through a real encoder and decoder: what is judged is what a camera would have sent."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from gridwatch.core.camera import Fault
from gridwatch.simulator import treatments
from gridwatch.simulator.coding import Coding, Picture, write_clip
from ingest.decoder import KeyDecoder
from ingest.files import FileSource
from ingest.health import HEIGHT, WIDTH, PictureHealth, Seen
from tests.ingest import street as scene

SIZE = (640, 360)
GOP_PICTURES, KEY_S = 3, 2.0  # a real group is longer; what counts here is what key frames look like
LIVE, BAD, BACK = 36, 26, 4  # key frames


def planes():
    luma = cv2.resize(scene.street(), SIZE, interpolation=cv2.INTER_CUBIC)
    return np.vstack([luma, np.full((SIZE[1] // 2, SIZE[0]), 128, np.uint8)])


def pictures(treat, *, is_still, bad):
    noisy, quiet = treatments.noisy(2.0), planes()
    fixed = noisy(quiet)
    for index in range((LIVE + bad + BACK) * GOP_PICTURES):
        key = index // GOP_PICTURES
        picture = noisy(quiet)
        if LIVE <= key < LIVE + bad:
            picture = treat(fixed if is_still else picture)
        yield Picture(picture, index % GOP_PICTURES == 0)


@pytest.fixture
def watch(tmp_path, clock):
    """Return a function that codes a camera's life, and returns what each of its key frames said."""

    def watch(treat=treatments.untouched, *, is_still=False, bad=BAD, restart_at=None, **coding):
        asked = {"bit_rate": 900_000, "preset": "ultrafast", **coding}
        how = Coding(width=SIZE[0], height=SIZE[1], fps=Fraction(10), **asked)
        write_clip(tmp_path / "life.mp4", how, pictures(treat, is_still=is_still, bad=bad))
        health, decoder = PictureHealth(), KeyDecoder()
        with FileSource("cam", tmp_path / "life.mp4", clock) as source:
            frames = (decoder.decode(packet) for packet in source.packets() if packet.is_key)
            small = (
                cv2.resize(frame.luma(), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames
            )
            seen = []
            for index, luma in enumerate(small):
                if index == restart_at:
                    health = PictureHealth(home=health.home())
                seen.append(health.see(luma, index * KEY_S))
        assert len(seen) == LIVE + bad + BACK
        return seen

    return watch


@pytest.mark.parametrize(
    ("fault", "treat", "is_still"),
    [
        (Fault.FROZEN, treatments.untouched, True),
        (Fault.BLACK, treatments.black(1.0), True),
        (Fault.WASHED_OUT, treatments.washed_out(0.1), False),
        (Fault.COVERED, treatments.washed_out(0.0), False),  # white paper before the lens
        (Fault.BLURRED, treatments.blurred(0.012), False),
        (Fault.COVERED, treatments.covered(0.9), False),
        (Fault.MOVED, treatments.moved(0.2, 0.1), False),
        (Fault.MOVED, treatments.elsewhere, False),
    ],
)
def test_a_coded_fault_is_told_in_its_time_and_taken_back(watch, fault, treat, is_still):
    """Well before; told within 40 s; well again within three key frames."""
    seen = watch(treat, is_still=is_still)
    assert {one.fault for one in seen[:LIVE]} == {None}
    first = next(index for index, one in enumerate(seen) if one.fault is not None)
    assert first - LIVE <= 40 / KEY_S
    assert {one.fault for one in seen[first : LIVE + BAD]} == {fault}
    assert seen[LIVE + BAD + 2] == Seen(None, at_home=True)


def test_a_picture_frozen_before_a_better_encoder_is_frozen(watch):
    """One that spreads its bits over the picture never codes it the same way twice: the noise tells all the same."""
    seen = watch(is_still=True, bit_rate=2_000_000, preset="veryfast")
    assert {one.fault for one in seen[:LIVE]} == {None}
    assert seen[LIVE + BAD - 1].fault is Fault.FROZEN
    assert seen[-1].fault is None


@pytest.mark.parametrize(
    "coding", [{}, {"bit_rate": 2_000_000, "preset": "veryfast"}], ids=["alike", "by noise"]
)
def test_a_picture_that_was_frozen_before_a_restart_is_frozen_after_it(watch, coding):
    """Whether the encoder comes back to the same picture, or only its noise tells: within 45 s, and well when it is live."""
    again = LIVE + BAD
    seen = watch(is_still=True, bad=2 * BAD, restart_at=again, **coding)
    assert {one.fault for one in seen[:LIVE]} == {None}
    assert seen[again - 1].fault is Fault.FROZEN
    assert seen[again].fault is None
    assert {one.fault for one in seen[again + 23 : LIVE + 2 * BAD]} == {Fault.FROZEN}
    assert seen[-1] == Seen(None, at_home=True)


@pytest.mark.parametrize("bit_rate", [150_000, 900_000])
def test_a_quiet_street_is_well_at_any_bit_rate(watch, bit_rate):
    """Bits that do not even carry the noise are no fault."""
    assert {one.fault for one in watch(bit_rate=bit_rate)} == {None}
