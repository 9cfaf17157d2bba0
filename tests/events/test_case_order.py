# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers of one case count by their case revisions: whatever the order of their arrival, the case ends the same."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.alerts import CaseState
from events.cases import HELD_MAX, answered
from events.incident import CaseFile, IncidentCodec
from events.messages import CaseReply

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)  # the rules know no database

UNITS = ({"code": "1", "name": "消防救援大队"}, {"code": "2", "name": "城管中队"}, {"name": "望丛社区"})
STEP = st.fixed_dictionaries(
    {"word": st.sampled_from([*CaseState, "exploded"]).filter(lambda word: word != "none")},
    optional={
        "unit": st.sampled_from(UNITS),
        "role": st.sampled_from(["lead", "assist", "主办", "协办", "?"]),
        "note": st.sampled_from(["", "现场已清理"]),
    },
)


@pytest.fixture
def fresh(room):
    """An incident of which the case system has said nothing yet."""
    alert = room.opened()
    with room.store.write() as tx:
        return tx.incident(alert.id)


def reply_of(incident, revision, step, case_id="AJ-1"):
    data = {name: value for name, value in step.items() if name != "word"}
    data |= {
        "case_id": case_id,
        "case_revision": revision,
        "at": f"2026-11-26T10:{revision % 60:02d}:00+08:00",
    }
    return CaseReply.parse(
        {
            "id": str(revision),
            "source": "urn:case-desk:test",
            "type": f"cn.gridwatch.case.{step['word']}.v1",
            "subject": incident.alert.id,
            "data": json.dumps(data),
        }
    )


def take(incident, revision, now, **step):
    return answered(incident, reply_of(incident, revision, step), now)


def told(incident):
    """Return everything of the case that does not count arrivals."""
    return incident.alert.case, incident.alert.handling, replace(incident.case_file, reported_at=None)


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEP, min_size=1, max_size=10), order=st.randoms(use_true_random=False))
def test_every_order_of_arrival_ends_the_same(fresh, clock, steps, order):
    """Shuffled answers, sensible or not, leave state, units and file as the same answers in order."""
    shuffled = list(enumerate(steps, 1))
    order.shuffle(shuffled)
    ended = []
    for arrival in (list(enumerate(steps, 1)), shuffled):
        incident = fresh
        for revision, step in arrival:
            incident = take(incident, revision, clock.now(), **step).after
        ended.append(incident)
    in_order, out_of_order = ended
    assert told(out_of_order) == told(in_order)
    assert all(one.receipt for one in out_of_order.case_file.held)


@settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(st.integers(1, 2**53 - 1), STEP), max_size=40))
def test_whatever_numbers_come_little_is_remembered(fresh, clock, steps):
    """Any revisions in any order: what is held is bounded, and the incident survives the store's text."""
    codec, incident = IncidentCodec(), fresh
    for revision, step in steps:
        incident = take(incident, revision, clock.now(), **step).after
        assert len(incident.case_file.held) <= HELD_MAX
        assert len(incident.alert.handling.missing if incident.alert.handling else ()) <= 8
    assert codec.decode(codec.encode(incident)) == incident


def test_a_missing_answer_is_told_until_it_comes(fresh, clock):
    """What has come counts at once; the gap is shown, and the late answer is put in where it belongs."""
    now = clock.now()
    incident = take(fresh, 1, now, word="accepted").after
    incident = take(incident, 2, now, word="handled").after
    result = take(incident, 4, now, word="reopened")
    assert (result.flag, result.after.alert.case) == ("illegal", "handled")
    assert result.after.alert.handling.missing == (3,)
    result = take(result.after, 3, now, word="closed")
    assert (result.flag, result.remark, result.moved) == (None, "filled_in", True)
    assert (result.after.alert.case, result.after.alert.handling) == ("reopened", None)


def outcomes(number):
    """Receipts that may have the number of a step: of a first message, of a later one, of one that is contradicted."""
    return [{}, {"outcome": "duplicate"}, {"outcome": "conflict", "answers": f"m:{number}"}]


