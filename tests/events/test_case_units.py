# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the case system tells beside the state: units one by one, rework, merges, conflicts and contradictions."""

import json

import pytest

from events.alerts import CaseState, Decision, UnitRole
from events.messages import CaseReply
from events.stores import replies
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind

LEAD = {"code": "1", "name": "消防救援大队"}
HELPER = {"code": "2", "name": "城管中队"}


def say(room, alert, word, revision, **data):
    return room.book.answer(CaseReply.parse(room.reply(alert.id, word, revision, **data)))


def told(room, alert):
    return room.reader.get(alert.id)


def units(room, alert):
    return [(unit.name, unit.role, unit.state) for unit in told(room, alert).handling.units]


@pytest.fixture
def dispatched(room):
    """An alert whose case is dispatched to a unit that leads and one that helps; the next case revision is 4."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    say(room, alert, "accepted", 1)
    say(room, alert, "dispatched", 2, unit=LEAD, role="lead")
    say(room, alert, "dispatched", 3, unit=HELPER, role="assist")
    return alert


def test_units_sign_one_by_one(room, dispatched):
    """The case is signed when its lead unit signed; who has not signed is told, whatever the order."""
    assert say(room, dispatched, "signed", 4, unit=HELPER, role="assist") == "recorded"
    now = told(room, dispatched)
    assert (now.case, [unit.name for unit in now.handling.unsigned]) == ("dispatched", [LEAD["name"]])
    assert say(room, dispatched, "signed", 5, unit=LEAD, role="lead") == "recorded"
    now = told(room, dispatched)
    assert (now.case, now.handling.unsigned) == ("signed", ())
    assert units(room, dispatched) == [
        (LEAD["name"], UnitRole.LEAD, CaseState.SIGNED),
        (HELPER["name"], UnitRole.ASSIST, CaseState.SIGNED),
    ]
    room.again()
    assert told(room, dispatched).handling == now.handling


def test_a_helping_unit_keeps_its_own_pace(room, dispatched):
    """It may sign after the lead handled, and its handling does not handle the case; a step back is refused."""
    say(room, dispatched, "signed", 4, unit=LEAD)
    revision = told(room, dispatched).revision
    assert say(room, dispatched, "handled", 5, unit=HELPER) == "recorded"
    now = told(room, dispatched)
    assert (now.case, now.revision) == ("signed", revision)
    assert say(room, dispatched, "signed", 6, unit=HELPER) == "illegal"
    assert units(room, dispatched)[1] == (HELPER["name"], UnitRole.ASSIST, CaseState.HANDLED)
    say(room, dispatched, "handled", 7, unit=LEAD)
    assert told(room, dispatched).case == "handled"


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ({"unit": {"code": "3", "name": "供电所"}, "role": "协办"}, ("供电所", "assist")),
        ({"unit": {"name": "供电所"}, "role": "assist"}, ("供电所", "assist")),
        ({"unit": {"code": "3", "name": "供电所"}, "role": "主办"}, ("供电所", "lead")),
        ({"unit": {"code": "3", "name": "供电所"}}, ("供电所", "lead")),  # sent to another lead (改派)
    ],
)
def test_a_later_order_adds_a_helper_or_replaces_the_lead(room, dispatched, data, part):
    """A third unit helps where it says so, in Chinese too; a new lead takes the place of the one before."""
    say(room, dispatched, "signed", 4, unit=LEAD)
    assert say(room, dispatched, "dispatched", 5, **data) == "recorded"
    now = told(room, dispatched)
    assert part in [(unit.name, unit.role) for unit in now.handling.units]
    assert [unit.role for unit in now.handling.units].count(UnitRole.LEAD) == 1
    assert now.case == ("signed" if part[1] == "assist" else "dispatched")


def test_a_signature_without_a_role_is_of_the_unit_that_is_known(room, dispatched):
    """Role and name may be left out where the unit was told before; a stranger beside a lead only helps."""
    say(room, dispatched, "signed", 4, unit={"code": "2"})
    say(room, dispatched, "signed", 5, unit={"code": "9", "name": "志愿队"})
    assert told(room, dispatched).case == "dispatched"
    assert units(room, dispatched)[1:] == [
        (HELPER["name"], UnitRole.ASSIST, CaseState.SIGNED),
        ("志愿队", UnitRole.ASSIST, CaseState.SIGNED),
    ]
    say(room, dispatched, "signed", 6)
    assert (told(room, dispatched).case, units(room, dispatched)[0][2]) == ("signed", CaseState.SIGNED)


def test_a_unit_sends_its_order_back(room, dispatched):
    """A helper that returns its order leaves the case as it is; the lead's return is the case's (退单)."""
    assert say(room, dispatched, "returned", 4, unit=HELPER, reason="不属本单位职责") == "recorded"
    assert (told(room, dispatched).case, units(room, dispatched)[1][2]) == ("dispatched", CaseState.RETURNED)
    assert say(room, dispatched, "returned", 5, unit=LEAD) == "recorded"
    assert told(room, dispatched).case == "returned"
    assert (
        say(room, dispatched, "dispatched", 6, unit={"code": "3", "name": "供电所"}, role="lead")
        == "recorded"
    )
    assert units(room, dispatched)[0] == ("供电所", UnitRole.LEAD, CaseState.DISPATCHED)


def test_rework_is_counted_and_begins_the_leads_work_again(room, dispatched):
    """Dispatched again after it was handled or checked, the case and its lead are back at dispatched (返工)."""
    for revision, word in enumerate(("signed", "handled", "verified", "dispatched"), 4):
        assert say(room, dispatched, word, revision, unit=LEAD, role="lead") == "recorded"
    now = told(room, dispatched)
    assert (now.case, now.handling.reworks) == ("dispatched", 1)
    assert [unit.name for unit in now.handling.unsigned] == [LEAD["name"], HELPER["name"]]
    room.says(Stage.ENDED)
    assert json.loads(room.reader.newest_message().data)["case_dept"] == LEAD["name"]


def test_a_new_round_begins_with_no_units(room, dispatched):
    """Reopened, or accepted again after a return, the case waits for its dispatch anew."""
    say(room, dispatched, "closed", 4)
    assert say(room, dispatched, "signed", 5, unit=HELPER, role="assist") == "illegal"
    assert len(units(room, dispatched)) == 2
    say(room, dispatched, "reopened", 6)
    assert (told(room, dispatched).case, told(room, dispatched).handling) == ("reopened", None)


def test_more_units_than_a_case_has_are_kept_in_the_timeline_only(room, dispatched):
    """The list of units is bounded, with the lead on it."""
    for number in range(20):
        unit = {"code": f"u{number}", "name": f"单位{number}"}
        assert say(room, dispatched, "dispatched", 4 + number, unit=unit, role="assist") == "recorded"
    assert len(units(room, dispatched)) == 16
    assert units(room, dispatched)[0][0] == LEAD["name"]


def test_a_merge_takes_the_incident_into_the_other_case(room):
    """The receipt names the case that was there before; its steps are this incident's from then on."""
    alert = room.opened()
    say(room, alert, "reported", 1, outcome="stored")
    assert (
        say(room, alert, "reported", 7, case_id="RG-5", outcome="merged", answers=f"{alert.id}:1")
        == "recorded"
    )
    now = told(room, alert)
    assert (now.case, now.case_id, now.handling.merged_into) == ("reported", "RG-5", "RG-5")
    assert say(room, alert, "dispatched", 8, case_id="RG-5", unit=LEAD) == "recorded"
    assert (told(room, alert).case, told(room, alert).handling.missing) == ("dispatched", ())
    assert say(room, alert, "voided", 2, case_id="AJ-1") == "illegal"
    assert room.reader.timeline(alert.id)[-1].payload["flag"] == "other_case"
    assert say(room, alert, "reported", 1, case_id="AJ-1", outcome="merged") == "illegal"
    assert told(room, alert).case_id == "RG-5"


