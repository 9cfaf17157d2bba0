# SPDX-License-Identifier: AGPL-3.0-or-later
"""The proof that nothing is lost: its short form over real processes, and a count that notices each kind of loss."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SOURCE = "urn:gridwatch:51011700005020000001"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """Have the benchmark's own modules at hand, as its script has."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "no_loss"]:
        del sys.modules[name]


def rounds(*options):
    """Run the benchmark and return its last line."""
    command = [sys.executable, str(BENCHMARKS / "no_loss.py"), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = ended.stdout.splitlines()
    assert lines, f"the benchmark ended with {ended.returncode} and printed nothing:\n{ended.stderr[-4000:]}"
    assert lines[-1].startswith("{"), ended.stdout[-4000:] + ended.stderr[-4000:]
    figures = json.loads(lines[-1])
    problems = {name: figures[name] for name in ("lost", "doubled", "out_of_order", "strange", "broken_rows")}
    assert (ended.returncode, figures["stalled"], problems) == (0, "", dict.fromkeys(problems, 0)), figures
    return figures


@pytest.mark.timeout(400)
def test_nothing_is_lost_while_processes_and_servers_fail(tmp_path):
    """A few rounds on SQLite, with an older queue and a full disk; the kept files give the same count by themselves."""
    figures = rounds("--rounds", "5", "--seed", "11", "--keep", str(tmp_path / "kept"))
    assert figures["rounds"] == 5
    assert figures["faults"]["redis_older"] >= 1
    assert figures["faults"]["disk_full"] >= 1
    assert figures["messages"] == figures["consumer"] > 20
    recount = [sys.executable, str(BENCHMARKS / "no_loss" / "recount.py"), str(tmp_path / "kept")]
    counted = subprocess.run(recount, capture_output=True, text=True, check=True, env={"PATH": os.defpath})
    assert json.loads(counted.stdout)["lost"] == 0
    names = {file.name for file in (tmp_path / "kept").iterdir()}
    assert {"journal.jsonl", "stream.jsonl", "consumer.jsonl"} <= names
    (first, *_) = (tmp_path / "kept" / "journal.jsonl").read_text().splitlines()
    assert list(json.loads(first)) == ["seq", "incident_id", "revision", "message_id"]


@pytest.mark.timeout(400)
def test_nothing_is_lost_on_postgresql(postgresql):
    """A few rounds on PostgreSQL, whose disk is full too."""
    figures = rounds("--rounds", "4", "--seed", "12", "--database", "postgresql")
    assert figures["faults"]["disk_full"] >= 1
    assert figures["messages"] == figures["consumer"] > 10


def kept():
    """Three messages of two incidents, and a row that is none, everywhere as they should be."""
    from no_loss.recount import Kept

    journal = [("a", 1, "a:1"), ("b", 1, "b:1"), ("a", 1, None), ("a", 2, "a:2")]
    stream = [("a:1", 0), ("b:1", 0), ("a:2", 1)]
    return Kept(
        journal=[
            {"seq": seq, "incident_id": incident, "revision": revision, "message_id": message}
            for seq, (incident, revision, message) in enumerate(journal, start=1)
        ],
        stream=[
            {"entry": f"{number}-0", "source": SOURCE, "id": id_, "previous": str(previous), "sha256": id_}
            for number, (id_, previous) in enumerate(stream)
        ],
        consumer=[{"id": id_, "sha256": id_} for id_, _ in stream],
        acknowledged=[{"incident_id": "a", "revision": 2}],
        replies=[{"id": "AJ-1:1"}, {"id": "AJ-1:2"}],
        answers=[{"seq": 3, "id": "AJ-1:1"}, {"seq": 5, "id": "AJ-1:2"}],
    )


def count(files):
    from no_loss.recount import recount

    found = recount(files)
    return found.lost, found.doubled, found.out_of_order, found.strange


def test_a_clean_run_counts_nothing():
    """Others' entries between ours are nobody's loss."""
    files = kept()
    other = {"entry": "9-0", "source": "urn:other", "id": "note:1", "previous": "", "sha256": "x"}
    assert count(replace(files, stream=[other, *files.stream, other])) == (0, 0, 0, 0)


@pytest.mark.parametrize("place", ["stream", "consumer"])
def test_what_is_missing_doubled_or_late_is_counted_where_it_happens(place):
    """One message less, one twice, two exchanged: in the stream, and in what the case system acted on."""
    files = kept()
    first, second, third = getattr(files, place)
    late = 1 if place == "consumer" else 2  # in the stream its `previous` is wrong too
    assert count(replace(files, **{place: [first, second]}))[0] == 1
    assert count(replace(files, **{place: [first, second, third, second]}))[1] == 1
    assert count(replace(files, **{place: [third, first, second]}))[2] >= late
    assert count(replace(files, **{place: [first, third, second]}))[2] == 1


def test_a_previous_that_is_not_the_one_before_is_out_of_order():
    """Consumers judge completeness by it."""
    files = kept()
    wrong = {**files.stream[2], "previous": "0"}
    assert count(replace(files, stream=[*files.stream[:2], wrong])) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    "absent", [("journal", "stream", "consumer"), ("journal",), ("stream",), ("consumer",)]
)
def test_a_folder_without_the_files_is_no_clean_run(tmp_path, absent):
    """Where journal, stream or consumer was not kept, nothing was counted: exit code 2, and it says what is not there."""
    for name in {"journal", "stream", "consumer"} - set(absent):
        (tmp_path / f"{name}.jsonl").touch()
    command = [sys.executable, str(BENCHMARKS / "no_loss" / "recount.py"), str(tmp_path)]
    counted = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": os.defpath})
    assert (counted.returncode, counted.stdout) == (2, "")
    assert "Traceback" not in counted.stderr
    for name in absent:
        assert f"{name}.jsonl" in counted.stderr
    from no_loss.recount import Kept

    with pytest.raises(FileNotFoundError, match=f"{absent[0]}.jsonl"):
        Kept.load(tmp_path)


