# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case desk at work: reads case messages over its line, answers them, obeys orders, ends when told.

At-least-once on both sides: a message is done with after its effect is in the state file, a reply is forgotten after
the line has taken it. While the line is down the steps of open cases go on and their replies wait.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gridwatch.core.errors import InputError
from gridwatch.core.parent import when_parent_is_gone
from gridwatch.simulator.case_desk.book import CaseBook, Rules
from gridwatch.simulator.case_desk.door_line import DoorLine, DoorPlace, read_token
from gridwatch.simulator.case_desk.errors import LineError, UnreadableMessage
from gridwatch.simulator.case_desk.line import Entry, Line
from gridwatch.simulator.case_desk.redis_line import RedisLine, RedisPlace
from gridwatch.simulator.case_desk.script import Script, load_script
from gridwatch.simulator.case_desk.store import CaseStore
from gridwatch.simulator.case_desk.wire import is_incident_message, parse_message

BLOCK_S = 0.2
LONGEST_PAUSE_S = 5.0
FORGET_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDeskOptions:
    """How to run a case desk. Either `redis_url` or `door_url` says how it is connected.

    Attributes:
        redis_url: redis://, rediss:// or unix://; may hold a password and is never printed.
        door_url: of gridwatch's API, where the desk cannot reach the Redis.
        token_file: a file with the token for the door.
        ca_file: certificates to trust at the door, besides the usual ones.
        state: the desk's own SQLite file; made if missing. Desks of one group on one machine share it over Redis.
        script: a YAML file that says which incidents go another way than the usual one.
        step_s: seconds between two steps of a case.
        gap_wait_s: how long a message waits for an earlier one of its incident.
        accept_exercise: let run modes exercise and test open cases too.
        source: the CloudEvents source of the replies.
        consumer: this desk's name in the group; empty: machine and process.
        claim_idle_s: after how long the unfinished entries of another desk are taken over.
        keep_messages: how many seen messages are remembered.
        quiet: say nothing on standard output.
        with_parent: end when standard input ends, as it does when the parent process dies.
    """

    state: Path
    redis_url: str = field(default="", repr=False)
    door_url: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    script: Path | None = None
    step_s: float = 0.7
    gap_wait_s: float = 5.0
    accept_exercise: bool = False
    source: str = "urn:case-desk:demo"
    cases_stream: str = "gridwatch:cases"
    replies_stream: str = "gridwatch:case-replies"
    group: str = "case-desk"
    consumer: str = ""
    claim_idle_s: float = 10.0
    keep_messages: int = 100_000
    quiet: bool = False
    with_parent: bool = False


def run_case_desk(options: CaseDeskOptions, stop: threading.Event | None = None) -> None:
    """Work until `stop` is set; without one, until SIGTERM or SIGINT (main thread only).

    Raises:
        InputError: an option, the script or the state file cannot be used.
        CaseBookError: the state file stopped answering.
    """
    _check(options)
    ending = stop or threading.Event()
    rules = Rules(
        source=options.source,
        step_s=options.step_s,
        gap_wait_s=options.gap_wait_s,
        accept_exercise=options.accept_exercise,
        script=Script() if options.script is None else load_script(options.script),
    )
    tell = _nothing if options.quiet else _print_line
    if options.with_parent:
        when_parent_is_gone(ending.set)
    with _ended_by_signals(ending, install=stop is None), CaseStore(options.state) as store:
        line = _line(options, store)
        try:
            book = CaseBook(store, rules, time.time, tell)
            CaseDesk(store, book, line, tell, options.keep_messages).serve(ending)
        finally:
            line.close()