def test_an_open_case_that_is_merged_starts_over_in_the_other_one(room, dispatched):
    """What its own case had reached says nothing of the other; a merge of a closed one is refused."""
    other = room.opened("f2", kind=Kind.SMOKE, subtype="smoke")
    say(room, other, "closed", 9, case_id="AJ-9")
    assert say(room, other, "reported", 1, case_id="AJ-1", outcome="merged") == "illegal"
    assert say(room, dispatched, "reported", 5, case_id="AJ-9", outcome="merged") == "recorded"
    now = told(room, dispatched)
    assert (now.case, now.handling.units, now.handling.merged_into) == ("reported", (), "AJ-9")
    assert say(room, dispatched, "accepted", 6, case_id="AJ-9") == "recorded"


def test_two_incidents_in_one_case_are_both_told_its_steps(room):
    """The same case revision for two incidents is no contradiction; for one of them a second time it is a duplicate."""
    fire, smoke = room.opened(), room.opened("f2", kind=Kind.SMOKE, subtype="smoke")
    say(room, fire, "accepted", 1)
    say(room, smoke, "reported", 1, outcome="merged")
    for alert in (fire, smoke):
        fields = room.reply(alert.id, "closed", 2) | {"id": f"for {alert.id}"}
        assert room.book.answer(CaseReply.parse(fields)) == "recorded"
        assert room.book.answer(CaseReply.parse(fields | {"id": f"again {alert.id}"})) == "duplicate"
        assert told(room, alert).case == "closed"