def test_the_ways_back_need_not_be_kept(tmp_path):
    """Journal, stream and consumer are enough for a count."""
    from no_loss.recount import Kept

    files = kept()
    for name in ("journal", "stream", "consumer"):
        lines = [json.dumps(row) + "\n" for row in getattr(files, name)]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    assert Kept.load(tmp_path) == replace(files, acknowledged=[], replies=[], answers=[])


def test_a_hole_in_the_journal_is_a_loss():
    """Rows are gapless, and what the book has acknowledged is in one of them."""
    files = kept()
    assert count(replace(files, journal=[files.journal[0], *files.journal[2:]]))[0] == 1
    assert count(replace(files, acknowledged=[{"incident_id": "c", "revision": 1}]))[0] == 1
    assert count(replace(files, journal=[*files.journal, files.journal[-1]]))[1] >= 1


def test_an_answer_that_is_missing_or_recorded_twice_is_counted():
    """The way back counts as the way there."""
    files = kept()
    assert count(replace(files, answers=files.answers[:1])) == (1, 0, 0, 0)
    assert count(replace(files, answers=[*files.answers, files.answers[0]])) == (0, 1, 0, 0)


def test_a_message_that_nobody_recorded_or_with_other_bytes_is_strange():
    """It is neither lost nor doubled, and a failure all the same."""
    files = kept()
    unknown = {"entry": "9-0", "source": SOURCE, "id": "c:1", "previous": "0", "sha256": "c:1"}
    assert count(replace(files, stream=[*files.stream, unknown])) == (0, 0, 0, 1)
    other = {**files.consumer[0], "sha256": "else"}
    assert count(replace(files, consumer=[other, *files.consumer[1:]])) == (0, 0, 0, 1)
