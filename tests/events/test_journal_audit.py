# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit names the first row that was changed, removed or inserted; against a copy, a chain rewritten as a whole."""

import json
from dataclasses import asdict, replace

import pytest
from sqlalchemy import delete, insert, select, update

from events.audit import Copy, Flaw, verify
from events.journal import GENESIS, digest, hash_of
from events.stores.schema import COUNTER, EPOCHS, JOURNAL
from events.stores.writing import Entry
from gridwatch.core.finding import Stage

ROWS = 8


@pytest.fixture
def store(room):
    """A journal of eight rows, every second one a message."""
    with room.store.write() as tx:
        for number in range(1, ROWS + 1):
            message_id = f"inc-{number}:1" if number % 2 == 0 else None
            tx.append(entry(room.clock, number, message_id))
    return room.store


def entry(clock, number, message_id=None):
    payload = {"text": "疑似明火", "n": number}
    return Entry(
        incident_id=f"inc-{number}",
        revision=1,
        kind="opened",
        actor="machine",
        at=clock.now(),
        payload=payload,
        message_id=message_id,
    )


class Forger:
    """Somebody with the database's password."""

    def __init__(self, store):
        self._store = store

    def run(self, *statements):
        with self._store.write() as tx:  # committed; the counter moves only where a row was appended
            for statement in statements:
                tx._connection.execute(statement)

    def rows(self, condition=None):
        found = select(JOURNAL).order_by(JOURNAL.c.seq)
        with self._store.read() as connection:
            found = found if condition is None else found.where(condition)
            return [dict(row) for row in connection.execute(found).mappings()]

    def change(self, seq, /, **values):
        self.run(update(JOURNAL).where(JOURNAL.c.seq == seq).values(values))

    def remove(self, *seqs):
        self.run(delete(JOURNAL).where(JOURNAL.c.seq.in_(seqs)))

    def renumber(self, seqs, by):
        for seq in sorted(seqs, reverse=by > 0):
            self.change(seq, seq=seq + by)

    def rewrite(self, first, until=ROWS, **first_values):
        """Change a row and hash it and what follows anew, as one who knows how the chain is made; the counter too."""
        rows = self.rows()
        before = rows[first - 2]["row_hash"] if first > 1 else GENESIS
        for row in rows[first - 1 : until]:
            row.update(first_values if row["seq"] == first else {})
            row["payload_hash"] = digest(json.loads(row["payload"]))
            row["prev_hash"] = before
            before = row["row_hash"] = hash_of(row)
            self.change(row["seq"], **row)
        if until == ROWS:
            self.run(update(COUNTER).values(last_hash=before))


@pytest.fixture
def forger(store):
    return Forger(store)


def copies_of(store):
    rows = Forger(store).rows(JOURNAL.c.message_id.is_not(None))
    return [
        Copy("urn:gridwatch:1", row["message_id"], store.epoch, row["seq"], row["row_hash"]) for row in rows
    ]


def told(store, copies=()):
    findings = verify(store, copies)
    return findings.flaw, findings.seq


