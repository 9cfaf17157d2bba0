# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counts what was lost, doubled or reordered, from files alone. Standard library only: it shares no code with the product.

Run by hand over a kept folder: `python benchmarks/no_loss/recount.py DIR`. The files are JSON lines:
`journal` (seq, incident_id, revision, message_id or null), `stream` (entry, source, id, previous, sha256), `consumer`
(id, sha256), and where they are there `acknowledged` (incident_id, revision: what the book said it had recorded),
`replies` (id: what the case system said) and `answers` (seq, id: what the journal holds of that).
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

OWN_SOURCES = "urn:gridwatch:"
SHOWN_MAX = 20


@dataclass(slots=True)
class Findings:
    """What is wrong; all zero when nothing is.

    Attributes:
        lost: recorded and not carried on: rows missing from the journal, messages not in the stream or not acted on,
            replies not recorded.
        doubled: carried more than once, at any of these places.
        out_of_order: messages that came after a later one, or whose `previous` is not the one before.
        strange: messages that no journal row is, or with other bytes than the consumer's.
        examples: the first of them, in words.
    """

    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    strange: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, what: str, number: int, words: str) -> None:
        """Count `number` of `what`, and keep the words of the first ones."""
        if number:
            setattr(self, what, getattr(self, what) + number)
            if len(self.examples) < SHOWN_MAX:
                self.examples.append(f"{what}: {words}")

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.out_of_order or self.strange)


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows of the kept files; see the module's own words."""

    journal: Sequence[dict[str, Any]]
    stream: Sequence[dict[str, Any]]
    consumer: Sequence[dict[str, Any]]
    acknowledged: Sequence[dict[str, Any]] = ()
    replies: Sequence[dict[str, Any]] = ()
    answers: Sequence[dict[str, Any]] = ()

    @classmethod
    def load(cls, folder: Path) -> "Kept":
        """Read the files of a folder; the last three may be missing.

        Raises:
            FileNotFoundError: journal, stream or consumer is not there; where nothing was kept, nothing is proved.
        """
        paths = {each.name: folder / f"{each.name}.jsonl" for each in fields(cls)}
        required = [paths[each.name] for each in fields(cls) if each.default is MISSING]
        absent = [path.name for path in required if not path.is_file()]
        if absent:
            raise FileNotFoundError(f"{folder} has no {', '.join(absent)}: nothing can be counted")
        return cls(**{name: _lines(path) for name, path in paths.items()})


def recount(kept: Kept) -> Findings:
    """Return what is wrong between journal, stream, consumer and replies."""
    findings = Findings()
    _journal(kept, findings)
    due = [row["message_id"] for row in kept.journal if row["message_id"] is not None]
    own = [entry for entry in kept.stream if entry["source"].startswith(OWN_SOURCES)]
    _carried("stream", due, [entry["id"] for entry in own], findings)
    _carried("consumer", due, [act["id"] for act in kept.consumer], findings)
    _previous(own, findings)
    _same_bytes(own, kept.consumer, findings)
    _replies(kept, findings)
    return findings


def _journal(kept: Kept, findings: Findings) -> None:
    seqs = [row["seq"] for row in kept.journal]
    for before, seq in zip([0, *seqs], seqs, strict=False):
        findings.note("lost", max(0, seq - before - 1), f"journal rows between {before} and {seq}")
        findings.note("doubled", int(seq == before), f"journal row {seq}")
        findings.note("out_of_order", int(seq < before), f"journal row {seq} after {before}")
    known = {(row["incident_id"], row["revision"]) for row in kept.journal}
    for said in kept.acknowledged:
        pair = (said["incident_id"], said["revision"])
        findings.note("lost", int(pair not in known), f"{pair} was acknowledged and is in no row")


def _carried(where: str, due: Sequence[str], seen: Sequence[str], findings: Findings) -> None:
    """Compare what came to a place with what was due, in the order of the journal."""
    place = {message: index for index, message in enumerate(due)}
    times = Counter(seen)
    for message in due:
        findings.note("lost", int(message not in times), f"{message} is not in the {where}")
    latest = -1
    for message in dict.fromkeys(seen):  # first occurrences, in order
        findings.note("doubled", times[message] - 1, f"{message} is {times[message]} times in the {where}")
        if message not in place:
            findings.note("strange", 1, f"{message} is in the {where} and in no journal row")
            continue
        findings.note("out_of_order", int(place[message] < latest), f"{message} came late to the {where}")
        latest = max(latest, place[message])


def _previous(own: Iterable[dict[str, Any]], findings: Findings) -> None:
    """Check that each entry names the revision of its incident's last one before it."""
    last: dict[str, int] = {}
    for entry in own:
        incident_id, _, revision = entry["id"].rpartition(":")
        wanted = last.get(incident_id, 0)
        wrong = int(entry["previous"]) != wanted
        findings.note(
            "out_of_order", int(wrong), f"{entry['id']} says previous {entry['previous']}, not {wanted}"
        )
        last[incident_id] = int(revision)


def _same_bytes(
    own: Iterable[dict[str, Any]], consumer: Iterable[dict[str, Any]], findings: Findings
) -> None:
    """A message has the same bytes wherever and whenever it comes."""
    first: dict[str, str] = {}
    for seen in (*own, *consumer):
        known = first.setdefault(seen["id"], seen["sha256"])
        findings.note("strange", int(known != seen["sha256"]), f"{seen['id']} came with two contents")


def _replies(kept: Kept, findings: Findings) -> None:
    recorded = Counter(answer["id"] for answer in kept.answers)
    for said in dict.fromkeys(reply["id"] for reply in kept.replies):
        findings.note("lost", int(said not in recorded), f"reply {said} is in no row")
        findings.note("doubled", max(0, recorded[said] - 1), f"reply {said} is in {recorded[said]} rows")


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line]


if __name__ == "__main__":
    try:
        kept_files = Kept.load(Path(sys.argv[1]))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    found = recount(kept_files)
    print(json.dumps(asdict(found), ensure_ascii=False))
    sys.exit(0 if found.clean else 1)
