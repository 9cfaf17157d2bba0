# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a reader does with a stream, on streams made up of packets: turns, rates, starts and stops."""

import random
import threading
import time

import pytest

from gridwatch.core.camera import Fault
from gridwatch.core.clock import SystemClock
from ingest.admission import Admission, AdmissionLimits, Way
from ingest.backoff import Backoff
from ingest.errors import NotFoundError, StreamEndedError, TimedOutError
from ingest.reader import StreamReader

WAY = Way("10.0.0.7:554", "nvr")
FOR_EVIDENCE = Way("10.0.0.7:554", "nvr", yields=True)


class LateClock(SystemClock):
    """The system's clock, set forward by hand."""

    late_s = 0.0

    def mono_s(self):
        return super().mono_s() + self.late_s


class Noting:
    """A receiver that notes what it is told."""

    def __init__(self, camera_id="cam", *, busy=False):
        self.camera_id, self.is_busy = camera_id, busy
        self.told, self.taken, self.rates = [], [], []
        self.in_vain, self.clock, self.decoded_at = False, None, None

    def connecting(self):
        self.told.append("connecting")

    def opened(self, *, second):
        self.told.append("second" if second else "opened")

    def waiting(self):
        self.told.append("waiting")

    def failed(self, reason, fault):
        self.told.append((reason, fault))

    def take(self, packet):
        self.taken.append(packet)
        if self.clock is not None:  # it can be decoded
            self.decoded_at = self.clock.mono_s()

    def rate(self, pictures_per_s, announced_per_s):
        self.rates.append((pictures_per_s, announced_per_s))

    def busy(self):
        return self.is_busy

    def comes_to_nothing(self):
        return self.in_vain

    def decoded_mono_s(self):
        return self.decoded_at


class Steady:
    """A source that brings a packet every hundredth of a second."""

    def __init__(self, packet, failure=None):
        self._packet, self._failure = packet, failure
        self.opened_at, self.closed_at = [], []

    def __enter__(self):
        if self._failure is not None:
            raise self._failure
        self.opened_at.append(time.monotonic())
        return self

    def __exit__(self, *error):
        self.closed_at.append(time.monotonic())

    def packets(self):
        while True:
            time.sleep(0.01)
            yield self._packet


@pytest.fixture
def clock():
    return LateClock()


@pytest.fixture
def read(clock):
    """Return a function that starts a reader; it is stopped when the test ends."""
    started = []

    def start(receiver, *sources, limits=None, way=WAY):
        admission = limits if isinstance(limits, Admission) else Admission(clock, random.Random(1), limits)
        reader = StreamReader(
            receiver,
            [lambda source=source: source for source in sources],
            way=way,
            clock=clock,
            backoff=Backoff(random.Random(3), base_s=0.02, cap_s=0.04),
            admission=admission,
        )
        reader.start()
        started.append(reader)
        return reader

    yield start
    for reader in started:
        reader.stop()
    assert all(reader.join(5) for reader in started)


def test_nothing_is_handed_on_after_a_stop(read, make_packet, until):
    """Once `stop` has returned the receiver is left alone; a start begins anew."""
    receiver = Noting()
    reader = read(receiver, Steady(make_packet(1.0, key=True)))
    for _ in range(2):
        until(lambda: len(receiver.taken) > 3)
        reader.stop()
        taken = len(receiver.taken)
        time.sleep(0.1)
        assert len(receiver.taken) == taken
        assert reader.join(5)
        receiver.taken.clear()
        reader.start()
    assert receiver.told[:2] == ["connecting", "opened"]


