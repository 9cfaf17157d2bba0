# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an operator may decide, and who is told that somebody else was faster."""

import threading

import pytest

from events.alerts import Decision, DismissReason
from events.errors import DecisionConflict, IllegalDecision, UnknownIncident, UnknownRevision
from gridwatch.core.finding import Stage


def test_a_confirmation_starts_the_clocks(room):
    """Confirming records who and when, and only then do sign, handle and verify deadlines run."""
    alert = room.opened()
    room.clock.advance(30)
    done = room.book.decide(alert.id, Decision.CONFIRMED, by="op-07", seen_revision=1)
    assert (done.decision, done.revision, done.decided.by, done.decided.at) == (
        "confirmed",
        2,
        "op-07",
        room.clock.now(),
    )
    assert [(done.due[name] - room.clock.now()).total_seconds() for name in ("sign", "handle", "verify")] == [
        300,
        3600,
        3600 * 13,
    ]
    assert room.reader.timeline(alert.id)[-1].actor == "operator:op-07"
    assert room.reader.get(alert.id) == done


@pytest.mark.parametrize("reason", [None, "", "boring", "confirmed"])
def test_a_dismissal_needs_a_known_reason(room, reason):
    """Dismissing without one of the four reasons is refused and recorded nowhere."""
    alert = room.opened()
    with pytest.raises(IllegalDecision, match="false_alarm"):
        room.book.decide(alert.id, Decision.DISMISSED, by="op-1", reason=reason)
    assert room.kinds(alert.id) == ["opened"]


@pytest.mark.parametrize(("decision", "by"), [("pending", "op-1"), ("maybe", "op-1"), ("confirmed", " ")])
def test_other_words_are_refused(room, decision, by):
    """A decision is one of two words and is made by somebody."""
    alert = room.opened()
    with pytest.raises(IllegalDecision):
        room.book.decide(alert.id, decision, by=by)


def test_an_unknown_incident_is_named(room):
    """Deciding about nothing raises with the id."""
    with pytest.raises(UnknownIncident) as raised:
        room.book.decide("0199", Decision.CONFIRMED, by="op-1")
    assert raised.value.incident_id == "0199"


def test_the_loser_is_told_who_and_when(room):
    """Of two operators who saw the same revision, the second gets who decided what and when."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1", seen_revision=1)
    decided_at = room.clock.now()
    room.clock.advance(2)
    with pytest.raises(DecisionConflict) as raised:
        room.book.decide(alert.id, Decision.DISMISSED, by="op-2", reason="false_alarm", seen_revision=1)
    lost = raised.value
    assert (lost.by, lost.at, lost.decision, lost.revision) == ("op-1", decided_at, "confirmed", 2)


def test_new_facts_refuse_no_decision(room):
    """Revisions that nobody decided do not stand in the way of an operator who saw an older one."""
    alert = room.opened()
    room.clock.advance(61)
    assert room.says(Stage.UPDATED, looks_taken=9).revision == 2
    assert room.book.decide(alert.id, Decision.CONFIRMED, by="op-1", seen_revision=1).revision == 3


@pytest.mark.parametrize("seen", [0, 2, 999_999_999])
def test_a_revision_that_was_never_there_refuses_a_decision(room, seen):
    """Who names a revision that the incident never had did not see it: refused with both numbers, nothing recorded."""
    alert = room.opened()
    with pytest.raises(UnknownRevision) as raised:
        room.book.decide(alert.id, Decision.CONFIRMED, by="op-1", seen_revision=seen)
    assert (raised.value.seen, raised.value.revision) == (seen, 1)
    assert room.kinds(alert.id) == ["opened"]


def test_a_change_needs_a_reason(room):
    """A decision may be changed by one who saw it, with a reason; without one it is refused."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.DISMISSED, by="op-1", reason=DismissReason.FALSE_ALARM, note="车灯")
    with pytest.raises(IllegalDecision, match="reason"):
        room.book.decide(alert.id, Decision.CONFIRMED, by="op-2", seen_revision=2)
    changed = room.book.decide(alert.id, Decision.CONFIRMED, by="op-2", reason="现场已核实", seen_revision=2)
    assert (changed.decision, changed.decided.reason) == ("confirmed", "现场已核实")
    back = room.book.decide(alert.id, Decision.DISMISSED, by="op-1", reason=DismissReason.DRILL)
    assert "sign" not in back.due
    assert room.kinds(alert.id) == ["opened", "dismissed", "confirmed", "dismissed"]


def test_repeating_the_standing_decision_changes_nothing(room):
    """A second click is no second row."""
    alert = room.opened()
    first = room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    assert room.book.decide(alert.id, Decision.CONFIRMED, by="op-1", seen_revision=2) == first
    assert room.kinds(alert.id) == ["opened", "confirmed"]


def test_of_many_at_once_one_wins(room):
    """Eight operators decide the same revision at the same time: one row, seven conflicts."""
    alert = room.opened()
    outcomes = []

    def decide(number):
        try:
            room.book.decide(alert.id, Decision.CONFIRMED, by=f"op-{number}", seen_revision=1)
            outcomes.append("won")
        except DecisionConflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    assert room.kinds(alert.id) == ["opened", "confirmed"]
