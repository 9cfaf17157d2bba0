# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scripted case desk and the incident book, entry by entry: what the one can say is what the other keeps and shows.

Each side was written from docs/case-queue.md; no queue stands between them here, so every order of arrival is a choice.
"""

import pytest
import yaml

from events.alerts import CaseState, Decision, UnitRole
from events.messages import CaseReply, message_of
from gridwatch.simulator.case_desk.book import CaseBook, Rules
from gridwatch.simulator.case_desk.plan import Step
from gridwatch.simulator.case_desk.script import load_script
from gridwatch.simulator.case_desk.store import CaseStore
from gridwatch.simulator.case_desk.wire import parse_message

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
UNITS = [
    {"name": "消防救援大队", "role": "lead"},
    {"code": "510117004003012", "name": "第三网格", "role": "assist"},
    {"name": "供电公司", "role": "assist"},
]


class Both:
    """A room and a desk that tell each other everything, the desk's clock running with the room's."""

    def __init__(self, room, store, script):
        self.room, self.store, self._sent, self.outcomes = room, store, 0, []
        rules = Rules(source="urn:x", step_s=1, gap_wait_s=60, accept_exercise=False, script=script)
        self._desk = CaseBook(store, rules, lambda: room.clock.now().timestamp(), lambda _line: None)

    def run(self, seconds=30):
        """Let time pass second by second; what one side says reaches the other at once."""
        for _ in range(seconds):
            self.room.clock.advance(1)
            for row in self.room.reader.rows_after(self._sent, 100):
                self._sent = row.seq
                if row.message_id:
                    fields = message_of(row).fields()
                    self._desk.receive(parse_message({k.encode(): v.encode() for k, v in fields.items()}))
            self._desk.advance()
            self.store.send_replies(self._answer, self.room.clock.now().timestamp())

    def order(self, **step):
        with self.store.transaction():
            self.store.give_order(self.store.newest_files(1)[0].file_id, Step(**step))

    def confirmed(self):
        """Open an incident, let an operator confirm it, and let the desk work; return what is shown then."""
        alert = self.room.opened()
        self.room.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
        self.run()
        return self.room.reader.get(alert.id)

    def flags(self, incident_id):
        rows = self.room.reader.timeline(incident_id)
        return [row.payload["flag"] for row in rows if "flag" in row.payload]

    def _answer(self, replies):
        self.outcomes += [self.room.book.answer(CaseReply.parse(fields)) for fields in replies]


@pytest.fixture
def both(room, tmp_path):
    """The two, with a desk whose script holds one rule."""
    stores = []

    def make(**rule):
        file = tmp_path / "script.yaml"
        file.write_text(yaml.safe_dump({"cases": [rule]}, allow_unicode=True), encoding="utf-8")
        stores.append(CaseStore(tmp_path / "desk.db").__enter__())
        return Both(room, stores[-1], load_script(file))

    yield make
    for store in stores:
        store.__exit__()


def test_the_usual_way_is_recorded_to_its_end(both):
    """Every answer is recorded, none flagged, and the case is closed."""
    world = both()
    shown = world.confirmed()
    assert shown.case is CaseState.CLOSED
    assert set(world.outcomes) == {"recorded"}
    assert world.flags(shown.id) == []


def test_three_units_sign_one_by_one(both):
    """Each unit's own state is kept, the lead first; who has not signed is named until it has."""
    world = both(
        units=UNITS, when_confirmed=["accepted", "dispatched", {"say": "signed", "unit": "消防救援大队"}]
    )
    shown = world.confirmed()
    assert shown.case is CaseState.SIGNED
    assert [(unit.name, unit.role, unit.state) for unit in shown.handling.units] == [
        ("消防救援大队", UnitRole.LEAD, CaseState.SIGNED),
        ("第三网格", UnitRole.ASSIST, CaseState.DISPATCHED),
        ("供电公司", UnitRole.ASSIST, CaseState.DISPATCHED),
    ]
    world.order(say="signed", unit="510117004003012")
    world.run(2)
    assert [unit.name for unit in world.room.reader.get(shown.id).handling.unsigned] == ["供电公司"]