def test_the_rate_is_told_every_ten_seconds(read, make_packet, until, clock):
    """Pictures that came in a second, and what the stream announced; not before ten seconds were counted."""
    receiver = Noting()
    reader = read(receiver, Steady(make_packet(1.0, key=True)))
    until(lambda: receiver.taken)
    reader.check()
    reader.check()
    assert receiver.rates == []
    enough = len(receiver.taken) + 20
    until(lambda: len(receiver.taken) >= enough)
    clock.late_s += 10
    before = len(receiver.taken)
    until(lambda: len(receiver.taken) > before)
    reader.check()
    ((rate, announced),) = receiver.rates
    assert 2 <= rate <= 20
    assert announced == 10.0


def test_a_reason_is_logged_once(read, make_packet, until, capsys):
    """A camera that is off for a week does not fill the log; each failure is counted and told all the same."""
    receiver = Noting()
    reader = read(receiver, Steady(make_packet(1.0), StreamEndedError("it is off")))
    until(lambda: reader.failures >= 4)
    assert receiver.told.count(("it is off", Fault.BROKEN_OFF)) >= 3
    assert capsys.readouterr().out.count("it is off") == 1


def test_both_streams_are_read_by_one_thread(read, make_packet, until):
    """The first is not there: the second is opened at once, and told as such."""
    receiver, second = Noting(), Steady(make_packet(1.0, key=True))
    read(receiver, Steady(make_packet(1.0), NotFoundError("no such path")), second)
    until(lambda: receiver.taken)
    assert "second" in receiver.told
    assert len(second.opened_at) == 1


@pytest.mark.parametrize(("busy", "turns"), [(False, 1), (True, 5)])
def test_a_session_is_kept_longer_while_something_may_be_happening(
    read, make_packet, until, clock, busy, turns
):
    """The camera that waits gets the session after one turn, or after five where the other is followed."""
    limits = AdmissionLimits(per_s=1000, sessions={"nvr": 1}, turn_s=100.0)
    admission = Admission(clock, random.Random(1), limits)
    holding, waiting = Steady(make_packet(1.0, key=True)), Steady(make_packet(1.0, key=True))
    first, second = Noting("first", busy=busy), Noting("second")
    read(first, holding, limits=admission)
    until(lambda: first.taken)
    read(second, waiting, limits=admission)
    until(lambda: "waiting" in second.told)
    for _ in range(turns):
        before = len(first.taken)
        until(lambda before=before: len(first.taken) > before + 2)
        assert not waiting.opened_at
        clock.late_s += 101
    until(lambda: waiting.opened_at)
    assert len(holding.closed_at) == 1
    assert all(not isinstance(told, tuple) for told in first.told + second.told)


def test_a_stop_during_a_wait_between_tries_is_heard_at_once(read, make_packet, until, clock):
    """A removed camera's thread does not sleep out its back-off."""
    receiver = Noting()
    reader = read(receiver, Steady(make_packet(1.0), StreamEndedError("it is off")))
    reader._backoff = Backoff(random.Random(3), base_s=1000, cap_s=1000)
    until(lambda: reader.failures >= 1)
    time.sleep(0.1)
    began = time.monotonic()
    reader.stop()
    assert reader.join(5)
    assert time.monotonic() - began < 1.5
    assert threading.active_count() < 50


class Brief(Steady):
    """A source that brings so many packets, some time after each other, and then stalls or breaks."""

    def __init__(self, packet, clock, *, every_s=0.0, packets=1, stall_s=0.0):
        super().__init__(packet)
        self._clock, self._every_s, self._packets, self._stall_s = clock, every_s, packets, stall_s

    def packets(self):
        for number in range(self._packets):
            self._clock.late_s += self._every_s if number else 0.0
            yield self._packet
        self._clock.late_s += self._stall_s
        raise TimedOutError("no picture for 12 s")


class Hanging(Steady):
    """A source that brings one packet, and does not let go until it is told to."""

    def __init__(self, packet, release):
        super().__init__(packet)
        self._release = release

    def packets(self):
        yield self._packet
        self._release.wait(30)
        raise StreamEndedError("it is off")


