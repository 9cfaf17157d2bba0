# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case desk at work: reads the case queue in a consumer group, answers on the reply stream, ends when told.

At-least-once on both sides: a message is acknowledged after its effect is in the state file, a reply is forgotten after
Redis has taken it. While Redis is away the steps of open cases go on and their replies wait.
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
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from gridwatch.core.errors import InputError
from gridwatch.core.parent import when_parent_is_gone
from gridwatch.simulator.case_desk.book import CaseBook, Rules
from gridwatch.simulator.case_desk.errors import UnreadableMessage
from gridwatch.simulator.case_desk.store import CaseStore
from gridwatch.simulator.case_desk.wire import is_incident_message, parse_message

READ_COUNT = 50
BLOCK_S = 0.2
SOCKET_TIMEOUT_S = 5.0
LONGEST_PAUSE_S = 5.0
FORGET_EVERY = 1000
REPLY_STREAM_MAX = 1_000_000
IDLE_CONSUMER_MS = 3_600_000

Entry = tuple[bytes, dict[bytes, bytes] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDeskOptions:
    """How to run a case desk.

    Attributes:
        redis_url: redis://, rediss:// or unix://; may hold a password and is never printed.
        state: the desk's own SQLite file; made if missing. Desks of one group on one machine share it.
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

    redis_url: str = field(repr=False)
    state: Path
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
        InputError: an option or the state file cannot be used.
        CaseBookError: the state file stopped answering.
    """
    _check(options)
    ending = stop or threading.Event()
    client = _client(options.redis_url)
    rules = Rules(
        source=options.source,
        step_s=options.step_s,
        gap_wait_s=options.gap_wait_s,
        accept_exercise=options.accept_exercise,
    )
    tell = _nothing if options.quiet else _print_line
    if options.with_parent:
        when_parent_is_gone(ending.set)
    try:
        with _ended_by_signals(ending, install=stop is None), CaseStore(options.state) as store:
            CaseDesk(options, store, CaseBook(store, rules, time.time, tell), client, tell).serve(ending)
    finally:
        client.close()


class CaseDesk:
    """One consumer of the group. Needs an open store and one thread."""

    def __init__(
        self,
        options: CaseDeskOptions,
        store: CaseStore,
        book: CaseBook,
        client: Redis,
        tell: Callable[[str], None],
    ) -> None:
        self._options, self._store, self._book, self._client, self._tell = options, store, book, client, tell
        self._consumer = options.consumer or f"{socket.gethostname()}-{os.getpid()}"
        self._joined = False
        self._claim_due_mono_s = 0.0
        self._received = 0

    def serve(self, stop: threading.Event) -> None:
        """Work until `stop` is set. A Redis that is away or refuses is tried again, with growing pauses."""
        pause_s, trouble = 0.1, ""
        while not stop.is_set():
            try:
                self._turn()
                if trouble:
                    self._tell("Redis answers again 队列已恢复")
                pause_s, trouble = 0.1, ""
            except RedisError as error:
                self._joined = False
                if str(error) != trouble:
                    trouble = str(error)
                    self._tell(f"Redis does not answer 队列不可用: {trouble}")
                self._go_on_alone(stop, pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self._leave()

    def _go_on_alone(self, stop: threading.Event, pause_s: float) -> None:
        """Take the steps that fall due, without Redis, until the pause is over."""
        ends_mono_s = time.monotonic() + pause_s
        while not stop.is_set() and time.monotonic() < ends_mono_s:
            self._book.advance()
            stop.wait(min(self._block_ms() / 1000, pause_s))

    def _turn(self) -> None:
        if not self._joined:
            self._join()
        if time.monotonic() >= self._claim_due_mono_s:
            self._claim()
        self._book.advance()
        self._send_replies()
        self._take(self._read(">", self._block_ms()))
        self._send_replies()

    def _join(self) -> None:
        """Make the group if it is missing (from the first entry: what was seen is known) and finish own entries."""
        try:
            self._client.xgroup_create(self._options.cases_stream, self._options.group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        while entries := self._read("0", None):
            self._take(entries)
        self._joined = True

    def _read(self, start: str, block_ms: int | None) -> list[Entry]:
        answer: Any = self._client.xreadgroup(
            self._options.group,
            self._consumer,
            {self._options.cases_stream: start},
            count=READ_COUNT,
            block=block_ms,
        )
        return [entry for _, entries in answer for entry in entries]

    def _claim(self) -> None:
        """Take over what another desk left unfinished, and forget desks that are long gone."""
        options, cursor = self._options, b"0-0"
        while True:
            cursor, entries, *_ = self._client.xautoclaim(
                options.cases_stream,
                options.group,
                self._consumer,
                min_idle_time=round(options.claim_idle_s * 1000),
                start_id=cursor,
                count=READ_COUNT,
            )
            self._take(entries)
            if cursor == b"0-0":
                break
        for other in self._client.xinfo_consumers(options.cases_stream, options.group):
            if other["pending"] == 0 and other["idle"] > IDLE_CONSUMER_MS:
                self._client.xgroup_delconsumer(options.cases_stream, options.group, other["name"])
        self._claim_due_mono_s = time.monotonic() + max(options.claim_idle_s / 2, 0.2)

    def _take(self, entries: Sequence[Entry]) -> None:
        """Let each entry take effect, then acknowledge them all: a crash between the two brings them again."""
        for entry_id, fields in entries:
            if fields:  # an entry that was trimmed away while pending comes without fields
                self._receive(entry_id, fields)
        if entries:
            ids = [entry_id for entry_id, _ in entries]
            self._client.xack(self._options.cases_stream, self._options.group, *ids)

    def _receive(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> None:
        if not is_incident_message(fields):
            return  # another producer's entry
        try:
            message = parse_message(fields)
        except UnreadableMessage as error:
            self._tell(f"entry {entry_id.decode()} set aside 无法读取: {error}")
            return
        self._book.receive(message)
        self._received += 1
        if self._received % FORGET_EVERY == 0:
            self._store.forget_oldest(self._options.keep_messages)

    def _send_replies(self) -> None:
        while self._store.has_replies():
            self._store.send_replies(self._append)

    def _append(self, replies: Sequence[dict[str, str]]) -> None:
        pipeline = self._client.pipeline(transaction=True)
        for fields in replies:
            entry: dict[Any, Any] = dict(fields)
            pipeline.xadd(self._options.replies_stream, entry, maxlen=REPLY_STREAM_MAX, approximate=True)
        pipeline.execute()

    def _block_ms(self) -> int:
        due_at = self._store.next_due_at()
        wait_s = BLOCK_S if due_at is None else min(BLOCK_S, due_at - time.time())
        return max(1, round(wait_s * 1000))  # 0 would block for ever

    def _leave(self) -> None:
        """Leave the group if nothing is unfinished; a desk that cannot is forgotten by the others later."""
        options = self._options
        with suppress(RedisError):
            self._send_replies()
            pending = self._client.xpending_range(
                options.cases_stream, options.group, min="-", max="+", count=1, consumername=self._consumer
            )
            if not pending:
                self._client.xgroup_delconsumer(options.cases_stream, options.group, self._consumer)


def _check(options: CaseDeskOptions) -> None:
    for name in ("step_s", "gap_wait_s", "claim_idle_s"):
        value: float = getattr(options, name)
        if not 0 <= value <= 86_400:  # noqa: PLR2004  a day
            raise InputError(f"{name} is {value}; it must be 0 to 86400 seconds")
    if options.keep_messages < 1:
        raise InputError(f"keep_messages is {options.keep_messages}; it must be at least 1")


def _client(url: str) -> Redis:
    try:
        return Redis.from_url(
            url,
            protocol=2,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # a command is never repeated behind our back
        )
    except ValueError as error:
        raise InputError("the Redis URL must begin with redis://, rediss:// or unix://") from error


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