def test_a_rework_is_counted(both):
    """返工: dispatched again after it had been handled; the case still ends closed."""
    way = ["accepted", "dispatched", "signed", "handled", "rework", "verified", "closed"]
    shown = both(units=UNITS, when_confirmed=way).confirmed()
    assert (shown.case, shown.handling.reworks) == (CaseState.CLOSED, 1)


def test_a_returned_case_goes_on_when_the_incident_has_news(both):
    """退回补充, then the next revision of the incident lets the desk dispatch it."""
    world = both(when_confirmed=["accepted", {"say": "returned", "reason": "地址不清"}, "wait", "dispatched"])
    shown = world.confirmed()
    assert shown.case is CaseState.RETURNED
    world.room.clock.advance(60)
    world.room.book.camera_lost(shown.camera_id, "offline")
    world.run()
    assert world.room.reader.get(shown.id).case is CaseState.DISPATCHED


def test_a_late_answer_ends_where_all_in_order_would(both):
    """An answer that later ones have overtaken is kept with its flag; nothing is missing, and the end is the same."""
    way = [{"say": "accepted", "hold_s": 8}, "dispatched", "signed", "handled", "verified", "closed"]
    world = both(when_confirmed=way)
    shown = world.confirmed()
    assert shown.case is CaseState.CLOSED
    assert shown.handling.missing == ()
    assert world.flags(shown.id) == ["late"]


def test_answers_that_double_or_contradict_change_nothing(both):
    """The same bytes again are a duplicate; another word under a number that was used is kept with a flag."""
    way = ["accepted", {"say": "dispatched", "unit": "消防救援大队", "role": "lead", "twice": True}]
    way += [{"say": "rejected", "reason": "无", "same_revision": True}]
    world = both(when_confirmed=way)
    shown = world.confirmed()
    assert shown.case is CaseState.DISPATCHED
    assert world.outcomes[-2:] == ["duplicate", "illegal"]
    assert world.flags(shown.id) == ["collision"]


def test_an_incident_merged_with_a_persons_report(both):
    """并案: the receipt's case is the incident's, and is shown as another report's; its steps are told here too."""
    world = both(receipt="merged", case="HW-118", when_confirmed=["accepted", "closed"])
    shown = world.confirmed()
    assert (shown.case, shown.case_id) == (CaseState.CLOSED, "HW-118")
    assert shown.handling.merged_into == "HW-118"


def test_a_conflict_is_raised_until_it_is_taken_back(both):
    """A receipt that says conflict stands on the alert."""
    world = both(receipt="conflict", when_confirmed=[])
    alert = world.room.opened()
    world.run(3)
    assert world.room.reader.get(alert.id).handling.conflict == f"{alert.id}:1"
    assert world.flags(alert.id) == ["conflict"]


@pytest.mark.parametrize(
    ("step", "decision", "case"),
    [
        ({"say": "confirmed", "by": "d-07", "note": "视频复核属实"}, Decision.CONFIRMED, CaseState.CLOSED),
        ({"say": "dismissed", "by": "d-07", "reason": "误报"}, Decision.DISMISSED, CaseState.VOIDED),
    ],
)
def test_a_decision_of_the_desks_own_screen(both, step, decision, case):
    """It is recorded as made there, by that staff code, and the case goes its way."""
    world = both(when_reported=[step])
    alert = world.room.opened()
    world.run()
    shown = world.room.reader.get(alert.id)
    assert (shown.decision, shown.case) == (decision, case)
    assert shown.decided.by == "case:urn:x:d-07"
    assert set(world.outcomes) == {"recorded"}


def test_a_closed_case_is_opened_again_and_an_unknown_word_is_kept(both):
    """重新打开 goes the way once more; a word that nobody agreed on is kept with its flag and moves nothing."""
    world = both()
    shown = world.confirmed()
    world.order(say="x-supervised", note="督办")
    world.order(say="reopened", reason="复燃")
    world.run(2)
    again = world.room.reader.get(shown.id)
    assert again.case in {CaseState.REOPENED, CaseState.DISPATCHED}
    assert world.flags(shown.id) == ["unknown"]
    world.run()
    assert world.room.reader.get(shown.id).case is CaseState.CLOSED
