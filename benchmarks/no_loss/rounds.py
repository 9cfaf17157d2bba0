# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rounds: work, one fault, everything that died started again, and a wait until all has arrived.

Processes live on between rounds where nothing killed them. A process that is stopped is doubled meanwhile, as somebody
who thinks it dead would do: two relays, or two readers, then run at once.
"""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import redis
from sqlalchemy.exc import SQLAlchemyError

from no_loss import desk, parts
from no_loss.desk import REPLIES, STREAM
from no_loss.faults import DESK, RELAY, ROLES, WRITER, Fault, What, draw
from no_loss.faults import REPLIES as REPLY_READER
from no_loss.looking import Onlooker
from no_loss.servers import GONE, Database, Disk, Queue, state_of

WORK_PER_ROUND = 8
POLL_S = 0.02
SETTLE_TIMEOUT_S = 90.0
COPY_EVERY = 7  # rounds between the copies from which a queue comes back older
FULL_FOR_S, STOPPED_FOR_S = 0.6, 0.3
RUNS: dict[str, Callable[[parts.Places, Connection], None]] = {
    WRITER: parts.writer,
    RELAY: parts.relay,
    REPLY_READER: parts.replies,
    DESK: desk.desk,
}


class UnsettledError(Exception):
    """Something has not arrived in time; the message says what."""


@dataclass(slots=True)
class Part:
    """One process and the line to it."""

    role: str
    process: BaseProcess
    line: Connection
    up: bool = False  # it has said so

    def alive(self) -> bool:
        """Tell whether it runs or is stopped."""
        return self.process.is_alive()

    def send(self, *order: Any) -> None:
        """Order something; one that just died is noticed elsewhere."""
        with suppress(OSError):
            self.line.send(order)


@dataclass(slots=True)
class Figures:
    """What happened."""

    faults: Counter[str] = field(default_factory=Counter)
    not_hit: int = 0  # armed points that a round's work did not cross
    acknowledged: set[tuple[str, int]] = field(default_factory=set)
    slowest_s: float = 0.0
    others: int = 0  # entries of other producers


class Run:
    """Everything that runs, and the rounds over it. Use as a context."""

    def __init__(self, folder: Path, context: ForkServerContext, database: str, seed: int) -> None:
        self._context, self._seed = context, seed
        self.figures = Figures()
        self.unsettled = ""  # what has not arrived yet, in words
        self._database: Database | None = None
        self._parts: list[Part] = []
        self._left = 0  # things that the writer has still to do in this round
        self._hits = 0
        self._stopped: dict[int, float] = {}  # processes that lie still, until when (monotonic seconds)
        with ExitStack() as opened:
            self.disk = Disk(folder / "disk")
            opened.callback(self.disk.close)
            url = f"sqlite:///{self.disk.folder / 'gridwatch.db'}"
            if database == "postgresql":
                folder.chmod(0o711)  # another user must come through
                (self.disk.folder / "postgresql").mkdir()
                self._database = Database(self.disk.folder / "postgresql")
                opened.callback(self._database.stop)
                url = self._database.url
            self._queue = Queue(self.disk.folder / "queue")
            opened.callback(self._queue.stop)
            self._places = parts.Places(url, self._queue.url, str(folder / "desk.db"))
            self.onlooker = Onlooker(url, self._queue.url, folder / "desk.db")
            opened.callback(self.onlooker.close)
            opened.callback(self._end_parts)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _end_parts(self) -> None:
        for part in self._parts:
            part.process.kill()
            part.process.join()

    def begin(self) -> None:
        """Start the processes, the writer first: it makes the schema."""
        for role in ROLES:
            self._start(role)
            self._until(self._all_up)

    def round(self, number: int, what: What | None = None) -> Fault:
        """Run one round.

        Raises:
            UnsettledError: something has not arrived in time.
        """
        began = time.monotonic()
        random_ = random.Random(f"{self._seed}-{number}")
        fault = draw(random_, what)
        if fault.what is What.REDIS_OLDER and not self._queue.copied:
            fault = draw(random_, What.REDIS_KILLED)
        if fault.what is What.DATABASE_KILLED and self._database is None:
            fault = draw(random_, What.POINT)
        self.figures.faults[_name_of(fault)] += 1
        self._left, self._hits = WORK_PER_ROUND, 0
        if fault.what is What.POINT:
            self._one(fault.role).send("arm", fault.point, fault.nth, fault.kills)
        self._one(WRITER).send("work", self._left, f"{self._seed}-{number}")
        self._other_producer(random_)
        if fault.what is not What.POINT:
            self._wait(fault.after_s)
            self._break(fault)
        self._until(lambda: self._left == 0)
        self._settle(fault)
        if number % COPY_EVERY == 1:
            self._queue.copy()
        self.figures.slowest_s = max(self.figures.slowest_s, time.monotonic() - began)
        return fault

    def _break(self, fault: Fault) -> None:
        """Do what a fault at any moment does."""
        if fault.what is What.MOMENT:
            part = self._one(fault.role)
            if fault.kills:
                part.process.kill()
            else:
                with suppress(ProcessLookupError):
                    os.kill(part.process.pid or 0, signal.SIGSTOP)
                self._lies_still(part, fault.lasts_s)
        elif fault.what is What.REDIS_STOPPED:
            os.kill(self._queue.pid, signal.SIGSTOP)
            self._wait(fault.lasts_s)
            os.kill(self._queue.pid, signal.SIGCONT)
        elif fault.what is What.DISK_FULL:
            pids = [part.process.pid or 0 for part in self._parts if part.role != DESK]
            self.disk.fill([*pids, self._queue.pid])
            self._wait(FULL_FOR_S)
            self.disk.empty()
        elif fault.what is What.DATABASE_KILLED and self._database is not None:
            self._database.kill()
            self._wait(fault.lasts_s)
        else:
            self._break_queue(fault)

    def _break_queue(self, fault: Fault) -> None:
        if fault.what is What.REDIS_RESTARTED:
            self._queue.stop()
        else:
            self._queue.kill()
        self._wait(fault.lasts_s)
        if fault.what is What.REDIS_OLDER:
            self._queue.grow_older()
        self._queue.start()

    def _lies_still(self, part: Part, lasts_s: float) -> None:
        """Note a process that is stopped; where several may run, another takes its place."""
        self._stopped[part.process.pid or 0] = time.monotonic() + lasts_s
        if part.role in (RELAY, REPLY_READER):
            self._start(part.role)

    def _wake(self) -> None:
        """Let stopped processes go on whose time is over."""
        for pid, until_s in list(self._stopped.items()):
            state = state_of(pid)
            if state == "T" and time.monotonic() >= until_s:
                os.kill(pid, signal.SIGCONT)
            if state == GONE or (state == "T" and time.monotonic() >= until_s):
                del self._stopped[pid]

    def _settle(self, fault: Fault) -> None:
        """Wait until everything has arrived; a point that was not crossed is left."""
        self._until(lambda: not self._stopped and self._arrived())
        for part in self._parts:
            part.send("arm", "", 0, True)
        if fault.what is What.POINT and not self._hits:
            self.figures.not_hit += 1
        for role in ROLES:  # where two run, the older one goes: whatever it held is the other's now
            for extra in [part for part in self._parts if part.role == role][:-1]:
                extra.process.kill()
        self._until(lambda: len(self._parts) == len(ROLES) and self._all_up())

    def _all_up(self) -> bool:
        return all(part.up for part in self._parts)

    def _arrived(self) -> bool:
        self.unsettled = "the servers do not answer"
        try:
            self.unsettled = self.onlooker.unsettled()
        except (SQLAlchemyError, redis.RedisError, sqlite3.Error):
            return False
        return not self.unsettled

    def _until(self, condition: Callable[[], bool]) -> None:
        """Look after everything until `condition` holds."""
        self.unsettled = ""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while not condition():
            self._look_after()
            if time.monotonic() > deadline:
                raise UnsettledError(self.unsettled or f"{self._left} things were not done")

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look_after(servers=False)

    def _look_after(self, *, servers: bool = True) -> None:
        """Hear what the processes say, and start again what died."""
        self._wake()
        lines = {part.line: part for part in self._parts}
        for line in wait(list(lines), POLL_S):
            self._hear(lines[line])  # type: ignore[index]
        for part in [part for part in self._parts if not part.alive()]:
            while part.line.poll():
                if not self._hear(part):
                    break
            part.process.join()
            part.line.close()
            self._parts.remove(part)
            if not any(other.role == part.role for other in self._parts):
                self._start(part.role)
        if servers and not self._queue.alive():
            self._queue.start()
        if servers and self._database is not None and not self._database.alive():
            self._database.start()

    def _hear(self, part: Part) -> bool:
        """Take one word of a process; False where there is none any more."""
        try:
            said = part.line.recv()
        except (EOFError, OSError):
            return False
        if said[0] == "recorded":
            self.figures.acknowledged.add((said[1], said[2]))
        elif said[0] == "worked":
            self._left -= 1
        elif said[0] == "up":
            part.up = True
            if part.role == WRITER and self._left:  # the one before it died at work
                part.send("work", self._left, f"{self._seed}-again-{part.process.pid}")
        elif said[0] == "hit":
            self._hits += 1
            self.figures.faults[said[1]] += 1
            if not said[2]:
                self._lies_still(part, STOPPED_FOR_S)
        return True

    def _start(self, role: str) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=RUNS[role], args=(self._places, theirs), daemon=True)
        process.start()
        theirs.close()
        self._parts.append(Part(role, process, ours))

    def _one(self, role: str) -> Part:
        return next(part for part in self._parts if part.role == role)

    def _other_producer(self, random_: random.Random) -> None:
        """Let others write to the same streams; what they lose is theirs."""
        with suppress(redis.RedisError):
            for _ in range(random_.randint(0, 3)):
                self.figures.others += 1
                fields = {
                    "source": "urn:field-app",
                    "id": f"note:{self.figures.others}",
                    "type": "note",
                    "data": "{}",
                }
                self.onlooker.queue.xadd(STREAM, fields)  # type: ignore[arg-type]
            if random_.random() < 0.2:  # noqa: PLR2004  now and then something that nobody can read
                self.onlooker.queue.xadd(REPLIES, {"type": "cn.gridwatch.case.closed.v1", "data": "{"})


def _name_of(fault: Fault) -> str:
    if fault.what in (What.POINT, What.MOMENT):
        return f"{fault.role} {'killed' if fault.kills else 'stopped'} at a {fault.what}"
    return str(fault.what)
