# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the demo's check accepts, and what it fails on: the observer's answers are made up, the rules are real."""

import time

import pytest

from gridwatch.app.demo import check as module
from gridwatch.app.demo.check import Happening, Plan, run_check
from gridwatch.app.demo.observer import Seen
from gridwatch.core.zone import Kind

CAMERAS = {Kind.FIRE: "c1", Kind.SMOKE: "c2", Kind.CROWD: "c3", Kind.TRAFFIC: "c4"}


class Told:
    """An observer that has seen what it is told."""

    def __init__(self) -> None:
        self.incidents: dict[str, Seen] = {}
        self.coverage = {"cameras": 5, "seeing": 5}

    def poll(self) -> None:
        pass

    def confirm(self, seen: Seen) -> None:
        seen.confirmed = True
        seen.closed = seen.closed if seen.closed is not None else time.time()

    def raised(self, kind: Kind, camera: str, at: float, **fields: object) -> Seen:
        alert = {
            "id": f"{kind}-{len(self.incidents)}",
            "kind": kind.value,
            "subtype": "x",
            "camera_id": camera,
        }
        seen = Seen(alert, on_api=at, on_stream=at, still_problem=None)
        for name, value in fields.items():
            setattr(seen, name, value)
        self.incidents[alert["id"]] = seen
        return seen


@pytest.fixture
def plan(monkeypatch) -> Plan:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    onset = time.time() - 10
    happenings = tuple(Happening(kind, camera, onset) for kind, camera in CAMERAS.items())
    return Plan(happenings, frozenset({"quiet"}), alert_by=time.time() + 0.1, end_by=time.time() + 0.3)


@pytest.fixture
def observer(plan) -> Told:
    told = Told()
    for kind, camera in CAMERAS.items():
        told.raised(kind, camera, plan.happenings[0].onset + 4)
    return told


def test_every_kind_found_sent_and_closed_passes(observer, plan):
    """One line a kind with seconds from its onset, quiet cameras in one line, no failures."""
    lines: list[str] = []
    assert run_check(observer, plan, lines.append) == []
    assert lines[0].startswith("fire camera=c1 alert=4.0s stream=4.0s closed=1")
    assert lines[4] == "quiet cameras=quiet alerts=0 seeing=5/5"
    assert all(seen.confirmed for seen in observer.incidents.values())


@pytest.mark.parametrize("kind", list(Kind))
def test_a_kind_without_an_alert_fails_by_name(observer, plan, kind):
    """What was not found is named."""
    observer.incidents = {key: seen for key, seen in observer.incidents.items() if seen.alert["kind"] != kind}
    assert run_check(observer, plan, lambda _: None) == [f"{kind}: no alert"]


@pytest.mark.parametrize(
    ("camera", "early_s", "failure"),
    [
        ("quiet", 0, "quiet: fire/x on quiet"),
        ("c2", 0, "false: fire/x on c2 is not what happened there"),
        ("c9", 0, "false: fire/x on c9 before anything happened there"),
        ("c1", 0, "double: fire on c1"),
    ],
)
def test_an_alert_that_should_not_be_fails(observer, plan, camera, early_s, failure):
    """On a quiet camera, of another kind, where nothing happens, or a second time."""
    observer.raised(Kind.FIRE, camera, plan.happenings[0].onset + 4 - early_s)
    assert run_check(observer, plan, lambda _: None) == [failure]


def test_an_alert_before_its_onset_fails(observer, plan):
    """Early is false, not fast."""
    next(iter(observer.incidents.values())).on_api = plan.happenings[0].onset - 1
    assert run_check(observer, plan, lambda _: None) == ["false: fire/x on c1 before anything happened there"]


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({"on_stream": None}, "fire: not on the stream"),
        (
            {"still_problem": "the still's SHA-256 is not the message's"},
            "fire: the still's SHA-256 is not the message's",
        ),
        ({"closed": 0.0}, None),
    ],
)
def test_what_did_not_come_of_an_alert_fails(observer, plan, fields, failure):
    """The message, and the picture behind it."""
    for name, value in fields.items():
        setattr(next(iter(observer.incidents.values())), name, value)
    assert run_check(observer, plan, lambda _: None) == ([failure] if failure else [])


def test_a_camera_that_is_not_seen_at_the_end_fails(observer, plan):
    """Quiet cameras are proof only while they are seen."""
    observer.coverage = {"cameras": 5, "seeing": 4}
    assert run_check(observer, plan, lambda _: None) == ["sight: not every camera was seen at the end"]
