# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a message stream shows of one gridwatch beyond what a backup of it knows. Reads; changes nothing.

An entry is ours by its epoch, or by its source. One of our source and of an epoch that the backup has never heard of was
written by another store, and only a person can say whether that one is gone too.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from events.journal import Epoch
from events.queues.port import CaseQueue, Mark, StreamEntry

PAGE = 500
_EPOCH = re.compile(r"[0-9a-zA-Z]{1,32}")
_SEQ_MAX = 2**53 - 1
_REVISION_DIGITS = 9  # of a 32-bit number


@dataclass(frozen=True, slots=True)
class Newest:
    """The last message about one incident: where it stands in the stream, and its revision."""

    entry_id: str
    revision: int


@dataclass(slots=True)
class Shown:
    """What a stream shows.

    Attributes:
        top_seq: the highest journal row that it, or a mark beside it, names.
        later: messages that the backup does not hold.
        newest: of each incident with such a message, the last one.
        unknown: epochs of our source that the backup does not know, in order, with the first row seen of each.
        trimmed: whether messages since the backup may be gone from the stream: it begins after them.
    """

    top_seq: int = 0
    later: int = 0
    newest: dict[str, Newest] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    trimmed: bool = False


def entries(queue: CaseQueue) -> Iterator[StreamEntry]:
    """Yield every entry of the message stream, in order.

    Raises:
        QueueError: the queue does not answer.
    """
    after = ""
    while page := queue.history(after, PAGE):
        yield from page
        after = page[-1].entry_id


def held_until(epochs: Sequence[Epoch], last_seq: int) -> dict[str, int]:
    """Return, of each epoch that a journal goes on from, the last row that the journal holds.

    Args:
        epochs: of the journal, the newest last.
        last_seq: its last row.
    """
    by_name = {one.epoch: one for one in epochs}
    at, bound, held = by_name.get(epochs[-1].epoch), last_seq, dict[str, int]()
    while at is not None and at.epoch not in held:
        held[at.epoch] = bound
        bound = min(bound, at.followed_until or 0)
        at = by_name.get(at.follows or "")
    return held


def look(queue: CaseQueue, source: str, held: Mapping[str, int]) -> Shown:
    """Read a stream, and the marks of the sources in it.

    Args:
        queue: whose stream.
        source: ours, as configured now; entries of the backup's epochs are ours under any.
        held: of each epoch that the backup knows, the last row that it holds.

    Raises:
        QueueError: the queue does not answer.
    """
    shown, sources, complete = Shown(), {source: None}, False
    for entry in entries(queue):
        place = place_of(entry)
        if place is None or (place.epoch not in held and entry.fields.get("source") != source):
            continue
        sources[entry.fields.get("source", source)] = None
        _note(shown, place, held)
        if place.seq > held.get(place.epoch, -1):
            _note_later(shown, entry)
        elif not shown.later:
            complete = True  # it still has something from before the backup, and so all since
    for one in sources:
        mark = queue.mark(one)
        if mark is not None and _sane(mark) and (one == source or mark.epoch in held):
            _note(shown, mark, held)
    shown.trimmed = shown.top_seq > max(held.values()) and not complete
    return shown


def place_of(entry: StreamEntry) -> Mark | None:
    """Return the row that an entry says it is; None where it says none. The stream is shared: anything may stand there."""
    place = Mark.parse(f"{entry.fields.get('journalepoch')}:{entry.fields.get('journalseq')}")
    return place if _sane(place) else None


def _sane(place: Mark) -> bool:
    return _EPOCH.fullmatch(place.epoch) is not None and 0 <= place.seq <= _SEQ_MAX


def _note(shown: Shown, place: Mark, held: Mapping[str, int]) -> None:
    shown.top_seq = max(shown.top_seq, place.seq)
    if place.epoch not in held:
        shown.unknown.setdefault(place.epoch, max(place.seq, max(held.values()) + 1))


def incident_of(entry: StreamEntry) -> str:
    """Return which incident an entry is about, "" where its id tells none."""
    return entry.fields.get("id", "").rpartition(":")[0]


def _note_later(shown: Shown, entry: StreamEntry) -> None:
    shown.later += 1
    incident_id, number = incident_of(entry), entry.fields.get("id", "").rpartition(":")[2]
    if not incident_id or not number.isdecimal() or len(number) > _REVISION_DIGITS:
        return
    before = shown.newest.get(incident_id)
    if before is None or int(number) > before.revision:
        shown.newest[incident_id] = Newest(entry.entry_id, int(number))
