# SPDX-License-Identifier: AGPL-3.0-or-later
"""What /metrics says of cameras that take turns, on real streams."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from gridwatch.app.attention_metrics import AttentionCollector
from gridwatch.app.settings import AttentionSettings
from ingest.attention import Attention
from ingest.budget import Policy
from ingest.turns import Outcome
from ingest.visits import VisitsNow
from tests.app.watching import LateClock, Street, clip, until, watching

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
REFUSED_REST_S = 700.0
HUNG_S = 60.0
BRISK = Policy(rest_s=0.1, usual_visit_s=0.3, within_s=4.0, lost_within_s=1.0, refused_rest_s=REFUSED_REST_S)
NAMES = [*"abcd", "fire", "gone", "refused"]
COUNTED = ("gridwatch_visits_abandoned_total", "gridwatch_revisit_promises_missed_total",
           "gridwatch_revisit_bounds_restated_total", "gridwatch_visitors_busy", "gridwatch_visitors_stuck")  # fmt: skip
STATED = ("gridwatch_revisit_bound_longest_seconds", "gridwatch_revisit_bound_median_seconds",
          "gridwatch_revisit_usual_seconds")  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    plain, marked = clip(folder / "plain.mp4", gop=3), clip(folder / "marked.mp4", gop=3, marked=True)
    with Street(dict.fromkeys(NAMES, plain) | {"fire": marked}) as street:
        street.fault("not-found", "gone")
        street.fault("unauthorized", "refused")
        yield street


def turns(tmp_path, cameras, **options):
    """Have cameras of one recorder take turns over its three sessions."""
    attention, ingest = AttentionSettings(connections=3), {"sessions": {"nvr": 3}}
    return watching(tmp_path, cameras, attention=attention, policy=BRISK, ingest=ingest, **options)


def shown(machine):
    """Return what is scraped: a function from a metric and its label's value to the number, None where there is none."""
    registry = CollectorRegistry()
    registry.register(AttentionCollector(machine.turns))

    def value(name, **labels):
        return registry.get_sample_value(name, labels)

    return value


def pictures(value):
    """Return how many visits brought pictures on which nothing is suspected."""
    return sum(value("gridwatch_visits_total", outcome=outcome) for outcome in ("seen", "quiet"))


def test_visits_are_counted_by_outcome_and_promises_are_told(tmp_path, street):
    """Pictures, no pictures and refusals apart; a camera that is stayed with is promoted; no label is a camera's."""
    with turns(tmp_path, [street.camera(name, recorder="nvr") for name in NAMES]) as machine:
        value = shown(machine)

        def visits(outcome):
            return value("gridwatch_visits_total", outcome=outcome)

        until(lambda: pictures(value) >= 8 and visits("failed") >= 2 and visits("refused") >= 1)
        assert visits("refused") == 1  # it is not asked again before its rest is over
        assert value("gridwatch_attention_cameras", watched="always") == 0
        assert value("gridwatch_revisit_bound_longest_seconds") >= REFUSED_REST_S
        assert 0 < value("gridwatch_revisit_usual_seconds") < value("gridwatch_revisit_bound_median_seconds")
        assert value("gridwatch_revisit_bound_median_seconds") < REFUSED_REST_S
        until(lambda: value("gridwatch_visitors_busy") > 0)
        machine.network.burning = True
        until(lambda: machine.shard.find("fire").claims)
        until(lambda: value("gridwatch_attention_cameras", watched="promoted") == 1)
        assert value("gridwatch_attention_cameras", watched="in_turn") == len(NAMES) - 1
        assert visits("suspicious") >= 1
        assert [value(name) for name in COUNTED[:2]] == [0, 0]
        attention = machine.turns.visits._attention
        until(lambda: value("gridwatch_revisit_bounds_restated_total") == attention.restatements)
        assert value("gridwatch_visitors_stuck") == 0
        done = machine.turns.visits.done
        assert sum(machine.turns.visits.now(()).outcomes.values()) >= done > 8


