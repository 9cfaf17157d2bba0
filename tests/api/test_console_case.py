# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the case system told, as operators and programs see it: units one by one, rework, merges, conflicts, gaps."""

import json
import re
from html import escape

import pytest

from api.console import detail, overview
from api.console.snapshot import SnapshotReader
from api.console.texts import TEXTS, Language, Words
from api.console.timeline import timeline_html
from events.alerts import Alert, Decision, UnitRole
from events.errors import DecodeError
from events.messages import CaseReply
from gridwatch.core.zone import Kind

ZH, EN = Words(Language.ZH), Words(Language.EN)
LEAD = {"code": "U1", "name": "城南消防站"}
HELPER = {"code": "U2", "name": "城管中队 <b>"}


def say(world, alert: Alert, word: str, revision: int, **data: object) -> str:
    """Let a case system answer."""
    body = {"case_id": "DESK-1", "case_revision": revision, "at": "2026-11-26T10:00:00+08:00", **data}
    fields = {
        "id": f"{word}:{revision}",
        "source": "urn:case-desk:test",
        "type": f"cn.gridwatch.case.{word}.v1",
        "subject": alert.id,
        "data": json.dumps(body),
    }
    return world.book.answer(CaseReply.parse(fields))


@pytest.fixture
def dispatched(world) -> Alert:
    """A confirmed alert whose case was dispatched to two units, of which the helping one signed."""
    alert = world.open(Kind.FIRE, still=False)
    world.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    say(world, alert, "accepted", 1)
    say(world, alert, "dispatched", 2, unit=LEAD, role="lead")
    say(world, alert, "dispatched", 3, unit=HELPER, role="assist")
    say(world, alert, "signed", 4, unit=HELPER, role="assist")
    return world.alerts.get(alert.id)


def facts(world, alert: Alert, words: Words) -> str:
    return detail.facts_html(world.alerts.get(alert.id), world.clock.now(), words)


def timeline(world, alert: Alert, words: Words) -> str:
    return timeline_html(world.alerts.timeline(alert.id), world.clock.now(), words)


def cell(page: str, name: str) -> str:
    """Return the text of the cell beside a name, without its marks."""
    found = re.search(f"<th>{name}</th><td>(.*?)</td>", page)
    assert found, name
    return re.sub("<.*?>", " ", found.group(1))


def test_each_unit_stands_with_its_own_step_and_who_has_not_signed(world, dispatched) -> None:
    """Lead and helping units have a line each; the one that has not signed is named, in both languages."""
    page = facts(world, dispatched, ZH)
    assert cell(page, "状态").strip() == "已派遣"
    assert cell(page, "案件").strip() == "DESK-1"
    assert cell(page, "主办").startswith("城南消防站 已派遣")
    assert cell(page, "协办").startswith("城管中队 &lt;b&gt; 已签收")
    assert cell(page, "尚未签收").strip() == "城南消防站"
    assert "1 to sign" in overview.state_chips(dispatched, EN)
    say(world, dispatched, "signed", 5, unit=LEAD)
    page = facts(world, dispatched, EN)
    assert cell(page, "lead").startswith("城南消防站 signed")
    assert "not signed yet" not in page


def test_the_timeline_names_each_units_part(world, dispatched) -> None:
    """Whose order or signature a row is, and whether it leads or helps; work that was sent back reads as rework."""
    for revision, word in enumerate(("signed", "handled", "dispatched"), 5):
        say(world, dispatched, word, revision, unit=LEAD, role="lead")
    page = timeline(world, dispatched, ZH)
    assert "<b>已签收</b> <span>协办 城管中队 &lt;b&gt;</span>" in page
    assert "<b>已派遣</b> <span>返工 · 主办 城南消防站</span>" in page
    assert cell(facts(world, dispatched, EN), "sent back for rework").strip() == "1"


def test_a_conflict_stands_above_everything_until_it_is_resolved(world, dispatched) -> None:
    """The alert and its row in the list show it, with the message that nobody may overlook."""
    message = f"{dispatched.id}:2"
    say(world, dispatched, "reported", 5, outcome="conflict", answers=message)
    alert = world.alerts.get(dispatched.id)
    for words in (ZH, EN):
        head = detail.title_html(alert, world.clock.now(), words)
        assert f'<div class="gw-conflict" role="alert"><b>{words("conflict")}</b>' in head
        assert message in head
        assert words("handling.conflict") in overview.state_chips(alert, words)
        page = timeline(world, alert, words)
        assert words("outcome.conflict") in page
        assert words("flag.conflict") in page
    say(world, dispatched, "reported", 6, outcome="stored", answers=message)
    assert "gw-conflict" not in detail.title_html(world.alerts.get(alert.id), world.clock.now(), ZH)


