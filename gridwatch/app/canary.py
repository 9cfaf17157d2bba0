# SPDX-License-Identifier: AGPL-3.0-or-later
"""The canary: every so often a test camera shows a fire, whose alert must reach the case queue in time, as an exercise.

It proves the whole way at once, stream, decoder, network, rules, store and relay, by what came out of it; a part that
says that it is well proves nothing. What does not arrive becomes an operations alert, and so does a test that cannot be made.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from events.alerts import Activity, Alert, AlertFilter
from events.errors import QueueError, StoreError
from events.operations_reading import OperationsReader
from events.queues.port import Mark
from events.reading import AlertReader
from events.troubles import Trouble, TroubleKind, own_trouble
from gridwatch.app.cameras import CANARY_ID
from gridwatch.app.canary_process import Burns
from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock
from gridwatch.core.geometry import WHOLE_PICTURE
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone

log = structlog.get_logger()

RUN_MODE: Final = "exercise"
_ROWS: Final = 20  # of one exercise: it opens, is updated and ends


class Reached(StrEnum):
    """How far an exercise came: what is to be told where it did not arrive."""

    NOT_BURNING = "the test camera's process does not run"
    OPEN = "the exercise before it has not ended"
    NOTHING = "no alert was recorded"
    STORE_AWAY = "the store does not answer"
    RECORDED = "its message is not in the queue"
    QUEUE_AWAY = "the case queue does not answer"
    ARRIVED = "it arrived"


@dataclass(frozen=True, slots=True)
class CanaryRules:
    """When exercises are made.

    Attributes:
        every_s: from one to the next.
        within_s: in which the message must be in the queue.
        burn_s: for how long the scene burns.
        first_s: from the start to the first one: cameras, network and queue need their time.
        again_s: after which it is tried again where one could not begin.
    """

    every_s: float
    within_s: float = 60.0
    burn_s: float = 25.0
    first_s: float = 90.0
    again_s: float = 10.0


@dataclass(frozen=True, slots=True)
class _Exercise:
    """One that goes on: when it began, and the journal's newest row then."""

    began_mono_s: float
    began_at: datetime
    seq: int


class Canary:
    """Makes the exercises and watches for their messages. Stepped every few seconds, by one thread.

    Args:
        scene: what burns.
        reader: of the store.
        mark: asks the case queue for this source's mark; may raise QueueError.
        clock: monotonic time decides.
        rules: see there.
    """

    def __init__(
        self,
        scene: Burns,
        reader: AlertReader,
        mark: Callable[[], Mark | None],
        clock: Clock,
        rules: CanaryRules,
    ) -> None:
        self._scene, self._reader, self._mark, self._clock, self._rules = scene, reader, mark, clock, rules
        self._next_mono_s = clock.mono_s() + min(rules.first_s, rules.every_s)
        self._due_mono_s: float | None = None  # since when one waits to begin
        self._exercise: _Exercise | None = None
        self._missed: tuple[str, datetime] | None = None
        self._recalled = False
        self.arrived, self.missed = 0, 0
        self.last_took_s: float | None = None

    def step(self) -> None:
        """Begin an exercise that is due, or look how far the one that goes on has come."""
        self._recall()
        runs = self._scene.keep()
        now_mono_s = self._clock.mono_s()
        if self._exercise is not None:
            self._follow(self._exercise, now_mono_s)
        elif now_mono_s >= self._next_mono_s:
            self._begin(now_mono_s, runs=runs)

    def troubles(self) -> list[Trouble]:
        """Return what is wrong: the last exercise did not arrive, or none could be made."""
        if self._missed is None:
            return []
        reached, at = self._missed
        return [own_trouble(TroubleKind.CANARY, CANARY_ID, reached, at)]

    def _recall(self) -> None:
        """Take up what the process before told: until an exercise arrives nothing says that it would."""
        if self._recalled:
            return
        with suppress(StoreError):
            operations = OperationsReader(self._reader.store)
            told = operations.alerts(TroubleKind.CANARY, limit=1, open_only=True).items
            if told and told[0].members:
                self._missed = told[0].members[0].reason, told[0].began_at
            self._recalled = True

    def _begin(self, now_mono_s: float, *, runs: bool) -> None:
        if self._due_mono_s is None:
            self._due_mono_s = now_mono_s
        hindrance, seq = self._hindrance(runs=runs)
        if hindrance is None and not self._scene.burn(self._rules.burn_s):
            hindrance = Reached.NOT_BURNING
        if hindrance is None:
            self._exercise = _Exercise(now_mono_s, self._clock.now(), seq)
            self._due_mono_s = None
            return
        if now_mono_s - self._due_mono_s > self._rules.within_s:
            self._miss(hindrance, self._clock.now())
            self._due_mono_s = None
            self._next_mono_s = now_mono_s + self._rules.again_s
            return
        self._next_mono_s = now_mono_s + self._rules.again_s

    def _hindrance(self, *, runs: bool) -> tuple[Reached | None, int]:
        """Return why none can begin, or None and the journal's newest row."""
        if not runs:
            return Reached.NOT_BURNING, 0
        try:
            last = self._last()
            seq = self._reader.last_seq()
        except StoreError:
            return Reached.STORE_AWAY, 0
        if last is not None and last.activity is not Activity.ENDED:
            return Reached.OPEN, 0
        return None, seq

    def _follow(self, exercise: _Exercise, now_mono_s: float) -> None:
        reached = self._reached(exercise)
        took_s = now_mono_s - exercise.began_mono_s
        if reached is Reached.ARRIVED:
            self.arrived, self.last_took_s, self._missed = self.arrived + 1, took_s, None
            log.info("canary_arrived", took_s=round(took_s, 1))
        elif took_s > self._rules.within_s:
            self._miss(reached, exercise.began_at)
        else:
            return
        self._exercise = None
        self._next_mono_s = max(now_mono_s, exercise.began_mono_s + self._rules.every_s)

    def _miss(self, reached: Reached, at: datetime) -> None:
        self.missed += 1
        self._missed = reached.value, at if self._missed is None else self._missed[1]
        log.error("canary_missed", reason=reached.value)

    def _reached(self, exercise: _Exercise) -> Reached:
        try:
            last = self._last()
            rows = [] if last is None else self._reader.rows_of(last.id, exercise.seq, _ROWS)
        except StoreError:
            return Reached.STORE_AWAY
        told = next((row.seq for row in rows if row.message_id is not None), None)
        if told is None:
            return Reached.NOTHING
        try:
            mark = self._mark()
        except QueueError:
            return Reached.QUEUE_AWAY
        there = mark is not None and mark.epoch == self._reader.epoch and mark.seq >= told
        return Reached.ARRIVED if there else Reached.RECORDED

    def _last(self) -> Alert | None:
        """Return the test camera's newest incident."""
        found = self._reader.list(AlertFilter(camera_id=CANARY_ID), None, 1).items
        return found[0] if found else None


def canary_camera(url: SecretUrl) -> Camera:
    """Return the test camera as the pipeline watches it: fire in the whole picture, and every incident an exercise."""
    zone = Zone("canary", frozenset({Kind.FIRE}), WHOLE_PICTURE, name="自检 self-test")
    return Camera(CANARY_ID, "自检摄像机 test camera", url, zones=(zone,), place="yard", run_mode=RUN_MODE)