class CaseDesk:
    """One desk at work. Needs an open store and one thread."""

    def __init__(
        self, store: CaseStore, book: CaseBook, line: Line, tell: Callable[[str], None], keep_messages: int
    ) -> None:
        self._store, self._book, self._line, self._tell = store, book, line, tell
        self._keep_messages = keep_messages
        self._opened = False
        self._received = 0

    def serve(self, stop: threading.Event) -> None:
        """Work until `stop` is set. A line that is down or refuses is tried again, with growing pauses."""
        pause_s, trouble = 0.1, ""
        while not stop.is_set():
            try:
                self._turn()
                if trouble:
                    self._tell(f"{self._line.name} answers again 队列已恢复")
                pause_s, trouble = 0.1, ""
            except LineError as error:
                self._opened = False
                if str(error) != trouble:
                    trouble = str(error)
                    self._tell(f"{self._line.name} does not answer 队列不可用: {trouble}")
                self._go_on_alone(stop, pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        with suppress(LineError):
            self._send_replies()
            self._line.leave()

    def _go_on_alone(self, stop: threading.Event, pause_s: float) -> None:
        """Take the steps that fall due, without the line, until the pause is over."""
        ends_mono_s = time.monotonic() + pause_s
        while not stop.is_set() and time.monotonic() < ends_mono_s:
            self._book.advance()
            stop.wait(min(self._wait_s(), pause_s))

    def _turn(self) -> None:
        while not self._opened:
            entries = self._line.open()
            self._take(entries)
            self._opened = not entries
        self._take(self._line.left_by_others())
        self._book.advance()
        self._send_replies()
        self._take(self._line.read(self._wait_s()))
        self._send_replies()

    def _take(self, entries: Sequence[Entry]) -> None:
        """Let each entry take effect, then be done with them all: a crash between the two brings them again."""
        for entry in entries:
            if entry.fields:
                self._receive(entry.place, entry.fields)
        self._line.done(entries)

    def _receive(self, place: str, fields: Mapping[bytes, bytes]) -> None:
        if not is_incident_message(fields):
            return  # another producer's entry
        try:
            message = parse_message(fields)
        except UnreadableMessage as error:
            self._tell(f"entry {place} set aside 无法读取: {error}")
            return
        self._book.receive(message)
        self._received += 1
        if self._received % FORGET_EVERY == 0:
            self._store.forget_oldest(self._keep_messages)

    def _send_replies(self) -> None:
        while self._store.has_replies(now := time.time()):
            self._store.send_replies(self._line.send, now)

    def _wait_s(self) -> float:
        due_at = self._store.next_due_at()
        return BLOCK_S if due_at is None else min(BLOCK_S, max(0.001, due_at - time.time()))


def _line(options: CaseDeskOptions, store: CaseStore) -> Line:
    if options.door_url:
        token = "" if options.token_file is None else read_token(options.token_file)
        return DoorLine(DoorPlace(url=options.door_url, token=token, ca_file=options.ca_file), store)
    return RedisLine(
        RedisPlace(
            url=options.redis_url,
            consumer=options.consumer or f"{socket.gethostname()}-{os.getpid()}",
            cases_stream=options.cases_stream,
            replies_stream=options.replies_stream,
            group=options.group,
            claim_idle_s=options.claim_idle_s,
        )
    )


def _check(options: CaseDeskOptions) -> None:
    if bool(options.redis_url) == bool(options.door_url):
        raise InputError(
            "the desk must be connected in one way: the URL of a Redis, or that of gridwatch's door"
        )
    for name in ("step_s", "gap_wait_s", "claim_idle_s"):
        value: float = getattr(options, name)
        if not 0 <= value <= 86_400:  # noqa: PLR2004  a day
            raise InputError(f"{name} is {value}; it must be 0 to 86400 seconds")
    if options.keep_messages < 1:
        raise InputError(f"keep_messages is {options.keep_messages}; it must be at least 1")


@contextmanager
def _ended_by_signals(stop: threading.Event, *, install: bool) -> Iterator[None]:
    if not install or threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield
    finally:
        for number, action in zip(numbers, before, strict=True):
            signal.signal(number, action)


def _print_line(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    text = f"{time.strftime('%H:%M:%S')} case desk: {line}\n"
    with suppress(BrokenPipeError):
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()


def _nothing(_line: str) -> None:
    """Say nothing."""