def test_a_merge_is_shown_with_the_other_case(world) -> None:
    """The case of the other report stands in place of one of its own."""
    alert = world.open(Kind.SMOKE, still=False)
    say(world, alert, "reported", 4, case_id="RG-5", outcome="merged")
    assert cell(facts(world, alert, ZH), "并入案件").strip() == "RG-5"
    page = timeline(world, alert, EN)
    assert EN("outcome.merged") in page
    assert "RG-5" in page
    assert EN("handling.merged") in overview.state_chips(world.alerts.get(alert.id), EN)


def test_missing_and_late_answers_are_shown(world, dispatched) -> None:
    """The numbers that have not come are named; one that came late says that it was put in, or that it was overtaken."""
    say(world, dispatched, "handled", 7, unit=LEAD)
    assert cell(facts(world, dispatched, EN), "answers that have not come").strip() == "5, 6"
    assert EN("handling.missing") in overview.state_chips(world.alerts.get(dispatched.id), EN)
    say(world, dispatched, "signed", 5, unit=LEAD)
    assert EN("flag.late") in timeline(world, dispatched, EN)
    say(world, dispatched, "dispatched", 6, unit={"name": "供电所"}, role="assist")
    page = timeline(world, dispatched, EN)
    assert EN("remark.filled_in") in page
    assert "answers that have not come" not in facts(world, dispatched, EN)


def test_every_word_of_an_answer_has_a_text() -> None:
    """Parts of units, outcomes of receipts and remarks are words of both languages."""
    groups = {
        "unit": UnitRole,
        "remark": ["filled_in"],
        "outcome": ["stored", "duplicate", "merged", "conflict"],
    }
    for group, words in groups.items():
        for word in words:
            assert f"{group}.{word}" in TEXTS


def test_an_unknown_step_is_shown_as_it_came(world, dispatched) -> None:
    """A word that is not known here stands in the timeline, flagged and verbatim."""
    assert say(world, dispatched, "archived<i>", 5) == "illegal"
    assert f'archived&lt;i&gt;.v1 · <i title="">{ZH("flag.unknown")}</i>' in timeline(world, dispatched, ZH)


def test_a_closed_case_waits_for_no_signature(world, dispatched) -> None:
    """Who never signed is not missed any more when the case is over; the units stay."""
    say(world, dispatched, "closed", 5)
    page = facts(world, dispatched, EN)
    assert "not signed yet" not in page
    assert "to sign" not in overview.state_chips(world.alerts.get(dispatched.id), EN)
    assert cell(page, "lead").startswith("城南消防站")


def test_a_payload_of_another_form_breaks_no_page(world) -> None:
    """Roles, outcomes and units that are no texts are left out."""
    alert = world.open(Kind.FIRE, still=False)
    for number, data in enumerate(
        (
            {"outcome": "new"},
            {"role": "boss", "unit": {"name": "甲"}},
            {"role": "lead", "unit": {"code": "7"}},
        ),
        1,
    ):
        assert say(world, alert, "reported", number, **data) == "recorded"
    page = timeline(world, alert, EN)
    assert "<span>甲</span>" in page
    assert "<span>lead 7</span>" in page


def test_answers_that_belong_to_no_alert_stand_in_the_overview(world) -> None:
    """An answer for an incident that nobody here knows, or that cannot be read, is shown for a day with who said it."""
    reader = SnapshotReader(world.operations(), world.services())
    assert reader.sight().unmatched == ()
    fields = {"id": "x", "source": "urn:desk:<b>", "type": "cn.gridwatch.case.accepted.v1", "data": "{}"}
    assert world.book.answer(CaseReply.parse(fields | {"subject": "0199-unknown"})) == "orphan"
    with pytest.raises(DecodeError) as raised:
        CaseReply.parse(fields | {"type": "other", "subject": "0199-unread"})
    world.book.keep_unreadable(raised.value, "1-0")
    for words in (ZH, EN):
        page = overview.troubled_html(reader.sight(), words)
        assert page.count(words("row.orphan")) == 2
        assert f"urn:desk:&lt;b&gt; · {words('case.accepted')} · 0199-unknown" in page
        assert f"0199-unread · {escape(words.phrase(raised.value.problem))}" in page
    assert "不是回复类型" in overview.troubled_html(reader.sight(), ZH)
    world.clock.advance(90_000)
    assert reader.sight().unmatched == ()


def test_programs_read_the_units_too(world, client, dispatched) -> None:
    """The alert as JSON has the units, who has not signed, and null before the case system told anything."""
    other = world.open(Kind.CROWD, still=False)
    assert client.get(f"/api/v1/alerts/{other.id}").json()["handling"] is None
    handling = client.get(f"/api/v1/alerts/{dispatched.id}").json()["handling"]
    assert handling == {
        "units": [
            LEAD | {"role": "lead", "state": "dispatched", "at": "2026-11-26T02:00:00Z"},
            HELPER | {"role": "assist", "state": "signed", "at": "2026-11-26T02:00:00Z"},
        ],
        "unsigned": ["城南消防站"],
        "reworks": 0,
        "merged_into": None,
        "conflict": None,
        "missing": [],
    }