def test_where_nobody_takes_turns_nothing_is_promised(tmp_path, street):
    """All are watched always, every count is there from the start, and a bound that nobody has is not shown as zero."""
    with turns(tmp_path, [street.camera(name, recorder="nvr") for name in "abc"]) as machine:
        value = shown(machine)
        assert value("gridwatch_attention_cameras", watched="always") == 3
        assert [value("gridwatch_attention_cameras", watched=one) for one in ("in_turn", "promoted")] == [
            0,
            0,
        ]
        assert [value(name) for name in COUNTED] == [0] * len(COUNTED)
        assert [value(name) for name in STATED] == [None] * len(STATED)
        assert value("gridwatch_visits_total", outcome="refused") == 0


def test_what_is_stated_is_told_by_its_longest_and_its_median():
    """One camera that refuses must not be taken for what is usual, nor be hidden by it."""
    now = VisitsNow(dict.fromkeys(Outcome, 4), 1, 2, 3, 1, 1, (730.0, 40.0, 60.0), (9.0, 700.0, 30.0))
    visits = SimpleNamespace(now=lambda _: now, abandoned=5)
    turns = SimpleNamespace(turning={"a", "b", "c", "d"}, held=frozenset({"e"}), visits=visits)
    value = shown(SimpleNamespace(turns=turns))
    assert [value(name) for name in (*COUNTED, *STATED)] == [5, 1, 2, 3, 1, 730, 60, 30]
    watched = {
        one: value("gridwatch_attention_cameras", watched=one) for one in ("in_turn", "promoted", "always")
    }
    assert watched == {"in_turn": 3, "promoted": 1, "always": 1}


def test_broken_promises_are_counted(tmp_path, street, monkeypatch):
    """It stays 0 because bounds are restated before; were one broken all the same, it would show."""
    monkeypatch.setattr(Attention, "_keep_promises", lambda *_: None)
    clock = LateClock()
    with turns(tmp_path, [street.camera(name, recorder="nvr") for name in "abcd"], clock=clock) as machine:
        value = shown(machine)
        until(lambda: pictures(value) >= 4)
        clock.late_s += 2 * value("gridwatch_revisit_bound_longest_seconds")
        until(lambda: value("gridwatch_revisit_promises_missed_total") > 0)


def test_a_visit_that_hangs_is_counted_apart(tmp_path, street, monkeypatch):
    """It is no busy visitor any more: its connection is missing until it comes back."""
    clock, let_go, hanging = LateClock(), threading.Event(), []
    with turns(tmp_path, [street.camera(name, recorder="nvr") for name in "abcd"], clock=clock) as machine:
        value, visit = shown(machine), machine.turns.visit

        def hang(one):
            hanging.append(one)
            let_go.wait(30)
            return visit(one)

        until(lambda: pictures(value) >= 4)
        monkeypatch.setattr(machine.turns, "visit", hang)
        try:
            until(lambda: len(hanging) == 3)
            assert value("gridwatch_visitors_busy") == 3
            clock.late_s += BRISK.within_s + HUNG_S + 1
            until(lambda: value("gridwatch_visitors_stuck") == 3)
            assert value("gridwatch_visits_abandoned_total") == 3
            assert value("gridwatch_visitors_busy") == 0
        finally:
            let_go.set()
        until(lambda: value("gridwatch_visitors_stuck") == 0)


def test_every_metric_of_turns_is_described(tmp_path, street):
    """Each stands in docs/metrics.md."""
    with turns(tmp_path, [street.camera(name, recorder="nvr") for name in "abcd"]) as machine:
        names = {metric.name for metric in AttentionCollector(machine.turns).collect()}
    text = DOCUMENT.read_text("utf-8")
    assert len(names) == 10
    assert [name for name in sorted(names) if name not in text] == []