@pytest.mark.parametrize("receipt", outcomes(2))
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_receipt_leaves_its_number_to_the_step_that_has_it(fresh, clock, number, receipt):
    """Before the step or after it: a receipt that repeats a case revision swallows nothing, and the case ends the same."""
    steps = [("accepted", {}), ("dispatched", {"unit": UNITS[0]}), ("signed", {"unit": UNITS[0]})]
    ended = []
    for receipt_first in (True, False):
        incident = fresh
        for revision, (word, more) in enumerate(steps, 1):
            answers = [(word, more), ("reported", receipt)]
            for said, data in answers[::-1] if receipt_first else answers:
                if said == "reported" and revision != number:
                    continue
                result = take(incident, revision, clock.now(), word=said, **data)
                assert result.flag in (None, "conflict")
                incident = result.after
        ended.append(incident)
    assert told(ended[0]) == told(ended[1])
    assert (ended[0].alert.case, ended[0].case_file.held) == ("signed", ())


def test_a_receipt_with_a_number_of_its_own_leaves_no_gap(fresh, clock):
    """Where receipts are numbered too, the step after one settles it."""
    incident = fresh
    for revision, word in enumerate(("reported", "accepted", "reported", "reported", "dispatched"), 1):
        incident = take(incident, revision, clock.now(), word=word).after
        assert incident.alert.handling is None
    assert (incident.alert.case, incident.case_file.base, incident.case_file.held) == ("dispatched", None, ())
    assert take(incident, 3, clock.now(), word="signed").flag == "late"


def test_a_late_answer_that_changes_nothing_is_late(fresh, clock):
    """Filling a gap with what was overtaken moves nothing and says so."""
    now = clock.now()
    incident = take(fresh, 2, now, word="dispatched").after
    result = take(incident, 1, now, word="accepted")
    assert (result.flag, result.moved, result.after.alert.case) == ("late", False, "dispatched")
    assert result.after.alert.handling is None


def test_a_late_signature_of_one_unit_is_not_lost(fresh, clock):
    """A unit's signature that comes after another unit's still signs for it, and for the case where it leads."""
    now, (lead, helper, _) = clock.now(), UNITS
    incident = take(fresh, 1, now, word="dispatched", unit=lead, role="lead").after
    incident = take(incident, 2, now, word="dispatched", unit=helper, role="assist").after
    incident = take(incident, 4, now, word="signed", unit=helper).after
    assert incident.alert.case == "dispatched"
    result = take(incident, 3, now, word="signed", unit=lead)
    assert (result.remark, result.after.alert.case) == ("filled_in", "signed")
    assert result.after.alert.handling.unsigned == ()


def test_a_gap_is_given_up_when_too_much_came_after_it(fresh, clock):
    """A number that never comes does not make the file grow: after 16 answers the oldest one counts as settled."""
    incident = take(fresh, 2, clock.now(), word="accepted").after
    for revision in range(3, 3 + HELD_MAX):
        incident = take(incident, revision, clock.now(), word="dispatched").after
    assert incident.case_file.held == ()
    result = take(incident, 1, clock.now(), word="reported")
    assert (result.after.alert.case, result.after.alert.handling) == ("dispatched", None)
    assert take(incident, 1, clock.now(), word="voided").flag == "late"


def test_answers_without_a_number_count_as_they_come(fresh, clock):
    """A case system that numbers nothing is followed in order of arrival."""
    incident = fresh
    for word in ("reported", "accepted", "dispatched", "signed", "handled", "dispatched", "closed"):
        data = json.dumps({"case_id": "AJ-1"})
        fields = {"id": word, "type": f"cn.gridwatch.case.{word}.v1", "subject": fresh.alert.id, "data": data}
        result = answered(incident, CaseReply.parse(fields), clock.now())
        assert (result.flag, result.after.alert.case) == (None, word)
        incident = result.after
    assert incident.alert.handling.reworks == 1


def test_an_incident_of_an_older_store_is_read(fresh, clock):
    """What was stored before units were told one by one is decoded, and its answers go on from where they stood."""
    codec = IncidentCodec()
    document = json.loads(codec.encode(fresh))
    del document["alert"]["handling"]
    document["alert"] |= {"case": "dispatched", "case_id": "AJ-1"}
    document["case_file"] = {
        "revision": 3,
        "at": "2026-11-26T02:00:00Z",
        "reported_at": None,
        "unit_code": "1",
        "unit_name": "消防救援大队",
        "reason": None,
        "note": None,
    }
    old = codec.decode(json.dumps(document))
    assert old.alert.handling is None
    assert old.case_file == CaseFile(revision=3, at=old.case_file.at, unit_code="1", unit_name="消防救援大队")
    assert take(old, 3, clock.now(), word="closed").flag == "late"
    after = take(old, 4, clock.now(), word="signed").after
    assert (after.alert.case, after.case_file.unit_name) == ("signed", "消防救援大队")
