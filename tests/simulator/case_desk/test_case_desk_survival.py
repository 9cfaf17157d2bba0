# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the case desk survives: gaps, crashes, company, a Redis that is away or forgot; and how it ends."""

import json
import signal
import subprocess
import sys
import time

from gridwatch.simulator.case_desk.book import CaseBook, Rules
from gridwatch.simulator.case_desk.store import CaseStore
from gridwatch.simulator.case_desk.wire import parse_message

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


def test_gap_is_waited_for_and_then_filled(queue, options):
    """A message whose predecessor is missing is stored and takes effect when the predecessor comes."""
    with queue.running(options(gap_wait_s=60)):
        queue.send(queue.entry(), queue.dismissal(revision=3, previous=2))
        queue.until(lambda: len(queue.outcomes()) == 2)
        assert "revision 2" in queue.replies()[-1][1]["note"]
        time.sleep(0.1)
        assert "voided" not in queue.words()
        queue.send(queue.entry(revision=2, previous=1, what="updated"))
        queue.until(lambda: "voided" in queue.words())
    assert queue.words() == ["reported", "reported", "reported", "voided"]
    assert queue.outcomes() == ["stored"] * 3


def test_gap_that_never_fills_is_passed_over(queue, options):
    """After the wait the later message takes effect; the earlier one is then answered duplicate."""
    with queue.running(options(gap_wait_s=0.2)):
        queue.send(queue.confirmation(revision=3, previous=2))
        queue.until(lambda: queue.words()[-1:] == ["closed"])
        queue.send(queue.dismissal(revision=2, previous=1))
        queue.until(lambda: len(queue.outcomes()) == 2)
    assert queue.outcomes() == ["stored", "duplicate"]
    assert "voided" not in queue.words()


def test_unfinished_entries_of_a_dead_desk_are_taken_over(queue, options):
    """An entry that a dead consumer read and never acknowledged is answered by the desk that lives."""
    queue.send(queue.entry())
    queue.client.xgroup_create(queue.CASES, "case-desk", id="0")
    queue.client.xreadgroup("case-desk", "dead", {queue.CASES: ">"})
    with queue.running(options()):
        queue.until(lambda: queue.outcomes() == ["stored"])
        queue.until(lambda: queue.pending() == 0)


def test_own_unfinished_entries_come_first(queue, options):
    """A desk that comes back under its old name finishes at once what it had read and not acknowledged."""
    queue.send(queue.entry())
    queue.client.xgroup_create(queue.CASES, "case-desk", id="0")
    queue.client.xreadgroup("case-desk", "me", {queue.CASES: ">"})
    with queue.running(options(consumer="me", claim_idle_s=60)):
        queue.until(lambda: queue.outcomes() == ["stored"])
        queue.until(lambda: queue.pending() == 0)


def test_two_desks_share_the_work_and_double_nothing(queue, options):
    """Two desks of a group answer each message once, in each case's order, and open one case per incident."""
    incidents = [f"i{number}" for number in range(25)]
    with (
        queue.running(options(consumer="a", claim_idle_s=60)),
        queue.running(options(consumer="b", claim_idle_s=60)),
    ):
        for incident in incidents:
            queue.send(queue.entry(incident), queue.confirmation(incident))
        queue.until(lambda: all(queue.words(i)[-1:] == ["closed"] for i in incidents), 20)
    for incident in incidents:
        said = queue.replies(incident)
        assert sorted(word for word, _ in said) == sorted(["reported", *ALL_STEPS])
        assert [data["case_revision"] for _, data in said] == list(range(1, 11))


def test_a_queue_that_was_emptied_is_joined_again(queue, options):
    """When Redis lost the stream and its group the desk makes the group anew and answers what comes."""
    with queue.running(options()):
        queue.send(queue.entry())
        queue.until(queue.words)
        queue.client.flushall()
        queue.send(queue.entry("i2"))
        queue.until(lambda: queue.outcomes("i2") == ["stored"])


