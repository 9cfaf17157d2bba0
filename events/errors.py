# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this room raises.

GridwatchError
└── EventsError
    ├── StoreError              the database does not answer; retry later
    │   └── RecordRefused       it answers, and does not take this record: retrying does not help
    ├── QueueError              the case queue does not answer; retry later
    ├── UnknownIncident         no incident has this id
    ├── DecisionConflict        somebody decided since the revision that was seen (by, at)
    ├── UnknownRevision         a decision names a revision that the incident never had (seen, revision)
    ├── IllegalDecision         this decision is not allowed (reason missing, unknown word)
    ├── EvidenceError           a still or clip cannot be stored or found
    │   └── EvidenceFull        the cap or the disk leaves no room for it
    ├── BackupError             a backup cannot be written or read
    │   └── BackupDamaged       it is not any more what was backed up
    ├── ForeignJournal          a reader of messages stands where this journal never was (epoch, last_seq)
    ├── MarkConflict            the queue's mark and this journal contradict each other (mark, expected, source)
    ├── UnknownLetter           this row is no dead letter (seq)
    ├── Undeliverable           an incident cannot be told again (incident_id, problem)
    └── DecodeError             an entry of the reply stream is no reply; carries its raw fields
"""

from collections.abc import Mapping
from datetime import datetime

from gridwatch.core.errors import GridwatchError


class EventsError(GridwatchError):
    """Anything raised here on purpose."""


class StoreError(EventsError):
    """The database does not answer; the same call may succeed later."""


class RecordRefused(StoreError):  # noqa: N818  reads better where it is raised
    """The database does not take what was to be written, whoever asks again: it breaks one of its rules."""


class QueueError(EventsError):
    """The case queue does not answer; the same call may succeed later."""


class UnknownIncident(EventsError):  # noqa: N818  reads better where it is raised
    """No incident has this id."""

    def __init__(self, incident_id: str) -> None:
        self.incident_id = incident_id
        super().__init__(f"no incident {incident_id!r}")


class DecisionConflict(EventsError):  # noqa: N818
    """Somebody decided since the revision that the operator saw.

    Args:
        by: who decided.
        at: when, UTC.
        decision: what was decided.
        revision: the incident's revision now.
    """

    def __init__(self, by: str, at: datetime, decision: str, revision: int) -> None:
        self.by, self.at, self.decision, self.revision = by, at, decision, revision
        super().__init__(f"{by} decided {decision!r} at {at.isoformat()}")


class UnknownRevision(EventsError):  # noqa: N818
    """A decision names a revision that the incident never had: whoever decides did not see this incident.

    Args:
        seen: the revision that was named.
        revision: the incident's revision now.
    """

    def __init__(self, seen: int, revision: int) -> None:
        self.seen, self.revision = seen, revision
        super().__init__(f"there is no revision {seen}; the newest is {revision}")


class IllegalDecision(EventsError):  # noqa: N818
    """This decision is not allowed; the message says why and what is."""


class EvidenceError(EventsError):
    """A still or clip cannot be stored or found."""


class EvidenceFull(EvidenceError):  # noqa: N818
    """The cap or the disk leaves no room for a still or clip.

    Args:
        problem: which of them, in one phrase.
        size: how many bytes must become free for it.
    """

    def __init__(self, problem: str, size: int) -> None:
        self.size = size
        super().__init__(problem)


class BackupError(EventsError):
    """A backup cannot be written or read."""


class BackupDamaged(BackupError):  # noqa: N818
    """A backup is not any more what was backed up."""


class ForeignJournal(EventsError):  # noqa: N818
    """A reader of messages stands where this journal never was: it read another one, or one that is lost.

    Args:
        problem: the contradiction, and what to do, in one sentence.
        epoch: this journal's epoch.
        last_seq: the newest row of this journal.
    """

    def __init__(self, problem: str, epoch: str, last_seq: int) -> None:
        self.epoch, self.last_seq = epoch, last_seq
        super().__init__(problem)


class MarkConflict(EventsError):  # noqa: N818
    """The queue's mark and this journal contradict each other: nothing may be sent until that is resolved.

    Args:
        mark: what the queue holds, `epoch:seq`.
        expected: what this journal would allow, `epoch:seq`.
        problem: the contradiction in one phrase.
        source: whose mark; "" where it is not known.
    """

    def __init__(self, mark: str, expected: str, problem: str, source: str = "") -> None:
        self.mark, self.expected, self.problem, self.source = mark, expected, problem, source
        whose = f" of {source}" if source else ""
        super().__init__(f"the queue's mark{whose} is {mark}, this journal stands at {expected}: {problem}")


class UnknownLetter(EventsError):  # noqa: N818
    """No message of this row was given up."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        super().__init__(f"row {seq} is no dead letter; `gridwatch dead-letters list` names them")


class Undeliverable(EventsError):  # noqa: N818
    """An incident cannot be told again; nothing was recorded."""

    def __init__(self, incident_id: str, problem: str) -> None:
        self.incident_id, self.problem = incident_id, problem
        super().__init__(f"{incident_id} is not told again: {problem}")


class DecodeError(EventsError):
    """An entry of the reply stream cannot be read as a reply; `fields` are kept as they came."""

    def __init__(self, problem: str, fields: Mapping[str, str]) -> None:
        self.problem, self.fields = problem, dict(fields)
        super().__init__(problem)