def test_a_conflict_is_raised_until_it_is_resolved(room, dispatched):
    """A receipt of a conflict moves no state and stands on the alert; the same message stored after all takes it off."""
    message = f"{dispatched.id}:2"
    assert say(room, dispatched, "reported", 4, outcome="conflict", answers=message) == "recorded"
    now = told(room, dispatched)
    assert (now.case, now.handling.conflict, now.handling.missing) == ("dispatched", message, ())
    assert room.reader.timeline(dispatched.id)[-1].payload["flag"] == "conflict"
    say(room, dispatched, "reported", 5, outcome="stored", answers=f"{dispatched.id}:1")
    assert told(room, dispatched).handling.conflict == message
    say(room, dispatched, "reported", 6, outcome="stored", answers=message)
    assert told(room, dispatched).handling.conflict is None


def test_one_name_for_two_answers_is_a_contradiction(room):
    """Another answer under an id that was used is kept once, and moves nothing."""
    alert = room.opened()
    first = room.reply(alert.id, "accepted", 1)
    assert room.book.answer(CaseReply.parse(first)) == "recorded"
    other = room.reply(alert.id, "closed", 2) | {"id": first["id"]}
    assert room.book.answer(CaseReply.parse(other)) == "illegal"
    assert room.book.answer(CaseReply.parse(other)) == "duplicate"
    assert told(room, alert).case == "accepted"
    row = room.reader.timeline(alert.id)[-1]
    assert (row.payload["flag"], row.payload["reply"]) == ("collision", other)


def test_one_name_for_two_decisions_is_a_contradiction(room):
    """The case system's decision under a used id decides nothing."""
    alert = room.opened()
    data = {"incident_id": alert.id, "decision": "confirmed"}
    fields = {
        "id": "d1",
        "type": "cn.gridwatch.decision.made.v1",
        "subject": alert.id,
        "data": json.dumps(data),
    }
    assert room.book.answer(CaseReply.parse(fields)) == "recorded"
    other = fields | {"data": json.dumps(data | {"decision": "dismissed", "reason": "harmless"})}
    assert room.book.answer(CaseReply.parse(other)) == "illegal"
    assert told(room, alert).decision is Decision.CONFIRMED


def test_a_case_that_was_left_behind_stays_behind(room):
    """An old answer of an earlier case is late; the same case may be taken up again with a new one."""
    alert = room.opened()
    say(room, alert, "accepted", 1)
    say(room, alert, "voided", 2)
    say(room, alert, "accepted", 1, case_id="AJ-2")
    say(room, alert, "rejected", 2, case_id="AJ-2")
    old = room.reply(alert.id, "accepted", 2) | {"id": "late one", "source": "urn:case-desk:other"}
    assert room.book.answer(CaseReply.parse(old)) == "illegal"
    assert room.reader.timeline(alert.id)[-1].payload["flag"] == "late"
    assert say(room, alert, "accepted", 3) == "recorded"
    assert (told(room, alert).case, told(room, alert).case_id) == ("accepted", "AJ-1")


def test_an_answer_to_another_gridwatch_is_left_to_it(room):
    """Beside others on one stream, only what names nobody else is an orphan; a known incident is ours whoever is named."""
    alert = room.opened()
    fields = room.reply("0199-of-another", "accepted", 1)
    assert room.book.answer(CaseReply.parse(fields | {"destination": "urn:gridwatch:2"})) == "elsewhere"
    assert room.book.answer(CaseReply.parse(fields | {"destination": room.policy.source})) == "orphan"
    renamed = room.reply(alert.id, "accepted", 2) | {"destination": "urn:gridwatch:before"}
    assert room.book.answer(CaseReply.parse(renamed)) == "recorded"
    assert [row.kind for row in room.reader.rows_after(0, 9)] == ["opened", "orphan", "case"]


def test_answers_that_belong_nowhere_are_found_again(room):
    """Orphans are listed, newest first, without a look through the journal."""
    room.opened()
    for number in range(3):
        fields = room.reply(f"0199-{number}", "accepted", 1, case_id=f"AJ-{number}")
        assert room.book.answer(CaseReply.parse(fields)) == "orphan"
    with room.store.read() as connection:
        rows = replies.newest_aside(connection, 2)
    assert [row.incident_id for row in rows] == ["0199-2", "0199-1"]
