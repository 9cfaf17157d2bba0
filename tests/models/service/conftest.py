# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network that does as it is told, what the service answers, and a service around both on a clock that stands still."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest

from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Detections, Part, Unknown
from gridwatch.core.look import Look, LookReason
from models.errors import InferenceError
from models.service.device import Device, DeviceRules
from models.service.inference import InferenceService, ServiceSettings
from models.service.ready import Blank

AT = datetime(2026, 5, 1, tzinfo=UTC)
FIRE = frozenset({Part.FIRE})


class Sized:
    def __init__(self, width=640, height=360):
        self.width, self.height = width, height


class Told:
    """A network that waits where it is told to, fails where it is told to, and notes who asked for what."""

    def __init__(self, batch=1):
        self.batch, self.asked, self.most_at_once = batch, [], 0
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.open.set()
        self.error = None
        self._inside, self._lock = 0, threading.Lock()

    def input_size(self, width, height):
        return width, height

    def prepare(self, width, height, *, parts):
        pass

    def proof(self, frames):
        return [Detections.none()] * len(frames)

    def detect(self, frame, *, parts):
        return self.detect_all([frame], parts=parts)[0]

    def detect_all(self, frames, *, parts):
        if isinstance(frames[0], Blank):  # what is asked when it was opened; `proof` does that
            return self.proof(frames)
        with self._lock:
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
            self.asked.append((len(frames), {(frame.width, frame.height) for frame in frames}, parts))
        self.entered.release()
        assert self.open.wait(10)
        with self._lock:
            self._inside -= 1
        if self.error is not None:
            raise self.error
        return [Detections.none()] * len(frames)


class Answers:
    """What the service answered, and whether a camera was ever judged twice at a time."""

    def __init__(self):
        self.all, self.threads, self.twice = [], set(), False
        self._judging, self._came = Counter(), threading.Condition()

    def __call__(self, look, answer):
        with self._came:
            self._judging[look.camera_id] += 1
            self.twice |= self._judging[look.camera_id] > 1
        time.sleep(0.0005)
        with self._came:
            self._judging[look.camera_id] -= 1
            self.all.append((look.camera_id, look.at_mono_s, answer))
            self.threads.add(threading.current_thread().name)
            self._came.notify_all()

    def wait_for(self, count):
        with self._came:
            assert self._came.wait_for(lambda: len(self.all) >= count, 20), self.all
        return self.all

    def reasons(self):
        return [answer.reason if isinstance(answer, Unknown) else "" for *_, answer in self.all]


def _wait_until(condition):
    until_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until_s, "it never came true"
        time.sleep(0.002)


@pytest.fixture
def clock():
    return ManualClock(AT, 100.0)


@pytest.fixture
def make(clock):
    """Make services; each is stopped at the end, and its network is told to let go before."""
    made = []

    def service(network, *, start=True, reopen=None, fallback=None, **settings):
        device = Device(
            network, clock, reopen=reopen, fallback=fallback, rules=DeviceRules(fall_back_after=1)
        )
        one = InferenceService(device, clock, ServiceSettings(**settings))
        one._watcher = threading.Thread()  # tests call `check` themselves, when the clock says what they want
        one._watcher.run = lambda: None
        answers = Answers()
        made.append((network, one))
        if start:
            one.start(answers)
        return one, answers

    yield service
    for network, one in made:
        network.open.set()
        one.stop()
        assert all(not thread.is_alive() for thread in one._workers.values())


def _submit(service, clock, camera, *, urgent=False, age_s=0.0, parts=FIRE, frame=None):
    look = Look(camera, LookReason.PATROL, clock.mono_s() - age_s, AT, 0.0, frame or Sized())
    service.submit(look, parts, urgent=urgent)


@pytest.fixture
def told():
    return Told


@pytest.fixture
def answers_of():
    return Answers


@pytest.fixture
def sized():
    return Sized


@pytest.fixture
def submit():
    return _submit


@pytest.fixture
def wait_until():
    return _wait_until


class Named:
    """A network that answers, or does not; `hangs` holds whoever asks until it is set."""

    def __init__(self, name, batch=1):
        self.name, self.batch, self.fails, self.hangs = name, batch, False, None
        self.prepared, self.asked = [], []

    def input_size(self, width, height):
        return width, height

    def prepare(self, width, height, *, parts):
        self.prepared.append((width, height, parts))

    def detect(self, _frame, *, parts):
        self.asked.append(parts)
        if self.hangs is not None:
            self.hangs.wait(10)
        if self.fails:
            raise InferenceError(f"{self.name} failed")
        return Detections.none()


class Openings:
    """Opens networks, fails as told, and notes what was opened."""

    def __init__(self):
        self.opened, self.fail_next, self.fallback_fails = [], 0, False

    def reopen(self):
        if self.fail_next:
            self.fail_next -= 1
            self.opened.append("failed")
            raise RuntimeError("no such device")
        self.opened.append("gpu")
        return Named(f"gpu{len(self.opened)}", batch=16)

    def fallback(self):
        if self.fallback_fails:
            self.opened.append("failed fallback")
            raise InferenceError("no memory")
        self.opened.append("cpu")
        return Named("cpu")


@pytest.fixture
def named():
    """Return the class of networks that answer as they are told."""
    return Named


@pytest.fixture
def openings():
    return Openings()


@pytest.fixture
def hanging():
    """Return an event that lets go of whoever waits for it at the end."""
    event = threading.Event()
    yield event
    event.set()


RULES = DeviceRules(lost_after=3, first_retry_s=1.0, retry_s=60.0, fall_back_after=3, open_within_s=30.0)


@pytest.fixture
def rules():
    """Return when a device counts as lost, and how it is tried again."""
    return RULES


@pytest.fixture
def device(named, clock, openings):
    return Device(
        named("gpu", batch=16), clock, reopen=openings.reopen, fallback=openings.fallback, rules=RULES
    )


@pytest.fixture
def fail():
    """Return what reports failures of a device."""

    def fail(device, times=1):
        for _ in range(times):
            device.failed(device.network, "device error")

    return fail


@pytest.fixture
def mend_after():
    """Return what mends a device once that is due."""

    def mend_after(device, clock, seconds):
        """Mend at the moment at which that is due, and not before."""
        assert device.is_due() is False
        clock.advance(seconds - 0.01)
        assert device.is_due() is False
        clock.advance(0.01)
        assert device.is_due() is True
        device.mend()

    return mend_after