def more(receiver, until):
    """Wait for two more packets."""
    before = len(receiver.taken)
    until(lambda: len(receiver.taken) >= before + 2)


def test_a_stream_of_which_no_picture_comes_is_left_after_three_tries(read, make_packet, until, clock):
    """Packets come and none can be decoded: that is a failure of this stream like any other."""
    receiver, first, second = Noting(), *(Steady(make_packet(1.0, key=True)) for _ in range(2))
    reader = read(receiver, first, second)
    receiver.in_vain = True
    for times in (1, 2, 3):
        until(lambda times=times: len(first.opened_at) == times)
        more(receiver, until)
        clock.late_s += 31
        more(receiver, until)
        reader.check()
        until(lambda times=times: reader.failures == times)
    until(lambda: second.opened_at)
    more(receiver, until)
    assert receiver.told.count(("no picture comes of its packets", Fault.DAMAGED)) == 3
    assert (len(first.opened_at), receiver.told[-1]) == (3, "second")


def test_a_stream_that_stalls_after_a_picture_is_left_after_three_tries(read, make_packet, until, clock):
    """The time in which it stalls is none in which it was good; tried again, it costs one try and not three."""
    receiver, first = Noting(), Brief(make_packet(1.0, key=True), clock, stall_s=12.5)
    second = Steady(make_packet(1.0, key=True))
    receiver.clock = clock
    reader = read(receiver, first, second)
    until(lambda: second.opened_at)
    assert len(first.opened_at) == 3
    more(receiver, until)
    clock.late_s += 61
    until(lambda: len(second.opened_at) == 2)
    more(receiver, until)
    assert (len(first.opened_at), reader.failures) == (4, 4)


def test_a_stream_that_breaks_after_some_good_time_is_not_left(read, make_packet, until, clock):
    """It was seen by for 11 s each time: that is no failure in a row."""
    receiver, first = Noting(), Brief(make_packet(1.0, key=True), clock, every_s=11.0, packets=2)
    receiver.clock, second = clock, Steady(make_packet(1.0, key=True))
    read(receiver, first, second)
    until(lambda: len(first.opened_at) >= 6)
    assert not second.opened_at


def test_a_stream_that_hangs_is_left_and_not_tried_while_its_thread_stays(read, make_packet, until, clock):
    """Another thread could not be left behind: the second stream is read until the first one's thread has ended."""
    receiver, release = Noting(), threading.Event()
    first, second = Hanging(make_packet(1.0, key=True), release), Steady(make_packet(1.0, key=True))
    receiver.clock = clock
    reader = read(receiver, first, second)
    try:
        until(lambda: receiver.taken)
        clock.late_s += 31
        assert reader.check()
        until(lambda: second.opened_at)
        more(receiver, until)
        clock.late_s += 61
        more(receiver, until)
        more(receiver, until)
        assert len(first.opened_at) == 1
    finally:
        release.set()
    until(lambda: len(first.opened_at) == 2)


def test_a_session_for_evidence_is_given_at_once_to_a_stream_that_is_looked_at(
    read, make_packet, until, clock
):
    """It was not held for its turn, which no camera has to wait for; nothing counts as a failure."""
    limits = AdmissionLimits(per_s=1000, sessions={"nvr": 1}, turn_s=100.0)
    admission = Admission(clock, random.Random(1), limits)
    keeping, looking = Noting("main"), Noting("sub")
    kept, looked = Steady(make_packet(1.0, key=True)), Steady(make_packet(1.0, key=True))
    keeper = read(keeping, kept, limits=admission, way=FOR_EVIDENCE)
    until(lambda: keeping.taken)
    read(looking, looked, limits=admission)
    until(lambda: looking.taken and keeping.told[-1] == "waiting")
    assert len(kept.closed_at) == 1
    assert keeper.failures == 0
    clock.late_s += 1000
    more(looking, until)
    more(looking, until)
    assert not looked.closed_at
    assert len(kept.opened_at) == 1
