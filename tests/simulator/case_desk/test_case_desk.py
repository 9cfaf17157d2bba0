# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the case desk answers, against a real Valkey: receipts, cases, doubles, conflicts, dismissals, exercises."""

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk import run_case_desk

ALL_STEPS = [
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


def test_confirmed_incident_goes_the_whole_way_to_closed(queue, options):
    """An opened message gets a receipt only; after its confirmation the case goes step by step to closed."""
    with queue.running(options()):
        queue.send(queue.entry())
        queue.until(queue.words)
        time.sleep(0.1)
        assert queue.words() == ["reported"]
        queue.send(queue.confirmation())
        queue.until(lambda: queue.words()[-1] == "closed")
    said = queue.replies()
    assert [word for word, _ in said] == ["reported", *ALL_STEPS]
    assert len({data["case_id"] for _, data in said}) == 1
    assert [data["case_revision"] for _, data in said] == list(range(1, 11))
    by_word = {(word, data.get("role")): data for word, data in said}
    assert by_word["accepted", None]["answers"] == "i1:2"
    assert by_word["dispatched", "lead"]["unit"]["name"] == "消防救援大队"
    assert by_word["signed", "assist"]["unit"]["code"] == "510117004003012"
    assert queue.pending() == 0


def test_replies_are_cloudevents_as_the_contract_says(queue, options):
    """Each reply carries the attributes of docs/case-queue.md, its own id, and times with +08:00."""
    with queue.running(options()):
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: queue.words()[-1:] == ["closed"])
    entries = [fields for _, fields in queue.client.xrange(queue.REPLIES)]
    names = {
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "data",
        "destination",
    }
    assert all(set(fields) == names for fields in entries)
    assert len({fields["id"] for fields in entries}) == len(entries)
    assert {(fields["source"], fields["destination"]) for fields in entries} == {
        ("urn:case-desk:demo", queue.entry()["source"])
    }
    assert all(fields["time"].endswith("+08:00") and len(fields["time"]) == 29 for fields in entries)


def test_resent_messages_are_answered_and_change_nothing(queue, options):
    """The same messages again get a duplicate receipt with the same case id; no second case is opened."""
    with queue.running(options()):
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: queue.words()[-1:] == ["closed"])
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: len(queue.outcomes()) == 4)
    assert queue.outcomes() == ["stored", "stored", "duplicate", "duplicate"]
    assert Counter(queue.words())["accepted"] == 1
    assert len({data["case_id"] for _, data in queue.replies()}) == 1


def test_new_facts_after_closing_open_nothing(queue, options):
    """A later revision of a closed case that is still confirmed gets its receipt and nothing else."""
    with queue.running(options()):
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: queue.words()[-1:] == ["closed"])
        queue.send(queue.entry(revision=3, previous=2, what="ended", decision="confirmed", activity="ended"))
        queue.until(lambda: len(queue.outcomes()) == 3)
        time.sleep(0.1)
    assert queue.words() == ["reported", *ALL_STEPS, "reported"]


def test_same_id_with_other_content_is_a_conflict_and_overwrites_nothing(queue, options):
    """A known id with other bytes is answered conflict; the first content stays in force."""
    with queue.running(options()):
        queue.send(
            queue.entry(),
            queue.confirmation(dept_hint_name="交警大队"),
            queue.confirmation(dept_hint_name="城管局"),
        )
        queue.until(lambda: queue.words()[-1:] == ["closed"])
        queue.send(queue.confirmation(dept_hint_name="交警大队"))
        queue.until(lambda: len(queue.outcomes()) == 4)
    assert queue.outcomes() == ["stored", "stored", "conflict", "duplicate"]
    units = {data["unit"]["name"] for _, data in queue.replies() if data.get("role") == "lead"}
    assert units == {"交警大队"}


def test_dismissal_voids_what_was_only_reported(queue, options):
    """A dismissed incident that never became a case is answered voided, once."""
    with queue.running(options()):
        queue.send(queue.entry(), queue.dismissal(), queue.dismissal(revision=3, previous=2))
        queue.until(lambda: len(queue.outcomes()) == 3)
    assert queue.words() == ["reported", "reported", "voided", "reported"]


