# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera with two streams: the small one is looked at, the clip is cut from the main one. From the simulator to the store."""

import av
import pytest

from events.evidence import CLIP
from events.troubles import TroubleKind, troubles_of
from gridwatch.app.details import WITHIN_S
from gridwatch.core.camera import EvidenceFrom, Note, SightState
from tests.app.watching import LateClock, Street, clip, until, watching

MAIN, SUB = (960, 540), (640, 360)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    footage = clip(tmp_path_factory.mktemp("clips") / "fire.mp4", marked=True, size=MAIN)
    with Street({"fire": footage}, sub=["fire"]) as street:
        yield street


def size_of(file):
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert sum(1 for _ in container.decode(stream)) > 20
        return stream.width, stream.height


def clip_of(machine):
    (alert,) = machine.alerts()
    assert alert.clip.state == "ready"
    return machine.evidence.path(alert.clip.sha256, CLIP)


def test_it_looks_at_the_second_stream_and_the_clip_is_the_main_ones(tmp_path, street):
    """`main-always`: the main stream is read and never decoded; the seconds before the incident are its own."""
    camera = street.camera("fire", sub_url=street.url("fire/sub"), evidence=EvidenceFrom.ALWAYS)
    with watching(tmp_path, [camera]) as machine:
        until(lambda: machine.state("fire") is SightState.SEEING)
        parts = machine.shard.find("fire")
        until(lambda: parts.evidence.ring.span_s > 3)
        assert street.viewers() == {"fire": 1, "fire/sub": 1}
        machine.network.burning = True
        until(lambda: machine.alerts() and machine.alerts()[0].clip.state != "pending")
        assert machine.network.sizes == {SUB}
        assert size_of(clip_of(machine)) == MAIN
        machine.shard.set_cameras([])
        until(lambda: sum(street.viewers().values()) == 0)


def test_the_main_stream_is_read_from_the_incident_on_and_left_afterwards(tmp_path, street):
    """`main-on-incident`: nobody connects to it before; the usual clip shows what was looked at."""
    camera, clock = street.camera("fire", sub_url=street.url("fire/sub")), LateClock()
    with watching(tmp_path, [camera], clock=clock) as machine:
        until(lambda: machine.state("fire") is SightState.SEEING)
        assert street.viewers() == {"fire": 0, "fire/sub": 1}
        machine.network.burning = True
        until(machine.alerts)
        until(lambda: street.viewers() == {"fire": 1, "fire/sub": 1})
        until(lambda: machine.alerts()[0].clip.state != "pending")
        assert size_of(clip_of(machine)) == SUB
        assert machine.network.sizes == {SUB}
        clock.late_s += WITHIN_S + 5
        until(lambda: street.viewers() == {"fire": 0, "fire/sub": 1})


@pytest.mark.parametrize(
    ("evidence", "viewers"), [(EvidenceFrom.ALWAYS, 1), (EvidenceFrom.ON_INCIDENT, 0)], ids=str
)
def test_a_main_stream_that_cannot_be_had_is_said_beside_what_the_camera_sees(
    tmp_path, street, evidence, viewers
):
    """A note, a trouble for whoever keeps the system running, and a count; it is tried until it can be had, which ends both."""
    camera, clock = street.camera("fire", sub_url=street.url("fire/sub"), evidence=evidence), LateClock()
    street.fault("refuse", "fire")
    with watching(tmp_path, [camera], clock=clock) as machine:
        until(lambda: machine.state("fire") is SightState.SEEING)
        machine.shard.find("fire").hold_evidence(clock.mono_s() + 5)
        until(lambda: Note.MAIN_STREAM_AWAY in notes(machine))
        assert told(machine) == [TroubleKind.EVIDENCE]
        failed = machine.shard.troubles()["stream_failures"]
        assert failed > machine.feed("fire").failures == 0
        clock.late_s += 6
        until(lambda: machine.shard.troubles()["stream_failures"] > failed)
        street.fault("refuse", "fire", on=False)
        until(lambda: Note.MAIN_STREAM_AWAY not in notes(machine), within_s=40)
        assert TroubleKind.EVIDENCE not in told(
            machine
        )  # the clock that leapt here may be told as the camera's
        until(lambda: street.viewers() == {"fire": viewers, "fire/sub": 1})
        machine.shard.set_cameras([])
        assert machine.shard.troubles()["stream_failures"] > failed


def notes(machine):
    (status,) = machine.shard.statuses()
    return status.notes


def told(machine):
    """Return the kinds of what is wrong with the camera."""
    return [one.kind for one in troubles_of(machine.shard.statuses(), {}, machine.clock.now())]
