# SPDX-License-Identifier: AGPL-3.0-or-later
"""The timeline as an operator reads it: words instead of codes, in both languages."""

import json

import pytest

from api.console.detail import picture_html
from api.console.texts import Language, Words
from api.console.timeline import timeline_html
from events.alerts import Alert, Decision
from events.messages import CaseReply
from gridwatch.core.zone import Kind

ZH, EN = Words(Language.ZH), Words(Language.EN)
CLIP = b"\x00\x00\x00\x18ftypisom" + bytes(64)


def decide_from_outside(world, alert: Alert, number: int, **data: object) -> str:
    """Let a case system decide."""
    body = {"incident_id": alert.id, "by": "desk-3", "at": "2026-11-26T10:05:00+08:00", **data}
    fields = {
        "specversion": "1.0",
        "id": f"d{number}",
        "source": "urn:case-desk:test",
        "type": "cn.gridwatch.decision.made.v1",
        "subject": alert.id,
        "time": "2026-11-26T10:05:00.000+08:00",
        "datacontenttype": "application/json",
        "data": json.dumps(body),
    }
    return world.book.answer(CaseReply.parse(fields))


def timeline(world, alert: Alert, words: Words) -> str:
    return timeline_html(world.alerts.timeline(alert.id), world.clock.now(), words)


def test_the_timeline_tells_the_case_systems_steps(world) -> None:
    """Each change has its time, its words, who made it, and for a case the unit."""
    alert = world.open(Kind.FIRE)
    world.book.decide(alert.id, Decision.DISMISSED, by="op-07", reason="false_alarm", note="路灯 <i>")
    world.book.decide(alert.id, Decision.CONFIRMED, by="op-08", note="明火")
    world.answer(alert, "accepted", 1)
    world.answer(alert, "dispatched", 2)
    page = timeline(world, alert, EN)
    assert "false alarm · 路灯 &lt;i&gt;" in page
    assert "operator op-07" in page
    assert "<b>dispatched</b> <span>城南消防站</span>" in page
    assert "<b>accepted</b> <span>DESK-1 · 城南消防站</span>" in page
    assert page.index("dispatched") < page.index("accepted") < page.index("opened")


def test_a_decision_of_the_case_system_that_was_only_kept_reads_as_one(world) -> None:
    """What it decided is the title, why it moved nothing stands beside it, and no code of the program is read."""
    alert = world.open(Kind.CROWD)
    outcome = decide_from_outside(world, alert, 1, decision="dismissed", reason="because")
    assert outcome == "illegal"
    pages = timeline(world, alert, ZH), timeline(world, alert, EN)
    assert "<b>案件系统认定：已排除</b>" in pages[0]
    assert ZH("flag.illegal") in pages[0]
    assert "<b>case system decided: dismissed</b>" in pages[1]
    assert EN("flag.illegal") in pages[1]
    assert all("<b>cn</b>" not in page and ">illegal" not in page for page in pages)


def test_an_answer_of_an_unknown_type_is_an_answer(world) -> None:
    """A step that this version does not know has the general title, and says that it moved nothing."""
    alert = world.open(Kind.CROWD)
    data = json.dumps({"incident_id": alert.id, "case_id": "DESK-1", "case_revision": 1})
    reply = CaseReply.parse(
        {
            "specversion": "1.0",
            "id": "x1",
            "source": "urn:case-desk:test",
            "type": "cn.gridwatch.case.escalated.v9",
            "subject": alert.id,
            "data": data,
        }
    )
    assert world.book.answer(reply) == "illegal"
    page = timeline(world, alert, EN)
    assert "<b>case system answered</b>" in page
    assert EN("flag.unknown") in page


@pytest.mark.parametrize("words", [ZH, EN], ids=["zh", "en"])
def test_what_the_machine_says_of_itself_is_in_words(world, words: Words) -> None:
    """A restart, a lost camera and a scene that was seen again without it are told, not coded."""
    alert = world.open(Kind.SMOKE, still=False)
    world.book.camera_lost(alert.camera_id, "nothing came for 10 s")
    world.book.settle(alert.camera_id, Kind.SMOKE)
    other = world.open(Kind.FIRE, still=False)
    world.book.resume()
    world.clock.advance(60)
    world.book._claims.release("finding-2")
    world.book.settle(other.camera_id, Kind.FIRE)
    first, second = timeline(world, alert, words), timeline(world, other, words)
    assert words.phrase("nothing came for 10 s") in first
    assert words("reason.restart") in second
    assert words("reason.seen_again_without_it") in second
    for page in (first, second):
        assert ">restart" not in page
        assert "seen_again" not in page


@pytest.mark.parametrize("words", [ZH, EN], ids=["zh", "en"])
def test_evidence_is_named_by_its_kind(world, words: Words) -> None:
    """A row of stored evidence says clip, with the hash's first digits; the whole hash is for a pointer only."""
    alert = world.open(Kind.FIRE)
    world.book.attach_clip(alert.id, CLIP)
    sha256 = world.alerts.get(alert.id).clip.sha256
    assert sha256 is not None
    page = timeline(world, alert, words)
    assert f'{words("evidence.clip")} <small class="gw-hash" title="{sha256}">{sha256[:12]}</small>' in page
    assert f">{sha256}" not in page


def test_what_the_main_stream_showed_is_named_in_the_timeline(world) -> None:
    """Picture and clip with the first digits of their hashes, in the operator's words."""
    alert = world.show_main(world.open(Kind.FIRE))
    page = timeline(world, alert, ZH)
    for what, sha256 in (
        ("detail_still", alert.detail.still.sha256),
        ("detail_clip", alert.detail.clip_sha256),
    ):
        assert f'{ZH(f"evidence.{what}")} <small class="gw-hash" title="{sha256}">' in page


@pytest.mark.parametrize(
    ("pre_roll_s", "text"), [(5.0, "clip.ready"), (None, "clip.ready"), (-0.8, "clip.late")]
)
def test_a_clip_that_begins_after_the_opening_says_so(world, pre_roll_s, text) -> None:
    """It can be played, and shows less than an operator would think."""
    alert = world.open(Kind.FIRE)
    world.book.attach_clip(alert.id, CLIP, pre_roll_s)
    page = picture_html(world.alerts.get(alert.id), world.clock.now(), EN)
    assert f">▶ {EN(text)} <" in page


def test_a_clip_that_will_not_come_is_said(world) -> None:
    """Evidence that failed is told as such."""
    alert = world.open(Kind.FIRE)
    world.book.attach_clip(alert.id, None)
    assert EN("clip.none") in timeline(world, alert, EN)


def test_a_timeline_that_is_cut_says_so(world) -> None:
    """Where only the newest changes are listed, the list ends with that."""
    rows = world.alerts.timeline(world.open(Kind.FIRE).id)
    now = world.clock.now()
    assert EN("timeline.older") not in timeline_html(rows, now, EN)
    assert EN("timeline.older") in timeline_html(rows, now, EN, older=True)
    assert timeline_html((), now, EN) == ""
