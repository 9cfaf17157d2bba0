# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the case system's answers do: each once, only to the `case` field, and nothing is ever dropped."""

import json

import pytest

from events.alerts import CaseState, Decision
from events.errors import DecodeError
from events.messages import CaseReply
from events.times import local_text
from gridwatch.core.finding import Stage

DECISION = "cn.gridwatch.decision.made.v1"


def say(room, alert, word, revision, **data):
    return room.book.answer(CaseReply.parse(room.reply(alert.id, word, revision, **data)))


def walk(room, alert, *words):
    return [say(room, alert, word, number) for number, word in enumerate(words, 1)]


def state(room, alert):
    return room.reader.get(alert.id).case


def test_the_whole_way_to_closed(room):
    """Receipt, acceptance, dispatch to two units, signatures, handling, check and closing move the field in order."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    words = [
        "reported",
        "accepted",
        "dispatched",
        "dispatched",
        "signed",
        "signed",
        "handled",
        "verified",
        "closed",
    ]
    assert walk(room, alert, *words) == ["recorded"] * 9
    now = room.reader.get(alert.id)
    assert (now.case, now.case_id) == ("closed", "AJ-1")
    assert now.revision == 2 + 7  # the second dispatch and the second signature are rows, no revisions
    assert room.kinds(alert.id) == ["opened", "confirmed", *["case"] * 9]


def test_answers_are_never_messages(room):
    """Nothing that the case system said goes back into the queue, its own decisions included."""
    alert = room.opened()
    walk(room, alert, "reported", "accepted")
    data = {"incident_id": alert.id, "decision": "confirmed", "by": "d-1"}
    room.book.answer(CaseReply.parse(reply_of(room, data)))
    assert [message.id for message in room.reader.messages_after(0, 10)] == [f"{alert.id}:1"]


def reply_of(room, data, number="d1"):
    return {
        "id": number,
        "source": "urn:case-desk:test",
        "type": DECISION,
        "subject": data["incident_id"],
        "data": json.dumps(data, ensure_ascii=False),
    }


def test_the_same_answer_twice_is_one(room):
    """The same id, or the same case revision with the same content under another id, is a duplicate."""
    alert = room.opened()
    fields = room.reply(alert.id, "reported", 1)
    assert room.book.answer(CaseReply.parse(fields)) == "recorded"
    assert room.book.answer(CaseReply.parse(fields)) == "duplicate"
    assert room.book.answer(CaseReply.parse(fields | {"id": "resent"})) == "duplicate"
    room.again()
    assert room.book.answer(CaseReply.parse(fields)) == "duplicate"
    assert room.kinds(alert.id).count("case") == 1


def test_a_case_revision_with_other_content_is_kept_and_moves_nothing(room):
    """Two different answers under one case revision: the second is kept with a flag."""
    alert = room.opened()
    walk(room, alert, "reported", "accepted")
    fields = room.reply(alert.id, "closed", 2) | {"id": "other"}
    assert room.book.answer(CaseReply.parse(fields)) == "illegal"
    assert state(room, alert) is CaseState.ACCEPTED
    last = room.reader.timeline(alert.id)[-1]
    assert (last.payload["flag"], last.payload["reply"]["data"]) == ("collision", fields["data"])


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["accepted", "closed", "signed"], "illegal"),
        (["accepted", "reopened"], "illegal"),
        (["accepted", "handled", "accepted"], "illegal"),
        (["accepted", "exploded"], "unknown"),
    ],
)
def test_what_may_not_follow_is_kept_as_it_came(room, words, flag):
    """An illegal or unknown step is a row with a flag, and the field stays."""
    alert = room.opened()
    *before, last = words
    walk(room, alert, *before)
    revision = room.reader.get(alert.id).revision
    assert say(room, alert, last, len(words)) == "illegal"
    row = room.reader.timeline(alert.id)[-1]
    assert (row.payload["flag"], row.revision, row.payload["reply"]["type"]) == (
        flag,
        revision,
        f"cn.gridwatch.case.{last}.v1",
    )
    assert state(room, alert) == before[-1]


def test_a_late_answer_is_kept_and_moves_nothing(room):
    """A lower case revision that comes after a higher one is late."""
    alert = room.opened()
    assert say(room, alert, "dispatched", 5) == "recorded"
    assert say(room, alert, "accepted", 3) == "illegal"
    assert (state(room, alert), room.reader.timeline(alert.id)[-1].payload["flag"]) == ("dispatched", "late")


@pytest.mark.parametrize(
    "words",
    [
        ["reported", "accepted", "returned", "accepted", "dispatched"],
        ["reported", "rejected", "accepted"],
        ["reported", "accepted", "voided", "reopened", "dispatched"],
        [
            "reported",
            "accepted",
            "dispatched",
            "handled",
            "dispatched",
            "handled",
            "closed",
            "reopened",
            "closed",
        ],
        ["dispatched", "closed"],
    ],
)
def test_side_ways_and_lost_steps_are_followed(room, words):
    """Returns, rejections, voids, rework and reopening are legal, and so is a step whose predecessor got lost."""
    alert = room.opened()
    assert set(walk(room, alert, *words)) == {"recorded"}
    assert state(room, alert) == words[-1]


def test_a_receipt_comes_at_any_time_and_moves_only_from_none(room):
    """Later receipts are rows without a revision; a conflict is flagged."""
    alert = room.opened()
    walk(room, alert, "reported", "accepted")
    revision = room.reader.get(alert.id).revision
    assert say(room, alert, "reported", 3, outcome="duplicate", answers=f"{alert.id}:1") == "recorded"
    again = room.reply(alert.id, "reported", 3, outcome="stored", answers=f"{alert.id}:2") | {"id": "r2"}
    assert (
        room.book.answer(CaseReply.parse(again)) == "recorded"
    )  # the same case revision: it tells of a message
    assert say(room, alert, "reported", 4, outcome="conflict") == "recorded"
    now = room.reader.get(alert.id)
    assert (now.case, now.revision) == ("accepted", revision)


@pytest.mark.parametrize("outcome", ["stored", "conflict"])
def test_a_receipt_does_not_take_a_steps_number_away(room, outcome):
    """A receipt with the number of a step comes before it: the step is taken, and a second step of that number collides."""
    alert = room.opened()
    say(room, alert, "accepted", 1)
    assert say(room, alert, "reported", 2, outcome=outcome) == "recorded"
    assert say(room, alert, "dispatched", 2) == "recorded"
    assert say(room, alert, "reported", 2, outcome=outcome) == "duplicate"
    assert state(room, alert) == "dispatched"
    other = room.reply(alert.id, "closed", 2) | {"id": "other"}
    assert room.book.answer(CaseReply.parse(other)) == "illegal"
    assert state(room, alert) == "dispatched"


def test_a_second_case_for_one_incident_is_refused_while_the_first_is_open(room):
    """One incident has at most one open case; after a void another case may follow."""
    alert = room.opened()
    walk(room, alert, "reported", "accepted")
    assert say(room, alert, "accepted", 1, case_id="AJ-2") == "illegal"
    assert room.reader.timeline(alert.id)[-1].payload["flag"] == "other_case"
    assert say(room, alert, "voided", 3) == "recorded"
    assert say(room, alert, "accepted", 2, case_id="AJ-2") == "recorded"
    assert room.reader.get(alert.id).case_id == "AJ-2"


def test_an_answer_for_an_unknown_incident_is_kept_as_an_orphan(room):
    """It is a row with the fields as they came, once."""
    fields = room.reply("0199-unknown", "accepted", 1)
    assert room.book.answer(CaseReply.parse(fields)) == "orphan"
    assert room.book.answer(CaseReply.parse(fields)) == "duplicate"
    rows = room.reader.rows_after(0, 10)
    assert [(row.kind, row.incident_id, row.payload["reply"], row.message_id) for row in rows] == [
        ("orphan", "0199-unknown", fields, None)
    ]


def test_what_is_no_reply_is_kept_too(room):
    """An unreadable entry becomes an orphan row with its fields, once for each entry."""
    junk = {"type": "cn.gridwatch.case.accepted.v1", "data": "{", "subject": "0199"}
    with pytest.raises(DecodeError) as raised:
        CaseReply.parse(junk)
    assert room.book.keep_unreadable(raised.value, "1-0") == "orphan"
    assert room.book.keep_unreadable(raised.value, "1-0") == "duplicate"
    assert room.book.keep_unreadable(raised.value, "2-0") == "orphan"
    assert room.reader.rows_after(0, 10)[0].payload["reply"] == junk


def test_a_decision_made_in_the_case_system_is_a_decision(room):
    """It is recorded as made by the case system, and an operator who did not see it gets a conflict."""
    alert = room.opened()
    data = {
        "incident_id": alert.id,
        "decision": "dismissed",
        "reason": "harmless",
        "note": "烧烤",
        "by": "d-1",
    }
    assert room.book.answer(CaseReply.parse(reply_of(room, data))) == "recorded"
    now = room.reader.get(alert.id)
    assert (now.decision, now.decided.by, now.decided.reason) == (
        "dismissed",
        "case:urn:case-desk:test:d-1",
        "harmless",
    )
    assert room.book.answer(CaseReply.parse(reply_of(room, data))) == "duplicate"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("误报", "false_alarm"), ("无需处置", "harmless"), ("演练", "drill"), ("重复", "duplicate")],
)
def test_a_dismissal_may_say_its_reason_in_chinese(room, word, reason):
    """The four reasons are understood in Chinese too and recorded as the one word that everybody reads."""
    alert = room.opened()
    data = {"incident_id": alert.id, "decision": "dismissed", "reason": word}
    assert room.book.answer(CaseReply.parse(reply_of(room, data))) == "recorded"
    assert room.reader.get(alert.id).decided.reason == reason


@pytest.mark.parametrize("by", [None, "  ", "x" * 5_000, "\ud800"])
def test_who_decided_there_is_told_within_bounds(room, by):
    """The case system stays readable whatever stands for its staff code."""
    alert = room.opened()
    data = {"incident_id": alert.id, "decision": "confirmed", "by": by}
    fields = reply_of(room, data) | {"source": "urn:case-desk:" + "y" * 150, "data": json.dumps(data)}
    assert room.book.answer(CaseReply.parse(fields)) == "recorded"
    decided = room.reader.get(alert.id).decided
    assert decided.by.startswith("case:urn:case-desk:yy")
    assert len(decided.by) <= 96
    assert (decided.by.count(":") == 4) == bool(by and by.strip())


def test_a_changed_decision_needs_a_reason_or_a_note(room):
    """What the case system decides against a standing decision is kept, and moves nothing, unless it says why."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.DISMISSED, by="op-1", reason="harmless")
    data = {"incident_id": alert.id, "decision": "confirmed"}
    assert room.book.answer(CaseReply.parse(reply_of(room, data, "d1"))) == "illegal"
    assert room.book.answer(CaseReply.parse(reply_of(room, data | {"note": "复核"}, "d2"))) == "recorded"
    assert room.reader.get(alert.id).decision is Decision.CONFIRMED


