# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of one camera, without threads."""

import pytest

from gridwatch.core.camera import Camera, SightState
from gridwatch.core.look import LookReason
from gridwatch.core.redact import SecretUrl
from ingest.decoder import KeyDecoder
from ingest.intake import CameraIntake


@pytest.fixture
def intake(clock):
    return CameraIntake(Camera("cam", "南门", SecretUrl("rtsp://127.0.0.1/x")), clock)


def test_a_clip_becomes_looks(intake, clock, make_clip, packets_of):
    """Key frames are decoded, the rest is remembered; a moving picture is looked at with its time and change."""
    decoder, looks = KeyDecoder(), []
    for packet in packets_of(make_clip(gop=10, pictures=60)):
        clock.advance_to(packet.at_mono_s)
        if intake.take(packet) is not None:
            looks.append(intake.see(packet, decoder.decode(packet)))
    assert [look.at_mono_s for look in looks] == pytest.approx([0, 1, 2, 3, 4, 5])
    assert [look.why for look in looks] == [LookReason.PATROL] + [LookReason.SUSPECT] * 5
    assert all(look.gate > 26 for look in looks[1:])
    assert (intake.last_picture.width, intake.last_picture.height) == (
        looks[-1].frame.width,
        looks[-1].frame.height,
    )
    assert len(intake.ring.window(0, 9)) == 60
    assert intake.sight.status().state is SightState.SEEING


def test_a_stream_of_key_frames_is_thinned(intake, make_packet):
    """A camera that sends 25 key frames a second costs no more than three decoded pictures a second."""
    admitted = [intake.take(make_packet(i / 25, key=True)) for i in range(250)]
    assert 25 <= sum(packet is not None for packet in admitted) <= 34


def test_time_that_goes_back_does_not_close_the_sampler(intake, make_packet):
    """After a clip starts again its key frames are decoded from the first on."""
    assert intake.take(make_packet(100.0, key=True))
    assert intake.take(make_packet(0.0, key=True))


def test_garbage_is_no_sight(intake, clock, make_packet):
    """Key frames that cannot be decoded leave the camera blind, with the reason."""
    for _ in range(10):
        clock.advance(2)
        intake.take(make_packet(clock.mono_s(), key=True))
        intake.damaged("a key frame is incomplete")
    status = intake.sight.status()
    assert (status.state, status.reason) == (SightState.BLIND, "a key frame is incomplete")
    assert intake.last_picture is None
