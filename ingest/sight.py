# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether one camera sees, judged by what was decoded and answered, never by what was not complained about."""

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from gridwatch.core.camera import CameraStatus, Fault, Note, SightState, Watch
from gridwatch.core.clock import Clock
from gridwatch.core.look import Look
from ingest.answers import Answers
from ingest.health import Seen
from ingest.pace import Pace

_REMEMBERED = 9
_RAREST_KEYS_S = 60.0  # cameras that save bits send a key frame every 10 to 20 s, hardly ever less
_CLOCK_WRONG_S, _CLOCK_RIGHT_S = 2.0, 1.8
_CLOCK_KEPT_S = 60.0  # cameras report their clock every five seconds or so
_LEFT_OUT = 3  # key frames: one may be in work and one may wait
FIRST_TURN = "its first turn has not come"

_WORDS: Mapping[Fault, str] = MappingProxyType(
    {
        Fault.FROZEN: "the same picture again and again",
        Fault.BLACK: "the picture is black",
        Fault.COVERED: "something covers the lens",
        Fault.WASHED_OUT: "the picture is washed out",
        Fault.BLURRED: "the picture is blurred",
        Fault.MOVED: "the camera was moved: its zones are suspended",
        Fault.ELSEWHERE: "away from its home picture",
        Fault.SLOW: "too few pictures",
        Fault.NOT_VISITED: "its turn has not come",
        Fault.NOT_DECODED: "its pictures come and are not decoded in time",
    }
)
_BLINDING = frozenset({Fault.FROZEN, Fault.BLACK, Fault.COVERED})