def test_the_helping_unit_does_not_become_the_one_that_leads(room):
    """The report names the lead unit whatever the helping ones say; the timeline shows them all."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    lead, help_ = {"code": "1", "name": "消防救援大队"}, {"code": "2", "name": "城管中队"}
    say(room, alert, "accepted", 1)
    say(room, alert, "dispatched", 2, unit=lead, role="lead")
    say(room, alert, "dispatched", 3, unit=help_, role="assist")
    say(room, alert, "signed", 4, unit=help_, role="assist")
    say(room, alert, "signed", 5, unit=lead, role="lead")
    say(room, alert, "handled", 6, unit=help_, role="assist")
    room.says(Stage.ENDED)
    assert json.loads(room.reader.newest_message().data)["case_dept"] == "消防救援大队"
    replies = [row.payload["reply"] for row in room.reader.timeline(alert.id) if row.kind == "case"]
    units = [json.loads(reply["data"]).get("unit", {}).get("name") for reply in replies]
    assert units == [None, lead["name"], help_["name"], help_["name"], lead["name"], help_["name"]]


@pytest.mark.parametrize(
    "at",
    ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+08:00", "1999-12-31T23:59:59Z", "2101-01-01T00:00:00Z"],
)
def test_a_time_out_of_any_range_is_no_time(room, at):
    """The answer counts as of now, its text stays as it came, and the incident can be written later."""
    alert = room.opened()
    assert say(room, alert, "reported", 1, at=at) == "recorded"
    assert say(room, alert, "accepted", 2, at=at) == "recorded"
    assert room.says(Stage.ENDED).activity == "ended"
    data = json.loads(room.reader.newest_message().data)
    assert data["case_at"] == data["reported_at"] == local_text(room.clock.now())
    assert at in room.reader.timeline(alert.id)[1].payload["reply"]["data"]


@pytest.mark.parametrize(
    "data",
    [
        {"decision": "dismissed", "reason": "其他"},
        {"decision": "maybe"},
        {"decision": "dismissed", "reason": "harmless", "at": "2020-01-01T00:00:00+08:00"},
    ],
)
def test_a_decision_that_is_not_allowed_or_late_is_kept(room, data):
    """An unknown reason or word, or a decision older than the one that stands, moves nothing."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    assert room.book.answer(CaseReply.parse(reply_of(room, {"incident_id": alert.id} | data))) == "illegal"
    assert room.reader.get(alert.id).decision is Decision.CONFIRMED
    assert room.kinds(alert.id) == ["opened", "confirmed", "case"]
