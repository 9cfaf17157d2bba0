# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the shard holds of one camera: begun, halted and ended by several threads, on real streams."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.set_aside import SetAside
from gridwatch.app.settings import IngestSettings
from gridwatch.app.watched import HOLD_S
from gridwatch.core.camera import Camera, EvidenceFrom, Fault, SightState, Watch
from gridwatch.core.look import Look, LookReason
from gridwatch.core.redact import SecretUrl
from models.service.device import Device
from tests.app.watching import LateClock, Street, Watchful, clip, until

NOWHERE = SecretUrl("rtsp://127.0.0.1:1/x")


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    footage = clip(tmp_path_factory.mktemp("clips") / "plain.mp4", size=(960, 540))
    with Street({"gate": footage}, sub=["gate"]) as street:
        yield street


@pytest.fixture
def clock():
    return LateClock()


@pytest.fixture
def wired(clock):
    """Return a function that puts a camera's parts together; they are ended when the test is."""
    made = []

    def wire(camera, **options):
        wiring = CameraWiring(IngestSettings(), Device(Watchful(), clock), clock, **options)
        made.append(wiring.wire(camera, lambda _packet: None))
        return made[-1]

    yield wire
    for one in made:
        one.end()
        one.join(10)
        assert one.feed.join(0)
        assert one.evidence is None or one.evidence.join(0)


def test_it_is_begun_once_however_often_it_is_asked_for(wired, street, clock):
    """Two threads for one camera would both hand on its packets."""
    one = wired(street.camera("gate"))
    before = threading.active_count()
    for _ in range(3):
        one.start(clock.mono_s())
    assert threading.active_count() == before + 1
    until(lambda: street.viewers()["gate"] == 1)
    one.halt()
    until(lambda: street.viewers()["gate"] == 0)
    assert not one.reads
    one.start(clock.mono_s())
    until(lambda: one.feed.opened == 2)


def test_what_has_ended_is_never_begun_again(wired, street, clock):
    """Whoever comes late with a start, a hold or a look after its threads: nothing is connected."""
    one = wired(street.camera("gate", sub_url=street.url("gate/sub"), evidence=EvidenceFrom.ALWAYS))
    one.start(clock.mono_s())
    until(lambda: street.viewers() == {"gate": 1, "gate/sub": 1})
    one.end()
    one.start(clock.mono_s())
    one.check(clock.mono_s())
    one.hold_evidence(clock.mono_s() + 100)
    until(lambda: street.viewers() == {"gate": 0, "gate/sub": 0})
    assert one.ended
    assert not one.reads
    assert not one.evidence.reading


def test_a_main_stream_that_is_always_read_is_read_as_long_as_the_camera_is(wired, street, clock):
    """Halted it is let go of; an incident holds it all the same; begun again it is read again."""
    one = wired(street.camera("gate", sub_url=street.url("gate/sub"), evidence=EvidenceFrom.ALWAYS))
    one.start(clock.mono_s())
    until(lambda: street.viewers() == {"gate": 1, "gate/sub": 1})
    clock.late_s += HOLD_S - 1
    one.check(clock.mono_s())
    clock.late_s += HOLD_S - 1
    one.check(clock.mono_s())
    assert one.evidence.reading
    one.halt()
    clock.late_s += HOLD_S + 1
    one.check(clock.mono_s())
    assert not one.evidence.reading
    until(lambda: street.viewers() == {"gate": 0, "gate/sub": 0})
    one.hold_evidence(clock.mono_s() + 30)
    until(lambda: street.viewers() == {"gate": 1, "gate/sub": 0})
    one.start(clock.mono_s())
    until(lambda: street.viewers() == {"gate": 1, "gate/sub": 1})


def test_many_threads_that_begin_and_halt_leave_one_thread_or_none(wired, street, clock):
    """The ticker, the steward of visits and whoever changes cameras may meet."""
    one = wired(street.camera("gate"))
    before = threading.active_count()

    def meddle(number):
        for turn in range(40):
            (one.start, one.check)[turn % 2](clock.mono_s())
            if (turn + number) % 3 == 0:
                one.halt()

    threads = [threading.Thread(target=meddle, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    one.halt()
    one.start(clock.mono_s())
    until(lambda: threading.active_count() == before + 1)
    until(lambda: street.viewers()["gate"] == 1)
    one.end()
    until(lambda: threading.active_count() == before)
    until(lambda: street.viewers()["gate"] == 0)


def test_it_knows_its_own_looks(wired, street):
    """By their times, and no more of them than can be under way."""
    one = wired(street.camera("gate"))

    def look(at_s):
        return Look("gate", LookReason.PATROL, at_s, datetime(2026, 5, 1, tzinfo=UTC), 0.0, None)

    one.ask([look(1.0), look(1.5)])
    assert one.asked(look(1.5))
    assert not one.asked(look(2.0))
    one.ask([look(10.0 + n) for n in range(1000)])
    assert one.asked(look(1009.0))
    assert not one.asked(look(1.5))


@pytest.mark.parametrize(
    ("watch", "options", "state", "fault"),
    [
        (Watch.OFF, {}, SightState.OFF, Fault.SWITCHED_OFF),
        (Watch.MAINTENANCE, {}, SightState.MAINTENANCE, Fault.SWITCHED_OFF),
        (Watch.OFF, {"unusable": lambda: {"gate": "no such variable"}}, SightState.OFF, Fault.UNAUTHORIZED),
        (Watch.ON, {"set_aside": lambda: {"gate": SetAside("", "it crashed", 2)}}, SightState.OFF, Fault.SET_ASIDE),
    ],
)  # fmt: skip
def test_what_is_not_to_be_watched_is_not_connected_to_and_says_why(
    wired, street, clock, watch, options, state, fault
):
    """However it came to be so, and whoever starts it."""
    one = wired(street.camera("gate", watch=watch), **options)
    one.start(clock.mono_s())
    one.check(clock.mono_s())
    status = one.pipeline.intake.sight.status()
    assert (status.state, status.fault) == (state, fault)
    assert status.reason
    assert not one.reads
    assert one.feed.opened == one.feed.failures == 0


@dataclass(frozen=True)
class Large:
    """A packet of a stream of 6 Mbit/s, ten a second, as a memory sees it."""

    at_mono_s: float
    is_key: bool
    size: int = 75_000
    session: int = 1


@pytest.mark.parametrize(
    ("evidence", "main_is_short"), [(EvidenceFrom.ALWAYS, True), (EvidenceFrom.ON_INCIDENT, False)]
)
def test_memories_are_to_hold_a_clip(wired, evidence, main_is_short):
    """12 s of it; of a main stream that is read from an incident on only what comes after it. 8 MiB hold 9 s."""
    one = wired(Camera("gate", "", NOWHERE, sub_url=NOWHERE, evidence=evidence))
    memories = (one.pipeline.intake.ring, one.evidence.ring)
    for i in range(300):
        for memory in memories:
            memory.append(Large(i / 10, i % 20 == 0))
    assert [memory.short for memory in memories] == [True, main_is_short]


def test_a_main_streams_memory_that_is_too_small_is_told_to_the_camera(wired, clock):
    """As long as it is so."""
    one = wired(Camera("gate", "", NOWHERE, sub_url=NOWHERE))
    told = []
    for short in (True, False):
        one.evidence = SimpleNamespace(
            ring=SimpleNamespace(short=short),
            trouble="",
            check=lambda: None,
            stop=lambda: None,
            join=lambda _: True,
        )
        one.check(clock.mono_s())
        told.append(one.pipeline.intake.main_short)
    assert told == [True, False]