def test_steps_go_on_while_redis_is_away(second_valkey, queue, options, capsys):
    """With Redis gone the case goes on in its own time; when it is back all replies come, in order."""
    url, start = second_valkey
    with queue.running(options(redis_url=url, quiet=False, step_s=0.3)):
        with start() as before:
            before.send(queue.entry(), queue.confirmation())
            queue.until(lambda: "accepted" in before.words())
        queue.until(lambda: "结案" in capsys.readouterr().out, 6)
        with start() as after:
            queue.until(lambda: after.words()[-1:] == ["closed"])
            queue.until(lambda: "Redis answers again" in capsys.readouterr().out)
            unique = {fields["id"]: fields["type"] for _, fields in after.client.xrange(queue.REPLIES)}
    assert [kind.split(".")[3] for kind in unique.values()] == ["reported", *ALL_STEPS]


def test_oldest_messages_are_forgotten(queue, options):
    """The memory of seen messages is bounded; what is still on its way stays."""

    def message(fields):
        return parse_message({name.encode(): value.encode() for name, value in fields.items()})

    rules = Rules(source="urn:x", step_s=60, gap_wait_s=60, accept_exercise=False)
    with CaseStore(options().state) as store:
        book = CaseBook(store, rules, time.time, lambda _line: None)
        book.receive(message(queue.confirmation("open", 1, 0)))
        for number in range(30):
            book.receive(message(queue.entry(f"i{number}")))
        store.forget_oldest(10)
        known = [store.file_of(queue.entry()["source"], f"i{number}") is not None for number in range(30)]
        assert known == [False] * 20 + [True] * 10
        assert store.file_of(queue.entry()["source"], "open") is not None


def program(options):
    values = {name: getattr(options, name) for name in ("redis_url", "step_s", "claim_idle_s", "with_parent")}
    code = (
        "from pathlib import Path\n"
        "from gridwatch.simulator.case_desk import CaseDeskOptions, run_case_desk\n"
        f"run_case_desk(CaseDeskOptions(state=Path({str(options.state)!r}), **{values!r}))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_killed_in_the_middle_of_a_case_it_goes_on_after_a_restart(queue, options):
    """After kill -9 a new desk on the same state file finishes the case; what is sent again is the very same reply."""
    settings = options(step_s=0.15)
    with program(settings) as desk:
        queue.send(queue.entry(), queue.confirmation())
        queue.until(lambda: "dispatched" in queue.words())
        desk.kill()
    assert "closed" not in queue.words()
    with queue.running(settings):
        queue.until(lambda: queue.words()[-1] == "closed")
    sent = [fields for _, fields in queue.client.xrange(queue.REPLIES)]
    by_id = {fields["id"]: fields for fields in sent}
    assert [fields for fields in sent if by_id[fields["id"]] != fields] == []
    data = [json.loads(fields["data"]) for fields in by_id.values()]
    assert [one["case_revision"] for one in data] == list(range(1, len(data) + 1))
    words = [fields["type"].split(".")[3] for fields in by_id.values()]
    receipts = [one for one in data if one.get("outcome") == "duplicate"]
    assert len(words) - len(receipts) == len(["reported", *ALL_STEPS])
    assert [word for word in words if word != "reported"] == ALL_STEPS[1:]


def test_it_ends_cleanly_on_sigterm_and_says_what_it_did(queue, options):
    """SIGTERM ends the program with status 0; its lines name the case in Chinese and English."""
    with program(options()) as desk:
        queue.send(queue.entry())
        queue.until(queue.words)
        desk.send_signal(signal.SIGTERM)
        output, _ = desk.communicate(timeout=10)
    assert desk.returncode == 0
    assert "收到 疑似烟雾 i1:1 stored" in output
    assert queue.client.xinfo_consumers(queue.CASES, "case-desk") == []


def test_it_ends_with_its_parent(queue, options):
    """With with_parent the end of standard input ends the program with status 0."""
    with program(options(with_parent=True)) as desk:
        queue.send(queue.entry())
        queue.until(queue.words)
        desk.stdin.close()
        assert desk.wait(10) == 0