def test_a_sound_journal_is_told_as_one(store):
    """Rows, messages and copies are counted; nothing is wrong."""
    findings = verify(store, copies_of(store))
    assert not findings
    assert (findings.rows, findings.emptied, findings.copies) == (ROWS, 0, ROWS // 2)
    assert "8 rows" in str(findings)


def test_an_empty_journal_is_sound(room):
    """Before anything was recorded there is nothing to say against it."""
    assert not verify(room.store)


def test_a_real_life_is_sound(room, kit):
    """What the book writes itself is one chain, read in several pages."""
    alert = room.opened()
    for _ in range(3):
        room.book.camera_lost(alert.camera_id, "dark")
        room.says(Stage.UPDATED)
    room.again()
    findings = verify(room.store)
    assert (bool(findings), findings.rows) == (False, room.reader.last_seq())


@pytest.mark.parametrize(
    "values",
    [
        {"actor": "operator:x"},
        {"at": "2026-11-26T02:00:00.000000Z"},
        {"at": "yesterday"},
        {"revision": 2},
        {"kind": "ended"},
        {"incident_id": "inc-9"},
        {"message_id": "inc-9:1"},
        {"payload": '{"n":5,"text":"没有明火"}'},
        {"payload": '{"n": 5, "text": "疑似明火"}'},
        {"payload_hash": "0" * 64},
    ],
    ids="-".join,
)
def test_a_changed_row_is_named(store, forger, values):
    """Whatever field somebody edits, that row is the one that is named."""
    forger.change(5, **values)
    assert told(store) == (Flaw.CHANGED, 5)


@pytest.mark.parametrize("page", [1, 2, 3])
def test_the_first_of_several_is_named(store, forger, page, monkeypatch):
    """With two rows changed the earlier one is told, wherever the pages begin."""
    monkeypatch.setattr("events.audit.PAGE", page)
    forger.change(7, actor="operator:x")
    forger.change(3, actor="operator:x")
    assert told(store) == (Flaw.CHANGED, 3)


def test_a_changed_row_with_a_hash_of_its_own_is_named(store, forger):
    """Hashing the changed row anew breaks the link of the next one; it is the changed one that is named."""
    forger.rewrite(4, until=4, actor="operator:x")
    assert told(store) == (Flaw.CHANGED, 4)


def test_the_last_row_changed_with_its_hash_is_named(store, forger):
    """The counter keeps the hash of the newest row: that one cannot be changed alone either."""
    forger.rewrite(ROWS, until=ROWS - 1)
    row = forger.rows()[-1] | {"actor": "operator:x"}
    forger.change(ROWS, **row | {"row_hash": hash_of(row)})
    assert told(store) == (Flaw.CHANGED, ROWS)


@pytest.mark.parametrize(("gone", "named"), [((1,), 1), ((4,), 4), ((4, 5, 6), 4), ((8,), 8), ((7, 8), 7)])
def test_removed_rows_are_named(store, forger, gone, named):
    """At the beginning, in the middle and at the end."""
    forger.remove(*gone)
    assert told(store) == (Flaw.REMOVED, named)


def test_all_rows_removed_is_told(store, forger):
    """An empty table beside a counter that stands at 8."""
    forger.remove(*range(1, ROWS + 1))
    assert told(store) == (Flaw.REMOVED, 1)


@pytest.mark.parametrize("gone", [(1,), (4,), (4, 5)])
def test_removed_rows_are_named_though_the_rest_was_renumbered(store, forger, gone):
    """Closing the gap does not hide it: the number is part of each row's hash."""
    forger.remove(*gone)
    forger.renumber(range(gone[-1] + 1, ROWS + 1), -len(gone))
    forger.run(update(COUNTER).values(seq=ROWS - len(gone)))
    assert told(store) == (Flaw.REMOVED, gone[0])


@pytest.mark.parametrize("at", [1, 5, 8])
@pytest.mark.parametrize("hashed", [True, False])
def test_an_inserted_row_is_named(store, forger, at, hashed):
    """A row pushed in between, with or without sound hashes of its own, while the others were moved up."""
    before = forger.rows()[at - 2]["row_hash"] if at > 1 else GENESIS
    forger.renumber(range(at, ROWS + 1), 1)
    row = forger.rows()[-1] | {"seq": at, "incident_id": "inc-x", "message_id": None, "prev_hash": before}
    row["row_hash"] = hash_of(row) if hashed else "ab" * 32
    forger.run(insert(JOURNAL).values(row), update(COUNTER).values(seq=ROWS + 1))
    assert told(store) == (Flaw.INSERTED, at)


def test_a_row_added_at_the_end_is_named(store, forger):
    """One row more than the counter knows of, with hashes that fit."""
    last = forger.rows()[-1]
    row = last | {"seq": ROWS + 1, "message_id": None, "prev_hash": last["row_hash"]}
    forger.run(insert(JOURNAL).values(row | {"row_hash": hash_of(row)}))
    assert told(store) == (Flaw.INSERTED, ROWS + 1)


def test_a_payload_that_retention_deleted_keeps_the_chain(store, forger):
    """The payload's hash stands for it; how many are gone is told."""
    forger.change(3, payload=None)
    forger.change(4, payload=None)
    findings = verify(store, copies_of(store))
    assert (bool(findings), findings.emptied) == (False, 2)


@pytest.mark.parametrize("first", [1, 3, 6, 8])
def test_a_chain_rewritten_as_a_whole_shows_only_against_the_copy(store, forger, first):
    """Everything from some row on hashed anew: the chain is sound, but the next message has another hash outside."""
    copies = copies_of(store)
    forger.rewrite(first, actor="operator:x")
    assert not verify(store)
    assert told(store, copies) == (Flaw.CHANGED, first + first % 2)


def test_a_journal_cut_off_with_its_counter_shows_only_against_the_copy(store, forger):
    """The newest rows removed and the counter set back: the case system holds messages of rows that are not here."""
    copies, kept = copies_of(store), forger.rows()[4]
    forger.remove(6, 7, 8)
    forger.run(update(COUNTER).values(seq=5, last_hash=kept["row_hash"]))
    assert not verify(store)
    assert told(store, copies) == (Flaw.REMOVED, 6)


def test_a_row_that_stands_for_another_message_is_named(store):
    """A copy that names the row under another id."""
    first, second, *_ = copies_of(store)
    assert told(store, [second, replace(first, id="inc-9:1")]) == (Flaw.CHANGED, first.journalseq)


def test_the_earlier_of_chain_and_copy_is_told(store, forger):
    """A broken chain and a copy that disagrees earlier: the earlier row is named, whichever says so."""
    copies = copies_of(store)
    forger.rewrite(2, until=6, actor="operator:x")
    assert told(store) == (Flaw.CHANGED, 6)
    assert told(store, copies) == (Flaw.CHANGED, 2)
    assert told(store, copies[-1:]) == (Flaw.CHANGED, 6)


def test_copies_of_another_journal_say_nothing_of_this_one(store):
    """The stream is shared: another gridwatch's messages are counted and passed over."""
    foreign = replace(copies_of(store)[0], source="urn:gridwatch:2", journalepoch="0123456789abcdef")
    findings = verify(store, [replace(foreign, journalhash="f" * 64)], source="urn:gridwatch:1")
    assert (bool(findings), findings.copies, findings.foreign) == (False, 0, 1)


def rename_epoch(forger, to):
    """Whoever rewrites a journal names its epoch anew, wherever the database holds it."""
    forger.run(update(COUNTER).values(epoch=to), update(EPOCHS).values(epoch=to))


def test_a_chain_rewritten_together_with_its_epoch_shows_against_the_copy(store, forger):
    """Copies of the configured source that are of no epoch of this journal are a flaw, the earliest is named."""
    copies = copies_of(store)
    forger.rewrite(1, actor="operator:x")
    rename_epoch(forger, "0123456789abcdef")
    assert not verify(store, source="urn:gridwatch:1")
    findings = verify(store, copies[::-1], source="urn:gridwatch:1")
    assert (findings.flaw, findings.seq, findings.foreign) == (Flaw.REPLACED, 2, 0)
    assert "row 2 was replaced: the case system holds inc-2:1" in str(findings)


def test_every_source_that_the_journal_speaks_under_is_ours(room, kit):
    """A message's own source counts, whatever is configured now."""
    room.opened()
    copies = copies_of(room.store)
    rename_epoch(Forger(room.store), "0123456789abcdef")
    copies = [replace(one, source=room.policy.source) for one in copies]
    assert told(room.store, copies) == (Flaw.REPLACED, 1)


def test_a_table_of_epochs_explains_nothing_that_no_row_says(store, forger, clock):
    """A restore is believed by its row: an epoch added by hand, or one that goes on from elsewhere, takes no copy out."""
    copies, old = copies_of(store), store.epoch
    forger.rewrite(1, actor="operator:x")
    rename_epoch(forger, "0123456789abcdef")
    forger.run(
        update(EPOCHS).values(follows=old, followed_until=0),
        insert(EPOCHS).values(epoch=old, first_seq=1),
    )
    assert verify(store, copies, source="urn:gridwatch:1").flaw is Flaw.REPLACED


def test_a_restore_whose_table_says_more_than_its_row_is_not_believed(store, forger, clock):
    """Copies of rows that the backup held cannot be called lost by changing the table."""
    copies, old = copies_of(store), store.epoch
    restore(store, clock, old, ROWS, 20)
    assert not verify(store, copies, source="urn:gridwatch:1")
    forger.run(update(EPOCHS).where(EPOCHS.c.first_seq == 20).values(followed_until=1))
    findings = verify(store, copies, source="urn:gridwatch:1")
    assert (findings.flaw, findings.seq) == (Flaw.REPLACED, 2)


def test_many_copies_are_compared_in_parts(store, monkeypatch):
    """However many there are, in any order and more than once, each is compared."""
    monkeypatch.setattr("events.audit.COPIES_AT_A_TIME", 3)
    copies = copies_of(store)
    wrong = replace(copies[1], journalhash="f" * 64)
    assert verify(store, iter(copies[::-1] * 5)).copies == 20
    assert told(store, [*copies, *copies, wrong, *copies]) == (Flaw.CHANGED, 4)


def restore(store, clock, follows, until, first_seq):
    """Go on as a restored store does: numbers above what the stream showed, in an epoch of their own."""
    epoch = {"epoch": "feed" * 4, "first_seq": first_seq, "follows": follows, "followed_until": until}
    with store.write() as tx:
        tx._connection.execute(insert(EPOCHS).values(epoch))
        tx._connection.execute(update(COUNTER).values(epoch=epoch["epoch"]))
        tx._seq = first_seq - 1
        payload = {name: epoch[name] for name in ("epoch", "follows", "followed_until")}
        begun = {"incident_id": "", "revision": 0, "kind": "restored", "actor": "machine"}
        tx.append(Entry(**begun, at=clock.now(), payload=payload))
        tx.append(entry(clock, 21, "inc-21:1"))


def test_numbers_go_on_higher_after_a_restore(store, clock):
    """The gap before the row of a restore is no removal; copies of what came after the backup say nothing of this journal."""
    old = copies_of(store)
    restore(store, clock, store.epoch, ROWS, 20)
    lost = replace(old[0], journalseq=12, id="inc-12:1")
    new = replace(copies_of(store)[-1], journalepoch="feed" * 4)
    findings = verify(store, [*old, lost, new])
    assert not findings
    assert (findings.copies, findings.left_behind, findings.rows) == (len(old) + 1, 1, ROWS + 2)
    assert told(store, [replace(new, journalhash="f" * 64)]) == (Flaw.CHANGED, 21)


def test_a_gap_is_a_removal_all_the_same_where_no_restore_left_it(store, forger, clock):
    """Neither a row that calls itself restored, nor a restore that goes on from elsewhere, hides what is missing."""
    restore(store, clock, store.epoch, ROWS, 20)
    forger.remove(7, 8)
    assert told(store) == (Flaw.REMOVED, 7)
    forger.run(update(EPOCHS).where(EPOCHS.c.first_seq == 20).values(followed_until=6))
    assert told(store) == (Flaw.REMOVED, 7)  # the row says another number


def test_a_restore_without_its_epoch_is_no_explanation(store, forger, clock):
    """Numbers may jump only where the table of epochs says so."""
    restore(store, clock, store.epoch, ROWS, 20)
    forger.run(delete(EPOCHS).where(EPOCHS.c.first_seq == 20))
    assert told(store) == (Flaw.REMOVED, 9)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"journalseq": "x"},
        {"journalseq": "-1"},
        {"journalseq": "٣"},
        {"journalseq": "9" * 30},
        {"journalhash": ""},
        {"id": None},
        {"source": 7},
    ],
    ids=str,
)
def test_what_is_no_message_is_no_copy(store, fields):
    """Entries of other producers, and lines without what anchors the chain."""
    good = {name: str(value) for name, value in asdict(copies_of(store)[0]).items()}
    assert Copy.of(good) == copies_of(store)[0]
    assert Copy.of(fields and {**good, **fields}) is None


def test_progress_is_told(store, monkeypatch):
    """Whoever waits for a million rows sees how far it is."""
    monkeypatch.setattr("events.audit.PAGE", 3)
    seen = []
    verify(store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 8), (6, 8), (8, 8)]


def test_rows_recorded_meanwhile_are_no_flaw(store, clock, monkeypatch):
    """The journal goes on while it is checked: what came after the beginning is left for the next time."""
    monkeypatch.setattr("events.audit.PAGE", 3)

    def record(done, _total):
        with store.write() as tx:
            tx.append(entry(clock, 100 + done))

    findings = verify(store, progress=record)
    assert (bool(findings), findings.rows) == (False, ROWS)
