# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading the message stream from its beginning, and the answers anew: what a restore and an audit ask of a queue."""

from events.shown import PAGE, entries


def test_the_stream_is_read_whole_and_in_order(desk):
    """Page after page, whoever appended; after the last entry there is nothing."""
    for number in range(PAGE + 3):
        desk.other_producer_adds({"source": "urn:other", "id": str(number)})
    found = list(entries(desk.queue))
    assert [entry.fields["id"] for entry in found] == [str(number) for number in range(PAGE + 3)]
    assert len({entry.entry_id for entry in found}) == PAGE + 3
    assert list(desk.queue.history(found[-1].entry_id, 10)) == []
    assert [entry.fields["id"] for entry in desk.queue.history(found[1].entry_id, 2)] == ["2", "3"]


def test_a_stream_that_is_not_there_is_empty(desk):
    """Nobody has written yet, and nobody has answered."""
    assert list(entries(desk.queue)) == []
    desk.queue.reread_replies()
    assert list(desk.queue.read_replies(10, 0.01)) == []


def test_answers_are_read_anew_from_the_beginning(desk):
    """Acknowledged or not: everything that the stream still holds comes again, once, before what is new."""
    for number in range(3):
        desk.answer({"id": str(number)})
    first = desk.queue.read_replies(2, 0.01)
    desk.queue.ack([first[0].entry_id])
    desk.queue.reread_replies()
    desk.answer({"id": "3"})
    found = desk.queue.read_replies(10, 0.01)
    assert [entry.fields["id"] for entry in found] == ["0", "1", "2", "3"]
    desk.queue.ack([entry.entry_id for entry in found])
    assert list(desk.queue.read_replies(10, 0.01)) == []
    assert list(desk.queue.read_replies(10, 0.01, pending=True)) == []
