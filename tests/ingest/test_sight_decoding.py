# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera whose key frames come and are not decoded: the machine is too slow, and that is said of it."""

import pytest

from gridwatch.core.camera import Fault, SightState
from ingest.sight import Sight
from tests.ingest.sight_kit import look_at, see

BLIND, SEEING = SightState.BLIND, SightState.SEEING


@pytest.fixture
def sight(clock):
    return Sight("cam", "南门", clock)


def bring_keys(sight, clock, keys, key_s=2.0):
    """Have so many key frames come that wait for a decoder."""
    for _ in range(keys):
        clock.advance(key_s)
        sight.handed()


def test_key_frames_that_nobody_decodes_are_no_silence_of_the_camera(sight, clock):
    """It is blind as soon as a silent one would be, and for another reason; the first picture ends it."""
    see(sight, clock, 60)
    bring_keys(sight, clock, 6)
    status = sight.status()
    assert (status.state, status.fault) == (BLIND, Fault.NOT_DECODED)
    sight.decoded(clock.mono_s())
    assert sight.status().state is SEEING
    clock.advance(11)
    assert sight.status().fault is Fault.SILENT


def test_a_slow_machine_does_not_get_used_to_it(sight, clock):
    """Each sixth key frame is decoded, for an hour: what is usual stays what the camera sends."""
    see(sight, clock, 60)
    for _ in range(300):
        bring_keys(sight, clock, 6)
        sight.decoded(clock.mono_s())
    bring_keys(sight, clock, 5)
    clock.advance(1)
    assert sight.status().fault is Fault.NOT_DECODED


def test_a_camera_that_was_never_decoded_is_not_to_blame(sight, clock):
    """Connected, key frames come, and no decoder has come to one yet."""
    sight.connecting("connected, no picture yet")
    bring_keys(sight, clock, 2)
    assert sight.status().fault is Fault.UNREACHABLE
    bring_keys(sight, clock, 1)
    assert sight.status().fault is Fault.NOT_DECODED
    sight.failed("a key frame cannot be decoded", Fault.DAMAGED)
    bring_keys(sight, clock, 2)
    assert sight.status().fault is Fault.DAMAGED


def test_one_that_waits_beside_one_in_work_is_usual(sight, clock):
    """Where a decoder is a group behind, key intervals are learnt as ever."""
    for _ in range(30):
        clock.advance(5.0)
        sight.handed()
        sight.handed()
        sight.decoded(clock.mono_s())
        sight.looked(look_at(clock))
    clock.advance(14.0)
    assert sight.status().state is SEEING
