# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orders given to a desk at work through its state file, the list of its cases, and a state file of the version before."""

import json
import sqlite3

import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk import Step, give_order, list_cases

VERSION_1 = """
CREATE TABLE files (
  case_id TEXT PRIMARY KEY, source TEXT NOT NULL, incident_id TEXT NOT NULL,
  revision INTEGER NOT NULL, case_revision INTEGER NOT NULL, state TEXT NOT NULL, was_accepted INTEGER NOT NULL,
  title TEXT NOT NULL, lead TEXT, assist TEXT, answers TEXT, plan TEXT NOT NULL, due_at REAL,
  UNIQUE (source, incident_id));
CREATE INDEX files_due ON files (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE messages (
  source TEXT NOT NULL, message_id TEXT NOT NULL, sha256 TEXT NOT NULL, case_id TEXT NOT NULL, revision INTEGER NOT NULL,
  previous INTEGER NOT NULL, type TEXT NOT NULL, held_data TEXT, held_until REAL,
  PRIMARY KEY (source, message_id));
CREATE INDEX messages_held ON messages (held_until) WHERE held_until IS NOT NULL;
CREATE INDEX messages_of_case ON messages (case_id, revision);
CREATE TABLE replies (seq INTEGER PRIMARY KEY AUTOINCREMENT, fields TEXT NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('case', 7);
PRAGMA user_version = 1;
"""


def test_an_order_is_obeyed_by_the_desk_at_work(queue, options):
    """A person sends the case back; the desk says so at once, and its plan for the case ends there."""
    settings = options(step_s=30)
    with queue.running(settings):
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: queue.outcomes() == ["stored"] * 2)
        case = give_order(settings.state, "last", Step(say="returned", reason="地址不清"))
        queue.until(lambda: queue.words()[-1] == "returned")
    assert queue.replies()[-1][1]["case_id"] == case
    assert queue.replies()[-1][1]["reason"] == "地址不清"
    (shown,) = list_cases(settings.state)
    assert (shown.case_id, shown.incident_id, shown.state) == (case, "i1", "returned")
    assert "疑似烟雾" in str(shown)
    assert "退回补充" in str(shown)


def test_orders_wait_for_a_desk_and_keep_their_order(table, queue, tmp_path):
    """Orders given while no desk works are obeyed one after the other, each seeing what the one before did."""
    desk = table({"when_confirmed": []})
    desk.receive(queue.entry(), queue.confirmation())
    state = tmp_path / "table.sqlite"
    for step in (
        Step(say="accepted"),
        Step(say="dispatched", unit="供电公司", role="assist"),
        Step(say="signed", unit="供电公司"),
        Step(say="rework", reason="现场未清理"),
    ):
        give_order(state, "i1", step)
    desk.after(20)
    assert desk.words()[2:] == [
        *("accepted", "dispatched", "signed"),
        *("dispatched", "signed", "handled", "verified", "closed"),
    ]
    assert desk.replies()[4][1]["unit"]["name"] == "供电公司"
    assert desk.replies()[5][1]["reason"] == "现场未清理"


def test_orders_that_are_no_steps(table, queue, tmp_path):
    """Merging and a conflict are receipts of the last message; a decision is made on the desk's own screen."""
    desk = table({"when_confirmed": ["accepted"]})
    desk.receive(queue.entry())
    state = tmp_path / "table.sqlite"
    give_order(state, "i1", Step(say="merged", case="HW-118"))
    give_order(state, "i1", Step(say="conflict"))
    give_order(state, "i1", Step(say="confirmed", by="d-02"))
    desk.after(5)
    words = [(word, data.get("outcome"), data.get("answers")) for word, data in desk.replies()]
    assert words[1:] == [
        ("reported", "merged", "i1:1"),
        ("reported", "conflict", "i1:1"),
        ("made", None, None),
        ("accepted", None, "i1:1"),
    ]
    assert {data["case_id"] for word, data in desk.replies()[1:] if word != "made"} == {"HW-118"}


def test_a_closed_case_is_opened_again_by_hand(table, queue, tmp_path):
    """After `reopened` the case goes the usual way once more."""
    desk = table()
    desk.receive(queue.confirmation(revision=1, previous=0))
    desk.after(20)
    give_order(tmp_path / "table.sqlite", "i1", Step(say="reopened", reason="复发"))
    desk.after(20)
    words = desk.words()
    assert words[words.index("closed") + 1] == "reopened"
    assert words[-1] == "closed"
    assert words.count("accepted") == 1


