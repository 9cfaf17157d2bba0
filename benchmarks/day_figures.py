# SPDX-License-Identifier: AGPL-3.0-or-later
"""What two ways of watching the same clips found and cost, side by side. Watches nothing itself."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from daylike import GOP_S

from gridwatch.app.lockstep import Driven
from gridwatch.app.scoring import ClipAlert, ClipScore, TrueEvent, score_clip

OURS, EVERYTHING = "gridwatch", "everything"
ONSET_WITHIN_S = 1.0
ALERT_WITHIN_S = GOP_S + 1.0
ASKED_RATIO = 0.25
_ROUNDING_S = 0.002  # incidents' times are whole milliseconds


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds: all, and the network's part of it."""

    whole_s: float = 0.0
    network_s: float = 0.0

    def plus(self, other: "Cpu", times: float = 1.0) -> "Cpu":
        """Return both together, the other so many times."""
        return Cpu(self.whole_s + times * other.whole_s, self.network_s + times * other.network_s)

    @property
    def rest_s(self) -> float:
        """All but the network."""
        return self.whole_s - self.network_s


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file that is watched, and the moment in it at which the clip begins. Seconds of the file."""

    from_s: float
    clip_at_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """One way through one file.

    Attributes:
        alerts: their seconds are the clip's own: negative before it begins.
        span: what was watched.
        before, after: CPU until the clip began, and from there on.
    """

    alerts: tuple[ClipAlert, ...]
    span: Span
    before: Cpu
    after: Cpu
    driven: Driven

    @property
    def quiet_s(self) -> float:
        """Return the seconds that were watched before the clip began."""
        return self.span.clip_at_s - self.span.from_s

    def day(self, clip_s: float, idle_share: float) -> Cpu:
        """Return what the clip and so much quiet time costs that it is `idle_share` of the whole.

        What follows the clip is the event's: a claim that is held open, a picture that has not settled. Its seconds count as quiet.
        """
        quiet_s = clip_s * idle_share / (1.0 - idle_share)
        watched_s = self.span.to_s - self.span.clip_at_s - clip_s
        return self.after.plus(self.before, max(0.0, quiet_s - watched_s) / self.quiet_s)


@dataclass(frozen=True, slots=True)
class Pair:
    """An incident that both found."""

    ours: ClipAlert
    everything: ClipAlert

    @property
    def onset_off_s(self) -> float:
        """How much later gridwatch says that it began."""
        return round(self.ours.began_s - self.everything.began_s, 3)

    @property
    def alert_later_s(self) -> float:
        """How much later its alert came."""
        return round(self.ours.opened_s - self.everything.opened_s, 3)

    @property
    def onset_is_near(self) -> bool:
        """Whether both say about the same beginning."""
        return abs(self.onset_off_s) <= ONSET_WITHIN_S + _ROUNDING_S

    @property
    def alert_is_near(self) -> bool:
        """Whether the alert came soon enough; sooner is no fault."""
        return self.alert_later_s <= ALERT_WITHIN_S + _ROUNDING_S


@dataclass(frozen=True, slots=True)
class Comparison:
    """The incidents of two runs over one file."""

    both: tuple[Pair, ...]
    only_ours: tuple[ClipAlert, ...]
    only_everything: tuple[ClipAlert, ...]


def compare(ours: Iterable[ClipAlert], everything: Iterable[ClipAlert]) -> Comparison:
    """Pair the incidents of one kind and subtype, those first whose beginnings are nearest."""
    left, right = list(ours), list(everything)
    candidates = sorted(
        (abs(one.began_s - other.began_s), one.opened_s, other.opened_s, i, j)
        for i, one in enumerate(left)
        for j, other in enumerate(right)
        if (one.kind, one.subtype) == (other.kind, other.subtype)
    )
    taken_left: set[int] = set()
    taken_right: set[int] = set()
    both: list[Pair] = []
    for *_, i, j in candidates:
        if i not in taken_left and j not in taken_right:
            taken_left.add(i)
            taken_right.add(j)
            both.append(Pair(left[i], right[j]))
    return Comparison(
        tuple(sorted(both, key=lambda pair: pair.everything.opened_s)),
        tuple(alert for i, alert in enumerate(left) if i not in taken_left),
        tuple(alert for j, alert in enumerate(right) if j not in taken_right),
    )


@dataclass(frozen=True, slots=True)
class Mixed:
    """What came of one clip."""

    name: str
    clip_s: float
    events: tuple[TrueEvent, ...]
    runs: dict[str, Run]

    @property
    def comparison(self) -> Comparison:
        """The incidents of both runs."""
        return compare(self.runs[OURS].alerts, self.runs[EVERYTHING].alerts)

    def score(self, run: str) -> ClipScore:
        """Return what a run found of what happened."""
        return score_clip(self.name, self.clip_s, self.events, self.runs[run].alerts)

    def false_in_idle(self, run: str) -> int:
        """Return how many of its alerts are false and came while nothing happened."""
        return sum(not 0.0 <= alert.opened_s <= self.clip_s for alert in self.score(run).false)


def result(mixed: Sequence[Mixed], idle_share: float) -> dict[str, Any]:
    """Return the figures of all clips together."""
    comparisons = [each.comparison for each in mixed]
    pairs = [pair for each in comparisons for pair in each.both]
    cost = {run: Cpu() for run in (OURS, EVERYTHING)}
    for each in mixed:
        for run, sofar in cost.items():
            cost[run] = sofar.plus(each.runs[run].day(each.clip_s, idle_share))
    ours, everything = cost[OURS], cost[EVERYTHING]
    figures: dict[str, Any] = {
        "clips": len(mixed),
        "incidents": len(pairs) + sum(len(each.only_everything) for each in comparisons),
        "same_incidents": len(pairs),
        "only_gridwatch": sum(len(each.only_ours) for each in comparisons),
        "only_everything": sum(len(each.only_everything) for each in comparisons),
        "onset_within_1s": sum(pair.onset_is_near for pair in pairs),
        "alert_within_gop_1s": sum(pair.alert_is_near for pair in pairs),
        "cpu_ratio": _ratio(ours.whole_s, everything.whole_s),
        "cpu_ratio_without_network": _ratio(ours.rest_s, everything.rest_s),
        "idle_share": idle_share,
    }
    for run in (OURS, EVERYTHING):
        figures[run] = _of_run(mixed, run, cost[run])
    figures["met"] = {
        "same_incidents": figures["only_gridwatch"] == figures["only_everything"] == 0,
        "onset_within_1s": figures["onset_within_1s"] == len(pairs),
        "alert_within_gop_1s": figures["alert_within_gop_1s"] == len(pairs),
        "cpu_ratio": figures["cpu_ratio"] <= ASKED_RATIO,
    }
    return figures


def _of_run(mixed: Sequence[Mixed], run: str, day: Cpu) -> dict[str, Any]:
    scores = [each.score(run) for each in mixed]
    driven = [each.runs[run].driven for each in mixed]
    quiet_s = sum(each.runs[run].quiet_s for each in mixed)
    quiet = Cpu()
    for each in mixed:
        quiet = quiet.plus(each.runs[run].before)
    return {
        "found": sum(len(score.found) for score in scores),
        "missed": sum(len(score.missed) for score in scores),
        "false": sum(len(score.false) for score in scores),
        "false_in_idle": sum(each.false_in_idle(run) for each in mixed),
        "decoded_share": _ratio(sum(one.decoded for one in driven), sum(one.packets for one in driven)),
        "looks": sum(one.looks for one in driven),
        "cpu_s": round(day.whole_s, 1),
        "cpu_s_without_network": round(day.rest_s, 1),
        "idle_percent_of_core": round(100 * quiet.whole_s / quiet_s, 2),
        "idle_percent_of_core_without_network": round(100 * quiet.rest_s / quiet_s, 2),
    }


def _ratio(one: float, other: float) -> float:
    return round(one / other, 4) if other else 0.0


def table(mixed: Sequence[Mixed], idle_share: float) -> Iterator[str]:
    """Yield a Markdown table: a row for each incident, then one for each clip's cost."""
    yield "| clip | incident | began: everything, gridwatch | alert: everything, gridwatch | |"
    yield "|---|---|---|---|---|"
    for each in mixed:
        yield from _incidents(each)
    yield ""
    yield "| clip | looks | decoded | CPU a day-like hour | without the network | false while idle |"
    yield "|---|---|---|---|---|---|"
    for each in mixed:
        days = [each.runs[run].day(each.clip_s, idle_share) for run in (EVERYTHING, OURS)]
        hours = each.clip_s / (1.0 - idle_share) / 3600
        driven = [each.runs[run].driven for run in (EVERYTHING, OURS)]
        yield (
            f"| {each.name} | {' → '.join(str(one.looks) for one in driven)} "
            f"| {' → '.join(f'{100 * one.decoded / max(1, one.packets):.1f} %' for one in driven)} "
            f"| {' → '.join(f'{day.whole_s / hours:.0f} s' for day in days)} "
            f"| {' → '.join(f'{day.rest_s / hours:.0f} s' for day in days)} "
            f"| {' → '.join(str(each.false_in_idle(run)) for run in (EVERYTHING, OURS))} |"
        )


def _incidents(each: Mixed) -> Iterator[str]:
    found = each.comparison
    for pair in found.both:
        said = [] if pair.onset_is_near else ["onset"]
        said += [] if pair.alert_is_near else ["alert"]
        yield (
            f"| {each.name} | {_what(pair.ours)} | {pair.everything.began_s:.1f}, {pair.ours.began_s:.1f} s "
            f"| {pair.everything.opened_s:.1f}, {pair.ours.opened_s:.1f} s | {', '.join(said)} |"
        )
    for alert in found.only_ours:
        yield f"| {each.name} | {_what(alert)} | –, {alert.began_s:.1f} s | –, {alert.opened_s:.1f} s | gridwatch only |"
    for alert in found.only_everything:
        yield f"| {each.name} | {_what(alert)} | {alert.began_s:.1f}, – s | {alert.opened_s:.1f}, – s | everything only |"


def _what(alert: ClipAlert) -> str:
    return f"{alert.kind.value}/{alert.subtype}"
