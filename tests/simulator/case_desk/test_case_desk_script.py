# SPDX-License-Identifier: AGPL-3.0-or-later
"""A scripted desk: returns, reworks, rejections, late and contradictory answers, several units, merging, own decisions."""

import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk.script import load_script

UNITS = [
    {"name": "消防救援大队", "role": "lead"},
    {"code": "510117004003012", "name": "第三网格", "role": "assist"},
    {"name": "供电公司", "role": "assist"},
]


def test_each_unit_is_sent_and_signs_by_itself(table, queue):
    """A case of three units is dispatched three times and signed three times; the lead handles it."""
    desk = table({"units": UNITS})
    desk.receive(queue.entry(), queue.confirmation())
    desk.after(20)
    said = desk.replies()
    parts = [(word, data["unit"]["name"], data["role"]) for word, data in said if "unit" in data]
    names = [(unit["name"], unit["role"]) for unit in UNITS]
    assert parts == [
        *(("dispatched", *one) for one in names),
        *(("signed", *one) for one in names),
        ("handled", *names[0]),
    ]
    assert desk.words()[-2:] == ["verified", "closed"]
    assert [data["case_revision"] for _, data in said] == list(range(1, len(said) + 1))


def test_a_check_that_failed_sends_the_unit_out_again(table, queue):
    """Rework is dispatched, signed and handled once more by the lead, with the reason, before it is verified."""
    way = ["accepted", "handled", {"say": "rework", "reason": "现场未清理"}, "verified", "closed"]
    desk = table({"units": UNITS, "when_confirmed": way})
    desk.receive(queue.entry(), queue.confirmation())
    desk.after(20)
    assert desk.words()[2:] == [
        "accepted",
        "handled",
        "dispatched",
        "signed",
        "handled",
        "verified",
        "closed",
    ]
    assert desk.replies()[4][1]["reason"] == "现场未清理"
    assert {data["unit"]["name"] for _, data in desk.replies() if "unit" in data} == {"消防救援大队"}


def test_a_returned_case_waits_for_what_was_asked(table, queue):
    """After `returned` the plan stands still until the incident's next message, then it goes on."""
    way = ["accepted", {"say": "returned", "reason": "地址不清"}, "wait", "dispatched", "closed"]
    desk = table({"when_confirmed": way})
    desk.receive(queue.entry(), queue.confirmation())
    desk.after(20)
    assert desk.words()[-1] == "returned"
    desk.receive(queue.entry(revision=3, previous=2, what="updated", decision="confirmed"))
    desk.after(20)
    assert desk.words()[-4:] == ["reported", "dispatched", "dispatched", "closed"]


def test_only_the_incidents_that_match_go_the_other_way(table, queue):
    """The first rule whose fields all fit is the incident's; without one it goes the usual way."""
    desk = table(
        {
            "match": {"kind": "smoke", "severity": 2},
            "when_confirmed": [{"say": "rejected", "reason": "重复"}],
        },
        {"match": {"kind": "smoke"}, "when_confirmed": ["accepted"]},
    )
    for incident, data in {"a": {"kind": "smoke", "severity": 2}, "b": {"kind": "smoke"}, "c": {}}.items():
        desk.receive(queue.confirmation(incident, 1, 0, **data))
    desk.after(20)
    assert desk.words("a") == ["reported", "rejected"]
    assert desk.words("b") == ["reported", "accepted"]
    assert desk.words("c")[-1] == "closed"


def test_two_incidents_merged_into_one_case_share_its_numbers(table, queue):
    """The receipt says merged and names the human report's case; every later answer is of that case."""
    desk = table({"receipt": "merged", "case": "HW-118", "when_confirmed": ["accepted", "closed"]})
    desk.receive(queue.entry("i1"), queue.entry("i2"), queue.confirmation("i1"), queue.confirmation("i2"))
    desk.after(5)
    both = [data for incident in ("i1", "i2") for _, data in desk.replies(incident)]
    assert {data["case_id"] for data in both} == {"HW-118"}
    assert sorted(data["case_revision"] for data in both) == list(range(1, 9))
    assert [desk.replies(incident)[0][1]["outcome"] for incident in ("i1", "i2")] == ["merged"] * 2
    assert desk.replies("i1")[1][1]["outcome"] == "stored"


def test_a_conflict_may_be_said_without_one(table, queue):
    """A receipt `conflict` is answered for trials, and nothing else changes."""
    desk = table({"receipt": "conflict"})
    desk.receive(queue.entry(), queue.confirmation())
    desk.after(20)
    assert [data["outcome"] for word, data in desk.replies() if word == "reported"] == ["conflict", "stored"]
    assert desk.words()[-1] == "closed"


def test_a_confirmation_on_the_desks_own_screen_opens_the_case(table, queue):
    """The desk says decision.made, opens the case at once, and the confirmation that comes back opens no second one."""
    desk = table({"when_reported": [{"say": "confirmed", "by": "d-07", "note": "视频复核属实"}]})
    desk.receive(queue.entry())
    desk.after(20)
    (decision,) = [fields for fields in desk.said if fields["type"] == "cn.gridwatch.decision.made.v1"]
    assert desk.replies()[1][1] | {"at": None} == {
        "incident_id": "i1",
        "decision": "confirmed",
        "by": "d-07",
        "note": "视频复核属实",
        "at": None,
    }
    assert decision["id"].startswith("decision:")
    assert desk.words()[-1] == "closed"
    before = desk.words().count("accepted")
    desk.receive(queue.entry(revision=2, previous=1, what="updated", decision="confirmed"))
    desk.after(20)
    assert (before, desk.words().count("accepted")) == (1, 1)