@dataclass(frozen=True, slots=True)
class SightBounds:
    """How long silence is tolerated.

    Attributes:
        blind_after_s: without a decoded picture for so long, or for `key_intervals` of the camera's usual key
            intervals where that is longer, it is blind.
        answer_within_s: pictures come and the network answers none of them for so long (or for two key intervals), or
            two looks or more got no answer, the first of them so long ago: degraded. A single look that was shed says
            nothing.
    """

    blind_after_s: float = 10.0
    key_intervals: float = 3.0
    answer_within_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a camera's sight. `at` is when the new state began, UTC; `fault` is None while it sees."""

    camera_id: str
    before: SightState
    after: SightState
    reason: str
    at: datetime
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is so now, and since when."""

    state: SightState
    fault: Fault | None
    reason: str
    since: datetime


class Sight:
    """The state of one camera: blind until a picture was decoded. Safe for several threads.

    It is judged when somebody asks (`tick`, `status`), from times: nothing has to happen for a camera to become blind.
    """

    def __init__(self, camera_id: str, name: str, clock: Clock, bounds: SightBounds | None = None) -> None:
        self._camera_id, self._name, self._clock = camera_id, name, clock
        self._bounds = bounds or SightBounds()
        self._lock = threading.Lock()
        self._verdict = _Verdict(SightState.BLIND, Fault.UNREACHABLE, "not connected yet", clock.now())
        self._told = SightState.BLIND
        self._trouble: tuple[Fault, str] | None = Fault.UNREACHABLE, "not connected yet"
        self._failing = False
        self._answers = Answers()
        self._decoded: tuple[float, datetime] | None = None
        self._key_mono_s = 0.0
        self._handed = 0  # key frames given to the decoders since the last picture, or failure, came of one
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)
        self._usual_s = 0.0  # their median
        self._look: tuple[float, datetime] | None = None
        self._next_by_mono_s: float | None = None
        self._first_by_mono_s: float | None = None  # of a camera that takes turns and had none yet
        self._first_cap_mono_s: float | None = None
        self._seen = Seen(None, at_home=True)
        self._pace = Pace()
        self._notes: set[Note] = set()
        self._offset_s: float | None = None
        self._unreported_s = 0.0
        self._offered_mono_s: float | None = None
        self._switched: tuple[SightState, Fault, str] | None = None

    def connecting(self, reason: str = "connecting") -> None:
        """Say that the stream is being opened; shown until a picture comes, unless a failure is known."""
        with self._lock:
            self._first_by_mono_s = None
            if not self._failing:
                self._trouble = Fault.UNREACHABLE, reason

    def failed(self, reason: str, fault: Fault = Fault.SILENT) -> None:
        """Say what is wrong, in one short phrase; it becomes the reason once the camera counts as blind."""
        with self._lock:
            self._trouble, self._failing, self._first_by_mono_s = (fault, reason), True, None
            self._handed = 0

    def handed(self) -> None:
        """Say that a key frame was given to the decoders. They may never come to it: a newer one replaces it then."""
        with self._lock:
            self._handed += 1

    def decoded(self, at_mono_s: float, seen: Seen | None = None) -> None:
        """Say that a picture of the time `at_mono_s` was decoded now, and what it shows where somebody judged it."""
        with self._lock:
            gap_s, quiet = at_mono_s - self._key_mono_s, self._quiet()
            if quiet:
                self._judge()  # since when it was blind: by time alone it becomes so, and nothing else
                # the time without pictures is nobody's silence
                self._answers.waited(self._clock.mono_s())
                if self._decoded is not None and self._trouble is not None:
                    self._pace.forget()
            # Nor is it a key interval, unless the stream ran on without a failure and none was left out: rare ones are usual here.
            ran_on = self._handed < _LEFT_OUT and (self._trouble is None or not quiet)
            if 0 < gap_s <= _RAREST_KEYS_S and ran_on:
                self._intervals.append(gap_s)
                self._usual_s = sorted(self._intervals)[len(self._intervals) // 2]
            self._key_mono_s, self._handed = at_mono_s, 0
            self._decoded = self._clock.mono_s(), self._clock.now()
            self._trouble, self._failing, self._first_by_mono_s = None, False, None
            self._seen = seen or self._seen
            if self._offered_mono_s is not None:
                self._next_by_mono_s = self._offered_mono_s
            self._judge()

    @property
    def decoded_mono_s(self) -> float | None:
        """When the last picture was decoded, monotonic seconds; None: none was, or not since it was switched on."""
        decoded = self._decoded
        return None if decoded is None else decoded[0]

    def looked(self, look: Look) -> None:
        """Say that the network answered `look`."""
        with self._lock:
            if self._look is None or look.at_mono_s >= self._look[0]:
                self._look = look.at_mono_s, look.captured_at
            self._answers.came(self._clock.mono_s())
            self._judge()

    def unknown(self, reason: str, *, at_once: bool = False) -> None:
        """Say that a look got no answer: nothing is known of it, which is not that nothing is there.

        Args:
            reason: one short phrase.
            at_once: no look can be hoped to fare better: degraded from now on until one was answered.
        """
        with self._lock:
            self._answers.missed(self._clock.mono_s(), reason, at_once=at_once)
            self._judge()

    def rate(self, pictures_per_s: float, announced_per_s: float | None = None) -> None:
        """Say how many pictures a second came over the last ten seconds or so, and what the stream promises."""
        with self._lock:
            self._pace.add(pictures_per_s, announced_per_s)
            self._judge()

    def clock(self, offset_s: float | None) -> None:
        """Say how far the camera's clock is ahead of ours; None: not known. More than 2 s is noted."""
        with self._lock:
            self._unreported_s = 0.0
            self._offset_s = offset_s
            bound_s = _CLOCK_RIGHT_S if Note.CLOCK_WRONG in self._notes else _CLOCK_WRONG_S
            self._mark(Note.CLOCK_WRONG, on=offset_s is not None and abs(offset_s) > bound_s)

    def unreported(self, open_s: float) -> None:
        """Say that the stream was open for `open_s` more without a report of its clock; after a minute of it none is known."""
        with self._lock:
            self._unreported_s += open_s
            if self._unreported_s >= _CLOCK_KEPT_S:
                self._offset_s = None
                self._mark(Note.CLOCK_WRONG, on=False)

    def note(self, note: Note, on: bool) -> None:
        """Say something beside the state, or take it back."""
        with self._lock:
            self._mark(note, on=on)

    def switch(self, watch: Watch, reason: str = "", fault: Fault = Fault.SWITCHED_OFF) -> None:
        """Say whether the camera is to be watched; one that was off begins anew, blind, as one that was never seen.

        Args:
            reason: who or what switched it off, in one short phrase.
            fault: `Fault.SET_ASIDE` where its stream crashed the decoder, `Fault.UNAUTHORIZED` where what is said of it
                cannot be used: a password that is not set.
        """
        with self._lock:
            if watch is Watch.ON:
                if self._switched is not None:
                    self._begin_anew()
            else:
                self._switched = SightState(watch.value), fault, reason or _switched_words(watch)
            self._judge()

    def takes_turns(self) -> None:
        """Say that the camera takes turns from now on.

        One that nobody has tried to see waits for its first turn; that is no trouble before what `between_visits` says.
        """
        with self._lock:
            if self._decoded is None and not self._failing:
                self._first_by_mono_s, self._first_cap_mono_s = self._clock.mono_s(), None
            self._judge()

    def between_visits(self, next_by_mono_s: float | None) -> None:
        """Say that the camera takes turns: it sees on what its last visit showed, until the next one is due.

        To be called after each visit that brought a key frame, and where the promise changes. It counts once a picture was
        decoded, whatever failed before. None: it is connected all the time.
        """
        with self._lock:
            if next_by_mono_s is None:
                self._first_by_mono_s = None
            elif self._first_by_mono_s is not None:
                # A promise may be restated, but not for ever: twice the first one is waited for.
                self._first_cap_mono_s = self._first_cap_mono_s or 2 * next_by_mono_s - self._clock.mono_s()
                self._first_by_mono_s = min(next_by_mono_s, self._first_cap_mono_s)
            self._offered_mono_s = next_by_mono_s
            if next_by_mono_s is None or self._trouble is None:  # else its picture has not been decoded yet
                self._next_by_mono_s = next_by_mono_s
            self._judge()

    def tick(self) -> Transition | None:
        """Judge anew; return the change since the last tick, or None."""
        with self._lock:
            self._judge()
            now = self._verdict
            if now.state is self._told:
                return None
            before, self._told = self._told, now.state
            return Transition(self._camera_id, before, now.state, now.reason, now.since, now.fault)

    def status(self) -> CameraStatus:
        """Return what is known now."""
        with self._lock:
            self._judge()
            now = self._verdict
            age = None if self._look is None else max(0.0, self._clock.mono_s() - self._look[0])
            return CameraStatus(
                camera_id=self._camera_id,
                name=self._name,
                state=now.state,
                reason=now.reason,
                since=now.since,
                last_look_at=None if self._look is None else self._look[1],
                last_look_age_s=age,
                fault=now.fault,
                notes=tuple(note for note in Note if note in self._notes),
                clock_offset_s=self._offset_s,
                zones_suspended=not self._seen.at_home,
                waits=self._waits(),
            )

    def _mark(self, note: Note, *, on: bool) -> None:
        if on:
            self._notes.add(note)
        else:
            self._notes.discard(note)

    def _begin_anew(self) -> None:
        self._switched, self._decoded, self._next_by_mono_s, self._first_by_mono_s = None, None, None, None
        self._trouble, self._failing = (Fault.UNREACHABLE, "not connected yet"), False
        self._seen, self._pace = Seen(None, at_home=self._seen.at_home), Pace()

    def _judge(self) -> None:
        new, old = self._seen_now(), self._verdict
        if new is old:
            return
        since = old.since if new.state is old.state else max(new.since, old.since)
        self._verdict = _Verdict(new.state, new.fault, new.reason, since)

    def _seen_now(self) -> _Verdict:
        """Return what is so now: the very verdict that stands where the camera goes on seeing."""
        if self._switched is not None:
            return _Verdict(*self._switched, self._clock.now())
        if self._silent():
            since = self._clock.now() if self._decoded is None else self._decoded[1]
            return _Verdict(SightState.BLIND, *self._why_silent(), since)
        return self._seen_of_pictures()

    def _seen_of_pictures(self) -> _Verdict:
        if self._seen.fault in _BLINDING:
            return self._pictured_verdict(SightState.BLIND)
        if (unanswered := self._unanswered()) is not None:
            since_mono_s, reason = unanswered
            return _Verdict(SightState.DEGRADED, Fault.UNANSWERED, reason, self._wall_at(since_mono_s))
        if self._seen.fault is not None:
            return self._pictured_verdict(SightState.DEGRADED)
        if self._pace.slow:
            return _Verdict(SightState.DEGRADED, Fault.SLOW, _WORDS[Fault.SLOW], self._clock.now())
        if self._verdict.state is SightState.SEEING:
            return self._verdict
        return _Verdict(SightState.SEEING, None, "", self._clock.now())

    def _pictured_verdict(self, state: SightState) -> _Verdict:
        """Return a fault of the picture, since it began, not since it had lasted long enough to be told."""
        fault, began = self._seen.fault or Fault.DAMAGED, self._seen.since_mono_s
        since = self._clock.now() if began is None else self._wall_at(began)
        return _Verdict(state, fault, _WORDS.get(fault, fault.value), since)

    def _wall_at(self, mono_s: float) -> datetime:
        passed_s = max(0.0, self._clock.mono_s() - mono_s)
        return self._clock.now() - timedelta(seconds=passed_s)

    def _silent(self) -> bool:
        within_turn = self._next_by_mono_s is not None and self._clock.mono_s() <= self._next_by_mono_s
        return self._decoded is None or (self._quiet() and not within_turn)

    def _quiet(self) -> bool:
        """Tell whether no picture has come for longer than is usual."""
        if self._decoded is None:
            return True
        bound_s = max(self._bounds.blind_after_s, self._bounds.key_intervals * self._usual_s)
        return self._clock.mono_s() - self._decoded[0] > bound_s

    def _why_silent(self) -> tuple[Fault, str]:
        if self._first_by_mono_s is not None:
            return Fault.NOT_VISITED, FIRST_TURN if self._waits() else _WORDS[Fault.NOT_VISITED]
        if self._handed >= _LEFT_OUT:
            return Fault.NOT_DECODED, _WORDS[Fault.NOT_DECODED]
        if self._trouble is not None:
            return self._trouble
        if self._next_by_mono_s is not None:
            return Fault.NOT_VISITED, _WORDS[Fault.NOT_VISITED]
        return Fault.SILENT, "no picture could be decoded"

    def _waits(self) -> bool:
        """Tell whether its first turn is still to come, in time."""
        by_mono_s = self._first_by_mono_s
        return self._switched is None and by_mono_s is not None and self._clock.mono_s() <= by_mono_s

    def _unanswered(self) -> tuple[float, str] | None:
        """Return since when looks fail, or pictures come without an answer, and why; None where that is not so."""
        newest = self._decoded[0] if self._decoded else 0.0
        bound_s = max(self._bounds.answer_within_s, 2 * self._usual_s)
        return self._answers.lacking(self._clock.mono_s(), newest, bound_s)


def _switched_words(watch: Watch) -> str:
    return "in maintenance" if watch is Watch.MAINTENANCE else "switched off"
