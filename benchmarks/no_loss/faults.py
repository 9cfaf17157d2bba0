# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes wrong in a round: drawn from the seed, so that a round can be run again.

A fault hits a point of the way (record, relay, reply, feedback) or any moment. At a point the process does it to itself,
between two statements where no clock could aim: SIGKILL and SIGSTOP cannot be caught or delayed.
"""

import os
import random
import signal
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import Final

WRITER, RELAY, REPLIES, DESK = ROLES = ("writer", "relay", "replies", "desk")

# Where a process may die: after what was done, before what comes next.
POINTS: Final = {
    WRITER: ("record.in_transaction", "record.committed"),
    RELAY: ("relay.read", "relay.before_append", "relay.appended"),
    REPLIES: ("reply.read", "reply.in_transaction", "reply.committed", "reply.before_ack", "reply.acked"),
    DESK: (
        "feedback.read",
        "feedback.in_transaction",
        "feedback.committed",
        "feedback.acked",
        "feedback.before_send",
        "feedback.sent",
    ),
}


class What(StrEnum):
    """What fails."""

    POINT = "point"  # a process, at a point
    MOMENT = "moment"  # a process, at any moment
    REDIS_KILLED = "redis_killed"  # kill -9, started again on its files
    REDIS_RESTARTED = "redis_restarted"
    REDIS_STOPPED = "redis_stopped"  # SIGSTOP, longer than the clients wait
    REDIS_OLDER = "redis_older"  # kill -9, started again on a copy of its files from rounds ago
    DISK_FULL = "disk_full"
    DATABASE_KILLED = "database_killed"  # PostgreSQL's immediate shutdown; SQLite has no process


WEIGHTS: Final = {
    What.POINT: 58,
    What.MOMENT: 14,
    What.REDIS_KILLED: 11,
    What.REDIS_RESTARTED: 5,
    What.REDIS_STOPPED: 3,
    What.REDIS_OLDER: 5,
    What.DISK_FULL: 2,
    What.DATABASE_KILLED: 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `nth` counts crossings of `point`; `after_s` is when any other fault begins, `lasts_s` how long a stop lasts."""

    what: What
    role: str = ""
    point: str = ""
    nth: int = 1
    kills: bool = True
    after_s: float = 0.0
    lasts_s: float = 0.3


def draw(random_: random.Random, what: What | None = None) -> Fault:
    """Return the fault of a round; `what` is given where the run must have one of a kind."""
    chosen = what or random_.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    role = random_.choice(ROLES)
    return Fault(
        what=chosen,
        role=role,
        point=random_.choice(POINTS[role]),
        nth=random_.randint(1, 3),
        kills=random_.random() < 0.75,  # noqa: PLR2004  the rest are stops
        after_s=random_.uniform(0.0, 0.4),
        lasts_s=random_.uniform(1.2, 1.6) if chosen is What.REDIS_STOPPED else random_.uniform(0.05, 0.5),
    )


class Points:
    """A process's own end of the faults: it passes points, and dies or stops at the armed one."""

    def __init__(self, teller: Connection) -> None:
        self._teller = teller
        self._point, self._left, self._kills = "", 0, True

    def arm(self, point: str, nth: int, *, kills: bool) -> None:
        """Die (or stop) at the `nth` crossing of `point`; an empty point disarms."""
        self._left, self._kills = nth, kills
        self._point = point

    def passing(self, point: str) -> None:
        """Cross a point."""
        if point != self._point:
            return
        self._left -= 1
        if self._left > 0:
            return
        self._point = ""
        self._teller.send(("hit", point, self._kills))
        os.kill(os.getpid(), signal.SIGKILL if self._kills else signal.SIGSTOP)