@pytest.mark.parametrize(
    ("which", "step", "reason"),
    [
        ("i9", Step(say="closed"), "no incident at this desk"),
        ("HW-118", Step(say="closed"), "2 incidents at this desk"),
        ("i1", Step(say="clsed"), "nothing that a desk says"),
        ("i1", Step(say="wait"), "nothing that a desk says"),
        ("i1", Step(say="merged"), "needs the number"),
        ("i1", Step(say="closed", case="HW-1"), "needs the number"),
    ],
)
def test_an_order_that_cannot_be_given_is_one_clear_sentence(table, queue, tmp_path, which, step, reason):
    """Who gives it is told at once, and nothing is left for the desk."""
    desk = table({"receipt": "merged", "case": "HW-118"})
    desk.receive(queue.entry("i1"), queue.entry("i2"))
    with pytest.raises(InputError, match=reason):
        give_order(tmp_path / "table.sqlite", which, step)
    desk.after(1)
    assert desk.words() == ["reported"]


def test_orders_that_nobody_takes_are_bounded(table, queue, tmp_path, monkeypatch):
    """A desk that is gone does not let its file grow without end."""
    monkeypatch.setattr("gridwatch.simulator.case_desk.orders.ORDERS_MOST", 3)
    table().receive(queue.entry())
    for _ in range(3):
        give_order(tmp_path / "table.sqlite", "last", Step(say="x-hello"))
    with pytest.raises(InputError, match="no desk takes them"):
        give_order(tmp_path / "table.sqlite", "last", Step(say="x-hello"))


def test_what_is_kept_of_a_message_is_bounded(table, queue, tmp_path):
    """Of a message only plain values of bounded size stay, enough for a decision that the desk makes later."""
    desk = table({"match": {"kind": "smoke"}, "when_confirmed": ["rejected"]})
    many = {f"field_{number}": number for number in range(500)}
    desk.receive(queue.entry(kind="smoke", description="很" * 400, media=[{"uri": "x" * 9000}], **many))
    (file,) = desk.store.newest_files(1)
    assert len(str(file.message)) < 5000
    assert file.message["kind"] == "smoke"
    give_order(tmp_path / "table.sqlite", "last", Step(say="confirmed"))
    desk.after(3)
    assert desk.words()[-1] == "rejected"


def test_a_state_that_is_not_there_is_not_made(tmp_path):
    """Orders and lists do not make an empty desk where somebody mistyped its file."""
    file = tmp_path / "typo.db"
    for look in (lambda: list_cases(file), lambda: give_order(file, "last", Step(say="closed"))):
        with pytest.raises(InputError, match="start the desk first"):
            look()
    assert not file.exists()


def test_a_state_of_the_version_before_goes_on(table, queue, tmp_path):
    """An older file keeps its cases, numbers, plans, seen messages and waiting replies."""
    file = tmp_path / "table.sqlite"
    with sqlite3.connect(file, isolation_level=None) as old:
        old.executescript(VERSION_1)
        plan = [["signed", "lead"], ["signed", "assist"], ["closed", None]]
        units = (json.dumps(["1", "消防救援大队"]), json.dumps(["9", "第三网格"]))
        row = ("AJ-1", queue.entry()["source"], "i1", 2, 4, "dispatched", 1, "疑似烟雾", *units, None)
        old.execute(f"INSERT INTO files VALUES ({','.join('?' * 13)})", (*row, json.dumps(plan), 1.0))
        old.execute(
            "INSERT INTO messages VALUES (?, 'i1:2', 'other', 'AJ-1', 2, 1, 't', NULL, NULL)",
            (queue.entry()["source"],),
        )
        waiting = {"subject": "i1", "type": "cn.gridwatch.case.dispatched.v1", "data": "{}"}
        old.execute("INSERT INTO replies (fields) VALUES (?)", (json.dumps(waiting),))
    old.close()
    desk = table()
    desk.after(5)
    assert desk.words() == ["dispatched", "signed", "signed", "closed"]
    assert [data["case_revision"] for _, data in desk.replies()[1:]] == [5, 6, 7]
    assert [(data["unit"]["name"], data["role"]) for _, data in desk.replies()[1:3]] == [
        ("消防救援大队", "lead"),
        ("第三网格", "assist"),
    ]
    desk.receive(queue.confirmation(), queue.entry("i2"))
    assert desk.replies()[-1][1]["outcome"] == "conflict"
    assert desk.replies("i2")[0][1]["case_id"].endswith("-000008")


def test_a_state_of_a_later_version_is_left_alone(options, tmp_path):
    """A file that another version wrote is refused and not changed."""
    file = tmp_path / "desk.sqlite"
    with sqlite3.connect(file) as other:
        other.execute("PRAGMA user_version = 9")
    other.close()
    with pytest.raises(InputError, match="version 9"):
        list_cases(file)
