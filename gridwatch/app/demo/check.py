# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proof that the demo gives: every kind found, sent, confirmed and closed; the quiet cameras raised nothing."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gridwatch.app.demo.observer import Observer, Seen
from gridwatch.core.zone import Kind

EARLY_S = 0.5  # clocks of two processes; an alert before its onset is false
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Happening:
    """What the simulator will show: its kind, where, and from when on (unix time)."""

    kind: Kind
    camera_id: str
    onset: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What the check waits for. Times are unix times."""

    happenings: tuple[Happening, ...]
    quiet: frozenset[str]
    alert_by: float
    end_by: float


def run_check(observer: Observer, plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Watch until every kind is closed and the watching time is over.

    Returns:
        What failed, one line each; empty when the check passed.
    """
    seen: dict[Kind, Seen] = {}
    while time.time() < plan.end_by:
        observer.poll()
        failures = _false_alerts(observer, plan)
        if failures:
            return failures
        for kind in Kind:
            if kind not in seen and (found := _alert_of(observer, plan, kind)):
                seen[kind] = found
                observer.confirm(found)
        if time.time() > plan.alert_by and (
            len(seen) < len(Kind) or all(item.closed for item in seen.values())
        ):
            break
        time.sleep(POLL_S)
    return _report(plan, seen, observer, say)


def _alert_of(observer: Observer, plan: Plan, kind: Kind) -> Seen | None:
    cameras = {item.camera_id for item in plan.happenings if item.kind is kind}
    found = (
        item
        for item in observer.incidents.values()
        if item.alert["kind"] == kind and item.alert["camera_id"] in cameras
    )
    return next(found, None)


def _false_alerts(observer: Observer, plan: Plan) -> list[str]:
    """Return what was raised where nothing happened, before it did, or a second time."""
    raised = Counter((item.alert["camera_id"], item.alert["kind"]) for item in observer.incidents.values())
    failures = [f"double: {kind} on {camera}" for (camera, kind), times in raised.items() if times > 1]
    for item in observer.incidents.values():
        alert, camera = item.alert, item.alert["camera_id"]
        name = f"{alert['kind']}/{alert['subtype']} on {camera}"
        if camera in plan.quiet:
            failures.append(f"quiet: {name}")
            continue
        onsets = [happening.onset for happening in plan.happenings if happening.camera_id == camera]
        if not onsets or item.on_api < min(onsets) - EARLY_S:
            failures.append(f"false: {name} before anything happened there")
        elif not any(
            happening.camera_id == camera and happening.kind == alert["kind"] for happening in plan.happenings
        ):
            failures.append(f"false: {name} is not what happened there")
    return failures


def _report(plan: Plan, seen: dict[Kind, Seen], observer: Observer, say: Callable[[str], None]) -> list[str]:
    failures = []
    for kind in Kind:
        item = seen.get(kind)
        if item is None:
            failures.append(f"{kind}: no alert")
            continue
        camera = item.alert["camera_id"]
        onset = next(one.onset for one in plan.happenings if one.kind is kind and one.camera_id == camera)
        times = {"alert": item.on_api, "stream": item.on_stream, "closed": item.closed}
        say(
            f"{kind} camera={camera} " + " ".join(f"{name}={_since(at, onset)}" for name, at in times.items())
        )
        failures += [f"{kind}: {problem}" for problem in _problems(item)]
    coverage = observer.coverage
    say(
        f"quiet cameras={','.join(sorted(plan.quiet))} alerts=0 seeing={coverage.get('seeing')}/{coverage.get('cameras')}"
    )
    if coverage.get("seeing") != coverage.get("cameras"):
        failures.append("sight: not every camera was seen at the end")
    return failures


def _problems(item: Seen) -> list[str]:
    """Return what did not come of an alert: its message, the message's still, the closed case."""
    if item.on_stream is None:
        return ["not on the stream"]
    found = [item.still_problem] if item.still_problem else []
    return [*found, "not closed"] if item.closed is None else found


def _since(at: float | None, onset: float) -> str:
    return "never" if at is None else f"{at - onset:.1f}s"