def test_dismissal_stops_a_case_on_its_way_and_a_new_confirmation_reopens_it(queue, options):
    """After a dismissal no step follows; when it is confirmed again the same case is reopened and closes."""
    with queue.running(options(step_s=0.1)):
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: "accepted" in queue.words())
        queue.send(queue.dismissal(revision=3, previous=2))
        queue.until(lambda: "voided" in queue.words())
        time.sleep(0.3)
        assert queue.words()[-1] == "voided"
        assert "closed" not in queue.words()
        queue.send(queue.confirmation(revision=4, previous=3))
        queue.until(lambda: queue.words()[-1] == "closed")
    after = queue.words()[queue.words().index("voided") + 1 :]
    assert after[:2] == ["reported", "reopened"]
    assert len({data["case_id"] for _, data in queue.replies()}) == 1


def test_dismissal_after_closing_changes_nothing(queue, options):
    """A closed case is archived: a later dismissal gets its receipt only."""
    with queue.running(options()):
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: queue.words()[-1:] == ["closed"])
        queue.send(queue.dismissal(revision=3, previous=2))
        queue.until(lambda: len(queue.outcomes()) == 3)
    assert queue.words() == ["reported", *ALL_STEPS, "reported"]


def test_merged_incident_is_voided_with_the_place_it_went_to(queue, options):
    """A voided message ends the case and the reply names the incident that goes on."""
    with queue.running(options()):
        queue.send(queue.entry(), queue.entry(revision=2, previous=1, what="voided", merged_into="i9"))
        queue.until(lambda: "voided" in queue.words())
    assert "i9" in queue.replies()[-1][1]["reason"]


def test_exercise_opens_no_case_unless_asked(queue, options, tmp_path):
    """A confirmed exercise gets receipts only; with accept_exercise it goes the whole way."""
    with queue.running(options()):
        queue.send(queue.entry(run_mode="exercise"), queue.confirmation(run_mode="exercise"))
        queue.until(lambda: len(queue.outcomes()) == 2)
        time.sleep(0.1)
    assert queue.words() == ["reported", "reported"]
    queue.client.flushall()
    with queue.running(options(accept_exercise=True, state=tmp_path / "other.sqlite")):
        queue.send(queue.entry(run_mode="exercise"), queue.confirmation(run_mode="exercise"))
        queue.until(lambda: queue.words()[-1:] == ["closed"])


def test_unknown_run_mode_is_rejected(queue, options):
    """A run mode that nobody agreed on opens nothing and is answered rejected with the reason."""
    with queue.running(options()):
        queue.send(queue.confirmation(revision=1, previous=0, run_mode="rehearsal"))
        queue.until(lambda: "rejected" in queue.words())
    assert queue.words() == ["reported", "rejected"]
    assert "rehearsal" in queue.replies()[-1][1]["reason"]


def test_other_producers_and_broken_entries_do_not_stop_the_desk(queue, options, capsys):
    """Foreign entries are passed over, broken ones named, both acknowledged; the next message is answered."""
    broken = queue.entry("i2") | {"data": "{"}
    with queue.running(options(quiet=False)):
        queue.send({"type": "cn.fieldapp.report.v1", "id": "x"}, broken, queue.entry())
        queue.until(queue.words)
        queue.until(lambda: queue.pending() == 0)
    assert queue.words("i2") == []
    assert "data is not JSON" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"redis_url": "http://x"}, {"step_s": -1.0}, {"keep_messages": 0}])
def test_unusable_options_are_one_clear_sentence(options, changes):
    """An option that cannot be used is an input error, without the URL in it."""
    with pytest.raises(InputError, match="must"):
        run_case_desk(options(**changes), threading.Event())


def test_a_state_file_that_is_something_else_is_refused(options, tmp_path):
    """A file that is no state of the desk is named and left as it is."""
    path = Path(tmp_path / "desk.sqlite")
    path.write_text("not a database, but long enough to be read as a header of one\n" * 20)
    with pytest.raises(InputError, match=r"desk\.sqlite"):
        run_case_desk(options(), threading.Event())
    assert path.read_text().startswith("not a database")
