# SPDX-License-Identifier: AGPL-3.0-or-later
"""The steps of one camera, without threads."""

from dataclasses import replace

import numpy as np
import pytest

from gridwatch.core.camera import Fault, Note, SightState
from ingest.decoder import KeyDecoder
from ingest.errors import StreamEndedError
from ingest.follow_budget import FollowBudget
from ingest.health import Seen
from ingest.intake import CameraIntake
from ingest.ring import Ring
from tests.ingest.intake_kit import CAMERA, FOLLOW, PATROL, SUSPECT, shows_box, times


@pytest.fixture
def intake(clock):
    return CameraIntake(CAMERA, clock)


def test_a_clip_becomes_looks(intake, watch, make_clip, packets_of):
    """Key frames are decoded, the rest is remembered; a moving picture is looked at with its time and change."""
    looks = watch(intake, packets_of(make_clip(gop=10, pictures=60)))
    assert times(looks) == [0, 1, 2, 3, 4, 5]
    assert [look.why for look in looks] == [PATROL] + [SUSPECT] * 5
    assert all(look.gate > 26 for look in looks[1:])
    shown, last = intake.picture(KeyDecoder()), looks[-1].frame
    assert (shown.luma() == last.luma()).all()
    assert (intake.decoded, len(intake.ring.window(0, 9))) == (6, 60)
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
    assert (status.state, status.fault, status.reason) == (
        SightState.BLIND,
        Fault.DAMAGED,
        "a key frame is incomplete",
    )
    assert intake.picture(KeyDecoder()) is None


NO_KEYS = {
    "endless": {"gop": 10_000},
    "intra-refresh": {"gop": 20, "x264-params": "intra-refresh=1:keyint=20:scenecut=0"},
}


@pytest.mark.parametrize("options", NO_KEYS.values(), ids=NO_KEYS)
def test_streams_without_key_frames_are_seen(intake, watch, quiet_clip, packets_of, options):
    """Everything is decoded, and said; looks come as of any other camera, and a change opens the gate."""
    packets = packets_of(quiet_clip(30, [(20.5, 30)], **options))
    looks = watch(intake, packets)
    assert Note.NO_KEY_FRAMES in intake.sight.status().notes
    assert np.diff([look.at_mono_s for look in looks]).max() <= 5.1
    quiet = [look for look in looks if 9 < look.at_mono_s < 20]
    assert {look.why for look in quiet} == {PATROL}
    opened = next(look for look in looks if look.why is SUSPECT)
    assert shows_box(opened)
    assert opened.at_mono_s <= 21.7
    assert intake.sight.status().state is SightState.SEEING


def test_a_stream_without_key_frames_is_followed_as_well(following_intake, watch, quiet_clip, packets_of):
    """At two looks a second, without losing the chain of pictures."""
    looks = watch(following_intake, packets_of(quiet_clip(30, [(20.5, 30)], gop=10_000)))
    followed = [look.at_mono_s for look in looks if look.why is FOLLOW]
    assert followed[0] <= 21.7
    assert np.diff(followed).max() <= 0.61


def test_key_frames_that_come_back_end_it(intake, watch, quiet_clip, packets_of):
    """A camera whose settings were mended costs its key frames again."""
    packets = packets_of(quiet_clip(12, gop=10_000))
    watch(intake, packets)
    assert intake.following.everything
    later = [
        replace(packet, at_mono_s=packet.at_mono_s + 12, session=2) for packet in packets_of(quiet_clip(8))
    ]
    looks = watch(intake, later)
    assert not intake.following.active
    assert intake.sight.status().notes == ()
    assert times(looks)[-1] >= 16


def test_a_stream_that_cannot_be_begun_is_opened_anew(intake, clock, make_packet):
    """Joined in the middle of an endless group there is nothing to decode; at most once a minute."""
    raised = []
    for _ in range(800):
        clock.advance(0.1)
        try:
            intake.take(make_packet(clock.mono_s()))
        except StreamEndedError as error:
            raised.append((round(clock.mono_s()), error.reason))
    assert [at for at, _ in raised] == [pytest.approx(11, abs=1), pytest.approx(72, abs=2)]
    assert raised[0][1] == "no key frame comes to begin with"


def test_damage_in_a_stream_without_key_frames_opens_it_anew(intake, watch, quiet_clip, packets_of):
    """What follows refers to the broken picture, for ever; a new stream begins whole."""
    packets = packets_of(quiet_clip(24, gop=10_000))
    packets[150] = replace(packets[150], payload=packets[150].payload[:9])
    looks = watch(intake, packets[:150])
    assert looks[-1].at_mono_s > 10
    with pytest.raises(StreamEndedError):
        watch(intake, packets[150:])
    assert intake.following.stranded_s() == pytest.approx(3.0, abs=0.5)


def test_a_memory_that_is_too_small_is_said(clock, make_packet):
    """Two groups do not fit: what came before an incident may be missing."""
    intake = CameraIntake(CAMERA, clock, ring=Ring(max_bytes=3000))
    for i in range(60):
        intake.take(make_packet(i / 4, key=i % 20 == 0))
    assert intake.sight.status().notes == (Note.RING_SHORT,)


def test_a_memory_of_the_main_stream_that_is_too_small_is_said(intake, make_packet):
    """It is the camera's clips that lack the time before; said while it is so."""
    notes = []
    for second, short in enumerate((False, True, True, False)):
        intake.main_short = short
        intake.take(make_packet(2.0 * second, key=True))
        notes.append(intake.sight.status().notes)
    assert notes == [(), (Note.RING_SHORT,), (Note.RING_SHORT,), ()]


def test_an_endless_group_beyond_the_memory_is_said(clock, make_packet):
    """No key frame comes to say it at: clips of such a camera show nothing."""
    intake = CameraIntake(CAMERA, clock, ring=Ring(max_bytes=3000))
    for i in range(60):
        intake.take(make_packet(i / 4, key=i == 0))
    assert intake.sight.status().notes == (Note.RING_SHORT, Note.NO_KEY_FRAMES)


class Health:
    """Judges each picture as it is told to, and remembers what it was shown."""

    def __init__(self, verdict):
        self.verdict, self.shown = verdict, []

    def see(self, small, at_mono_s, *, is_key):
        self.shown.append((at_mono_s, small.shape, small.dtype))
        return self.verdict


@pytest.mark.parametrize("size", [(320, 180), (640, 360)])
def test_health_judges_key_frames_and_looks_say_whether_it_is_home(clock, watch, make_clip, packets_of, size):
    """Pictures between two key frames are not judged: an encoder repeats in them what it likes."""
    health = Health(Seen(Fault.MOVED, at_home=False))
    intake = CameraIntake(CAMERA, clock, health=health, follow=FollowBudget(1))
    looks = watch(intake, packets_of(make_clip(gop=10, pictures=40, size=size)))
    assert len(looks) > 4
    assert [round(at, 3) for at, *_ in health.shown] == [0, 1, 2, 3]
    assert {rest for _, *rest in map(tuple, health.shown) for rest in [tuple(rest)]} == {
        ((180, 320), np.dtype(np.uint8))
    }
    assert not any(look.at_home for look in looks)
    assert intake.sight.status().state is SightState.DEGRADED