def test_a_dismissal_on_the_desks_own_screen_voids_the_case(table, queue):
    """decision.made with its reason, then voided; nothing is echoed by gridwatch, so the desk does not wait for it."""
    desk = table({"when_reported": [{"say": "dismissed", "reason": "drill"}, "closed"]})
    desk.receive(queue.entry())
    desk.after(20)
    assert desk.words() == ["reported", "made", "voided"]
    assert desk.replies()[1][1]["reason"] == "drill"


def test_an_exercise_that_the_desk_confirms_opens_nothing(table, queue):
    """The run mode is looked at for the desk's own confirmation too, and the rest of the plan is dropped."""
    desk = table({"when_reported": ["confirmed", {"say": "closed"}]})
    desk.receive(queue.entry(run_mode="exercise"))
    desk.after(20)
    assert desk.words() == ["reported", "made"]


def test_a_late_answer_is_overtaken_by_the_one_after_it(table, queue):
    """With hold_s a reply has its number in time and arrives later: the numbers come out of order."""
    way = ["accepted", {"say": "dispatched", "unit": "消防救援大队", "hold_s": 5}, "handled", "closed"]
    desk = table({"when_confirmed": way})
    desk.receive(queue.entry(), queue.confirmation())
    desk.after(20)
    assert desk.words()[2:] == ["accepted", "handled", "closed", "dispatched"]
    assert [data["case_revision"] for _, data in desk.replies()] == [1, 2, 3, 5, 6, 4]


def test_doubled_and_contradictory_answers(table, queue):
    """`twice` sends the same bytes again; `same_revision` says something else under the number before it."""
    way = [{"say": "accepted", "twice": True}, {"say": "rejected", "reason": "无", "same_revision": True}]
    desk = table({"when_confirmed": way})
    desk.receive(queue.confirmation(revision=1, previous=0))
    desk.after(20)
    _, first, again, other = desk.said
    assert first == again
    assert [data["case_revision"] for _, data in desk.replies()] == [1, 2, 2, 2]
    assert other["id"] != first["id"]


def test_a_word_that_nobody_agreed_on_changes_no_state(table, queue):
    """A word that begins with x- is sent as it is, and the case stays where it was."""
    desk = table({"when_confirmed": ["accepted", {"say": "x-supervised", "note": "督办"}]})
    desk.receive(queue.confirmation(revision=1, previous=0))
    desk.after(20)
    assert desk.said[-1]["type"] == "cn.gridwatch.case.x-supervised.v1"
    assert desk.store.newest_files(1)[0].state == "accepted"


def test_the_plan_outlives_the_desk(table, queue):
    """What was scripted when the case opened goes on after a restart, with its reasons, though the script is gone."""
    way = ["accepted", {"say": "returned", "reason": "地址不清", "note": "补门牌号"}]
    first = table({"when_confirmed": way})
    first.receive(queue.confirmation(revision=1, previous=0))
    first.after(1)
    first.store.__exit__()
    second = table()
    second.now = first.now
    second.after(20)
    assert [(word, data["reason"], data["note"]) for word, data in second.replies()] == [
        ("returned", "地址不清", "补门牌号")
    ]


@pytest.mark.parametrize(
    ("rule", "place", "reason"),
    [
        ({"when_confirmed": ["acepted"]}, "cases.0.when_confirmed.0", "acepted"),
        ({"when_confirmed": ["reported"]}, "cases.0.when_confirmed.0", "no step"),
        ({"when_confirmed": ["confirmed"]}, "cases.0", "when_reported"),
        (
            {"when_confirmed": [{"say": "closed", "after_s": -1}]},
            "cases.0.when_confirmed.0.after_s",
            "greater",
        ),
        (
            {"when_confirmed": [{"say": "closed", "colour": 1}]},
            "cases.0.when_confirmed.0.colour",
            "not permitted",
        ),
        ({"receipt": "merged"}, "cases.0", "one needs the other"),
        ({"case": "HW-1"}, "cases.0", "one needs the other"),
        ({"receipt": "lost"}, "cases.0.receipt", "stored"),
        ({"units": UNITS[1:]}, "cases.0", "one of the units leads"),
        ({"match": {"kind": ["fire"]}}, "cases.0.match", "valid"),
    ],
)
def test_a_mistake_in_a_script_is_named_with_its_place(write_script, rule, place, reason):
    """One sentence with the file, where in it, and what is wrong."""
    file = write_script(rule)
    with pytest.raises(InputError, match=reason) as raised:
        load_script(file)
    assert str(raised.value).startswith(f"{file}: {place}")


@pytest.mark.parametrize("text", ["cases: [", "- a", "\x00", "cases: []\nmore: 1"])
def test_what_is_no_script_is_refused(tmp_path, text):
    """A file of another shape is an input error that names the file."""
    file = tmp_path / "script.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"script\.yaml"):
        load_script(file)
    with pytest.raises(InputError, match="cannot be read"):
        load_script(tmp_path / "nowhere.yaml")
