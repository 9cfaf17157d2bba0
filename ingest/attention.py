# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which camera is visited next, when cameras outnumber what the machine may spend (轮巡).

Pure: time is passed in, chance is not used, nothing connects. Whoever drives it (`ingest.visits`) asks for a plan,
carries it out and says what came of each visit. Not thread-safe.

Each camera is promised that its next visit is over within its *revisit bound* after the last one. Bounds are reckoned
with capacity that is there in any case (`ingest.reckoning`). Visits become due more often than that, as far as the
budget allows now, in proportion to weight; of those that are due the one with the earliest promise goes first (earliest
deadline first), so urgency breaks no promise. One that cannot be kept any more is restated before it is broken.

A decision costs O(log n): heaps whose stale entries are skipped. Only a restatement goes over all cameras.
"""

from collections.abc import Sequence

from ingest.budget import Budget, Policy, Spending
from ingest.continuous import ContinuousWatch
from ingest.reckoning import ALL, Reckoning
from ingest.round import Round
from ingest.turns import Outcome, Plan, Promise, Standing, Turn, TurnsTaken, Visit, Watched

_RECKON_EVERY_S = 10.0
_LATE = 1.25  # what a bound grows by when a camera is late although the reckoning said otherwise
_SOONER = 0.25  # of the usual time, after which a suspicious camera that finds no room comes back, if there is time to spare
_FASTER = 0.8  # of the base by which cameras were sent to wait: so much less, and they are called earlier
_INFINITE = float("inf")


class Attention:
    """Plans visits to cameras within a budget.

    Args:
        watched: the cameras; more can be added and removed at any time.
        now_s: monotonic seconds, as in every call. Time that goes back is taken for standing still.
        hour: the local hour of the day, 0 to 23.

    Attributes:
        missed: promises that were broken before anybody was told. It stays 0.
        restatements: how often bounds had to be made longer.

    Raises:
        ValueError: a camera is named twice, or its stream is larger than all that may come at once.
        KeyError: (methods) a camera is named that is not watched.
    """

    def __init__(
        self,
        watched: Sequence[Watched],
        budget: Budget,
        policy: Policy | None = None,
        *,
        now_s: float = 0.0,
        hour: int = 0,
    ) -> None:
        self._policy, self._now_s, self._hour = policy or Policy(), now_s, hour
        self._turns: dict[str, Turn] = {}
        self._fresh: list[Turn] = []  # to be promised something at the next reckoning
        self._promised: list[Promise] = []
        self._changed, self._reckon_at_s, self._waiting_base_s = True, now_s, 0.0
        self._lengthen_at_s: dict[str, float] = {}
        self._added = 0
        self.missed = self.restatements = 0
        self._spending = Spending(budget, self._policy, now_s)
        self._reckoning = Reckoning(self._spending, self._policy)
        self._round = Round(self._spending.session_free)
        self._watch = ContinuousWatch(self._spending, self._policy)
        for item in watched:
            self._enter(item)
        self._reckon()

    def add(self, watched: Watched, now_s: float) -> None:
        """Watch one more camera from now on.

        Raises:
            ValueError: it is watched already, or its stream is larger than all that may come at once.
        """
        self._pass_to(now_s)
        self._enter(watched)

    def remove(self, camera_id: str, now_s: float) -> None:
        """Watch a camera no more. A visit that is going on may end; what comes of it does not matter."""
        turn = self._known(camera_id)
        self._pass_to(now_s)
        self._watch.withdraw(turn)
        self._reckoning.put(turn, -1)
        self._changed = True
        if turn.standing is Standing.VISITED:
            turn.gone = True
            return
        if turn.standing is Standing.CONTINUOUS:
            self._watch.leave(turn, self._now_s)
        self._round.leave(turn, Standing.WAITING)
        del self._turns[camera_id]

    def change(self, watched: Watched, now_s: float) -> None:
        """Take over what is said of a camera now. Its present promise stands.

        One that is watched without a break is so on, unless it costs something else now: then it has to ask anew.

        Raises:
            ValueError: its stream is larger than all that may come at once.
        """
        turn = self._known(watched.camera_id)
        self._spending.check(watched)
        self._pass_to(now_s)
        if turn.standing is Standing.CONTINUOUS and watched.cost != turn.watched.cost:
            self._step_down(turn)
        waits = turn.standing in {Standing.WAITING, Standing.DUE}
        if waits:
            self._round.leave(turn, Standing.WAITING)
        self._reckoning.put(turn, -1)
        turn.accept(watched)
        self._reckoning.put(turn)
        if waits:
            self._round.wait(turn, max(self._now_s, turn.since_s + self._policy.rest_s))
        self._changed = True

    def spend(self, budget: Budget, now_s: float) -> None:
        """Keep to another budget from now on. What goes on already may end.

        Raises:
            ValueError: a camera's stream is larger than all that may come at once.
        """
        self._pass_to(now_s)
        staying = [turn.watched for turn in self._turns.values() if not turn.gone]
        self._spending.adopt(budget, staying, self._now_s)
        self._reckoning = self._reckoning.anew(turn for turn in self._turns.values() if not turn.gone)
        self._changed = True
        self._reckon()
        self._reorder()

    def at_hour(self, hour: int) -> None:
        """Say that another hour of the local day has come. Present promises stand; the next ones follow the hour."""
        if hour != self._hour:
            self._hour, self._changed = hour, True

    def plan(self, now_s: float) -> Plan:
        """Return what to do now. The visits in it count as begun."""
        now_s = self._pass_to(now_s)
        if self._changed or now_s >= self._reckon_at_s:
            self._reckon()
        self._keep_promises(now_s)
        self._round.call(now_s)
        self._fill_continuous(now_s)
        visits = []
        if not self._watch.pressed:
            while (turn := self._round.next()) is not None and self._spending.wait_s(turn, now_s) == 0:
                self._round.begin(turn)
                self._spending.begin(turn)
                turn.asked = False
                patience_s = turn.patience_s(self._policy.within_s, self._policy.lost_within_s)
                visits.append(Visit(turn.watched.camera_id, patience_s, turn.by_s))
        promised, self._promised = tuple(self._promised), []
        return Plan(tuple(visits), self._watch.cameras, promised, self._again_s(now_s))

    def visited(
        self, camera_id: str, now_s: float, outcome: Outcome, took_s: float, seen_s: float = 0.0
    ) -> float | None:
        """Say what came of a visit, as soon as it is over.

        Args:
            camera_id: who was visited.
            now_s: when it was over.
            outcome: what it brought.
            took_s: from its beginning to its end.
            seen_s: from its first picture to its last.

        Returns:
            Until when the camera is promised to have been visited again, monotonic seconds; None if nothing is
            promised: it is not watched any more, or was not being visited.
        """
        now_s = self._pass_to(now_s)
        turn = self._turns.get(camera_id)
        if turn is None or turn.standing is not Standing.VISITED:
            return None
        self._spending.end(turn)
        self._round.leave(turn, Standing.WAITING)
        self._round.let_in(turn.held_recorder)
        if turn.gone:
            del self._turns[camera_id]
            return None
        if turn.replaces:  # what the visit brought says nothing of the camera as it is now
            turn.replaces = False
            self._round.wait(turn, self._due_s(turn))
            return turn.by_s if turn.by_s < _INFINITE else None
        self.missed += now_s > turn.by_s
        if outcome.saw:
            turn.saw(now_s - seen_s, now_s, self._policy.cadence_s)
        turn.ended(now_s)
        self._reckoning.put(turn, -1)
        turn.measure(outcome, took_s)
        self._reckoning.put(turn)
        self._judge(turn, outcome)
        self._wait(turn)
        return turn.by_s

    def promote(self, camera_id: str, now_s: float, *, urgent: bool = True) -> None:
        """Ask that a camera be watched without a break as soon as there is room, and visited sooner until then.

        Args:
            camera_id: whose turn was too short.
            now_s: when that was found out.
            urgent: an incident is open on it, rather than a mere suspicion.
        """
        turn = self._known(camera_id)
        self._pass_to(now_s)
        turn.urgent, turn.asked = turn.urgent or urgent, turn.standing is Standing.VISITED
        self._watch.ask(turn)
        if turn.standing is Standing.WAITING and turn.by_s < _INFINITE:
            self._round.wait(turn, self._due_s(turn))

    def demote(self, camera_id: str, now_s: float, *, lost: bool = False) -> None:
        """Say that a camera has become quiet, or was lost: it takes turns again. One that does already stays as it is."""
        turn = self._known(camera_id)
        self._pass_to(now_s)
        turn.urgent = turn.asked = False
        self._watch.withdraw(turn)
        if turn.standing is Standing.CONTINUOUS:
            self._reckoning.put(turn, -1)
            turn.lost = lost
            self._reckoning.put(turn)
            self._step_down(turn)

    def bound_s(self, camera_id: str) -> float:
        """Return the stated revisit bound: from the end of a visit to the end of the next, seconds, from the next on."""
        return self._reckoning.bound_s(self._reckoned(camera_id), self._hour)

    def usual_s(self, camera_id: str) -> float:
        """Return after how long a camera usually becomes due again, as things are now, seconds."""
        return self._pause_s(self._reckoned(camera_id))

    def by_s(self, camera_id: str) -> float:
        """Return until when a camera is promised to have been visited; infinity: it is watched without a break."""
        turn = self._reckoned(camera_id)
        return _INFINITE if turn.standing is Standing.CONTINUOUS else turn.by_s

    def turns_taken(self, camera_id: str, now_s: float) -> TurnsTaken:
        """Return a camera's coverage since it was added, or since `begin_afresh`."""
        return self._known(camera_id).taken(self._pass_to(now_s), self.bound_s(camera_id))

    def begin_afresh(self, now_s: float) -> None:
        """Count the coverage of all cameras from now on, as on a new day."""
        for turn in self._turns.values():
            turn.begin_afresh(self._pass_to(now_s))

    def _pass_to(self, now_s: float) -> float:
        self._now_s = max(self._now_s, now_s)
        return self._now_s

    def _known(self, camera_id: str) -> Turn:
        turn = self._turns[camera_id]
        if turn.gone:
            raise KeyError(camera_id)
        return turn

    def _reckoned(self, camera_id: str) -> Turn:
        turn = self._known(camera_id)
        if self._changed:
            self._reckon()
        return turn

    def _enter(self, watched: Watched) -> None:
        self._spending.check(watched)
        before = self._turns.get(watched.camera_id)
        if before is not None and not before.gone:
            raise ValueError(f"camera {watched.camera_id} is watched already")
        self._changed = True
        self._added += 1
        turn = Turn(watched, self._added, self._now_s, self._policy.usual_visit_s)
        if before is not None:
            turn.replace(before)
            self._round.leave(before, Standing.WAITING)
        self._turns[watched.camera_id] = turn
        self._fresh.append(turn)
        self._reckoning.put(turn)

    def _reckon(self) -> None:
        """Reckon anew what can be promised, and restate what was promised and cannot be kept."""
        now_s = self._now_s
        self._reckon_at_s = now_s + _RECKON_EVERY_S
        if self._changed:
            self._changed = False
            self._spending.streams([turn.watched.mbit_per_s for turn in self._turns.values()])
            self._watch.sift()
            while (turn := self._watch.too_many()) is not None:
                self._step_down(turn)
        for name in self._reckoning.update(self._hour):
            self._restate(name)
        self._waiting_base_s = max(self._waiting_base_s, base_s := self._reckoning.usual_base_s())
        if base_s < _FASTER * self._waiting_base_s:
            self._waiting_base_s = base_s
            self._reorder()
        fresh, self._fresh = self._fresh, []
        for turn in fresh:
            if self._turns.get(turn.watched.camera_id) is turn and not turn.gone:
                self._promise(turn)
                self._promised.append(Promise(turn.watched.camera_id, turn.by_s, turn.by_s - turn.since_s))
                self._round.renew(turn, self._due_s(turn))
        self._round.tidy(len(self._turns))

    def _promise(self, turn: Turn) -> None:
        turn.hour = self._hour
        turn.by_s = turn.since_s + self._reckoning.bound_s(turn, self._hour)

    def _wait(self, turn: Turn) -> None:
        self._promise(turn)
        self._round.wait(turn, self._due_s(turn))

    def _due_s(self, turn: Turn) -> float:
        """Return when a camera becomes due: one that was not visited yet at once."""
        return turn.since_s if turn.untried else turn.since_s + self._pause_s(turn)

    def _pause_s(self, turn: Turn) -> float:
        """Return the time between two visits: as often as things allow now, and in time for what was promised."""
        usual_s = self._reckoning.usual_s(turn, self._hour)
        if turn.eager:
            usual_s *= _SOONER
        promised_s = self._reckoning.due_within_s(turn.by_s - turn.since_s)
        longest_s = promised_s if turn.lost else min(usual_s, promised_s)
        rest_s = self._policy.refused_rest_s if turn.refused else self._policy.rest_s
        return max(rest_s, longest_s)

    def _reorder(self) -> None:
        self._round.reorder(self._turns.values(), self._due_s)

    def _keep_promises(self, now_s: float) -> None:
        """Restate, before it is broken, what cannot be kept in spite of all reckoning."""
        within_s = self._policy.within_s
        while (turn := self._round.late(now_s, within_s)) is not None:
            name = turn.watched.recorder if self._round.held_up(turn) else ALL
            if now_s >= self._lengthen_at_s.get(name, now_s):  # all of them, but not for each that is late
                self._lengthen_at_s[name] = now_s + _RECKON_EVERY_S
                self._reckoning.lengthen(name, _LATE)
                self._restate(name)
            if turn.by_s - within_s <= now_s:
                self._tell(turn, now_s + 2 * within_s)
                self._round.renew(turn, self._due_s(turn))
        while (turn := self._round.overrun(now_s)) is not None:
            self._tell(turn, now_s + within_s)
            self._round.renew(turn, now_s)

    def _restate(self, name: str) -> None:
        self.restatements += 1
        for turn in self._turns.values():
            if name in {ALL, turn.watched.recorder} and turn.standing is not Standing.CONTINUOUS:
                by_s = turn.since_s + self._reckoning.bound_s(turn, turn.hour)
                if by_s > turn.by_s and not turn.gone:
                    self._tell(turn, by_s)
        self._reorder()

    def _tell(self, turn: Turn, by_s: float) -> None:
        before_s, turn.by_s = turn.by_s - turn.since_s, by_s
        self._promised.append(Promise(turn.watched.camera_id, by_s, by_s - turn.since_s, before_s))

    def _judge(self, turn: Turn, outcome: Outcome) -> None:
        """Put a suspicious camera in line to be watched without a break; take a quiet or lost one out."""
        if outcome is Outcome.QUIET and turn.asked:
            return  # more was found out meanwhile
        turn.urgent = turn.urgent and outcome is not Outcome.QUIET
        if turn.urgent or outcome is Outcome.SUSPICIOUS:
            self._watch.ask(turn)
        elif outcome is not Outcome.SEEN:
            self._watch.withdraw(turn)

    def _fill_continuous(self, now_s: float) -> None:
        self._admit(now_s)
        while (turn := self._watch.to_leave(now_s)) is not None:
            self._step_down(turn)
            if not self._admit(now_s):
                return

    def _admit(self, now_s: float) -> int:
        """Let in who waits and finds room; return how many."""
        admitted = 0
        while (turn := self._watch.next_in(now_s)) is not None:
            self._round.leave(turn, Standing.CONTINUOUS)
            turn.ended(now_s)
            self._promised.append(Promise(turn.watched.camera_id, _INFINITE, 0.0))
            admitted += 1
        return admitted

    def _step_down(self, turn: Turn) -> None:
        """Let a camera take turns again that was watched without a break until now."""
        self._watch.leave(turn, self._now_s)
        turn.released(self._now_s, self._policy.cadence_s)
        self._wait(turn)
        if turn.urgent:  # it gets its place back, behind those who have waited
            self._watch.ask(turn)
            self._round.wait(turn, self._due_s(turn))
        self._promised.append(Promise(turn.watched.camera_id, turn.by_s, turn.by_s - turn.since_s))
        self._round.let_in(turn.held_recorder)

    def _again_s(self, now_s: float) -> float:
        again_s = min(self._reckon_at_s, self._round.next_event_s(self._policy.within_s))
        if not self._watch.pressed and (turn := self._round.next()) is not None:
            again_s = min(again_s, now_s + self._spending.wait_s(turn, now_s))
        return max(again_s, now_s)
