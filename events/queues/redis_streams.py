# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case queue on Redis Streams (Redis 6.2 or later, Valkey). The room's only door to Redis.

Stream and mark are written by one script, so they come back together after a crash; `docs/case-queue.md` has the names
and `docs/integrate/README.md` the rights that a user needs. The streams are shared: what a trim may remove is decided
inside the server.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis import Redis, SSLConnection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from events.errors import QueueError
from events.messages import CaseMessage
from events.queues.port import (
    FIRST_SEQ,
    AppendResult,
    BatchResult,
    Mark,
    Outcome,
    ReplyEntry,
    StreamEntry,
    Trimmed,
    flaw_of,
)
from events.queues.problems import describe
from events.queues.scripts import APPEND, TAKE_OVER, TRIM
from gridwatch.core.errors import InputError

TAIL_PAGE = 500
TRIM_MOST = 500  # entries of each stream a call: a script holds up everybody else on the server
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 2.0, 5.0
NO_GROUP: Final = "-"
# What the server says of one entry that it will never take; everything else may be different a minute later.
_OF_THE_ENTRY = ("too large to be stored", "exceeds maximum allowed size")


class RedisCaseQueue:
    """Both streams and the marks on one server. Connects on first use; safe for several threads.

    Args:
        client: a client that decodes nothing (`decode_responses` off); its time-outs are the caller's choice.
        stream: what gridwatch says.
        replies: what the case system answers.
        marks: hash of marks; None is the stream's name and `:marks`. On a cluster all share a hash tag.
        group: consumer group on the replies, one for each gridwatch that reads them all.
        consumer: this reader's name in it, the same after a restart.
    """

    def __init__(
        self,
        client: Redis,
        *,
        stream: str = "gridwatch:cases",
        replies: str = "gridwatch:case-replies",
        marks: str | None = None,
        group: str = "gridwatch",
        consumer: str = "gridwatch-1",
    ) -> None:
        self._client = client
        self._stream, self._replies, self._marks = stream, replies, marks or f"{stream}:marks"
        self._group, self._consumer = group, consumer
        self._append = client.register_script(APPEND)
        self._take_over = client.register_script(TAKE_OVER)
        self._trim = client.register_script(TRIM)
        self._joined = False

    @classmethod
    def connect(cls, url: str, **names: str) -> "RedisCaseQueue":
        """Return the queue at a URL: redis://, rediss:// (TLS) or unix://, with user and password where it asks for them.

        Nothing is connected yet. The client tries nothing twice by itself: an answer that got lost on its way must show,
        or replies that were handed to us with it would lie unread until the next start.

        Args:
            url: with the client's options as a query, as in `?ssl_ca_certs=FILE`.
            names: as the constructor takes them.

        Raises:
            InputError: the URL cannot be read.
        """
        try:
            client = Redis.from_url(
                url,
                socket_timeout=ANSWER_TIMEOUT_S,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
            )
            client.connection_pool.make_connection()  # says now what it would say of a strange option later
        except (ValueError, TypeError) as error:
            raise InputError(
                "the queue's URL cannot be read; an example: rediss://USER:PASSWORD@HOST:6379/0"
            ) from error
        return cls(client, **names)

    def close(self) -> None:
        """Close every connection; a later call connects again."""
        self._client.close()

    def append(self, message: CaseMessage, expected: Mark | None) -> AppendResult:
        """Append one message; see the port."""
        result = self.append_many([message], expected or Mark(message.journalepoch, FIRST_SEQ))
        return AppendResult(result.outcome, result.mark)

    def append_many(self, messages: Sequence[CaseMessage], expected: Mark) -> BatchResult:
        """Append messages in order; see the port."""
        if not messages:
            return BatchResult(0, Outcome.APPENDED, expected)
        flaws = [flaw_of(message) for message in messages]
        sound = next((at for at, flaw in enumerate(flaws) if flaw), len(messages))
        if sound == 0:
            return BatchResult(0, Outcome.REFUSED, self.mark(messages[0].source), flaws[0])
        result = self._append_sound(messages[:sound], expected)
        if result.outcome is Outcome.APPENDED and sound < len(messages):
            return BatchResult(sound, Outcome.REFUSED, result.mark, flaws[sound])
        return result

    def _append_sound(self, messages: Sequence[CaseMessage], expected: Mark) -> BatchResult:
        args: list[str | int] = [messages[0].source, expected.epoch, expected.seq]
        for message in messages:
            flat = [text for pair in message.fields().items() for text in pair]
            args += [message.journalseq, len(flat), *flat]
        with self._translated():
            answer: Any = self._append(keys=[self._stream, self._marks], args=args)
            outcome, mark, reason = _text(answer[0]), _text(answer[2]), _text(answer[3])
            if outcome == Outcome.REFUSED and not any(words in reason for words in _OF_THE_ENTRY):
                raise ResponseError(reason)
        return BatchResult(int(answer[1]), Outcome(outcome), Mark.parse(answer[2]) if mark else None, reason)

    def mark(self, source: str) -> Mark | None:
        """Return the mark of a source, or None."""
        with self._translated():
            found: Any = self._client.hget(self._marks, source)
        return None if found is None else Mark.parse(found)

    def newest_of(self, source: str) -> Mark | None:
        """Read the stream from its end, in pages, and return the last message of `source`, or None."""
        upper = "+"
        while True:
            with self._translated():
                page: Any = self._client.xrevrange(self._stream, max=upper, count=TAIL_PAGE)
            for _, raw in page:
                fields = _fields(raw)
                if fields.get("source") == source:
                    return Mark.parse(f"{fields.get('journalepoch')}:{fields.get('journalseq')}")
            if len(page) < TAIL_PAGE:
                return None
            upper = "(" + _text(page[-1][0])

    def restore_mark(self, source: str, mark: Mark) -> None:
        """Set a mark that is absent."""
        with self._translated():
            self._client.hsetnx(self._marks, source, mark.stored)

    def take_over(self, source: str, old: Mark, new: Mark) -> bool:
        """Set the mark if it is `old`; see the port."""
        with self._translated():
            done: Any = self._take_over(keys=[self._marks], args=[source, old.stored, new.stored])
        return bool(done)

    def trim(self, keep: int) -> Trimmed:
        """Remove the oldest entries that every group has acknowledged; see the port."""
        removed, lengths, held_by = 0, [], ""
        for stream in (self._stream, self._replies):
            with self._translated():
                answer: Any = self._trim(keys=[stream], args=[max(1, keep), TRIM_MOST])
            removed += int(answer[0])
            lengths.append(int(answer[1]))
            holder = _text(answer[2])
            held_by = held_by or (stream if holder == NO_GROUP else f"{stream} {holder}" if holder else "")
        return Trimmed(removed, lengths[0], held_by)

    def length(self) -> int:
        """Return how many entries the stream of messages has; see the port."""
        with self._translated():
            found: Any = self._client.xlen(self._stream)
        return int(found)

    def read_replies(self, limit: int, wait_s: float, *, pending: bool = False) -> Sequence[ReplyEntry]:
        """Return answers; see the port."""
        with self._translated():
            self._join()
            start, block_ms = ("0", None) if pending else (">", max(1, round(wait_s * 1000)))
            answer: Any = self._client.xreadgroup(
                self._group, self._consumer, {self._replies: start}, count=limit, block=block_ms
            )
        return [ReplyEntry(_text(entry_id), _fields(raw)) for entry_id, raw in _entries(answer)]

    def ack(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge answers that were recorded."""
        if entry_ids:
            with self._translated():
                self._client.xack(self._replies, self._group, *entry_ids)

    def claim_stale(self, min_idle_s: float, limit: int) -> int:
        """Take over what a dead reader left; see the port. Only the ids come: the answers are read as pending ones."""
        with self._translated():
            self._join()
            claimed: Any = self._client.xautoclaim(
                self._replies,
                self._group,
                self._consumer,
                min_idle_time=round(min_idle_s * 1000),
                count=limit,
                justid=True,
            )
        return len(claimed)

    def history(self, after: str, limit: int) -> Sequence[StreamEntry]:
        """Return entries of the message stream, whoever appended them; see the port."""
        with self._translated():
            page: Any = self._client.xrange(self._stream, min=f"({after}" if after else "-", count=limit)
        return [StreamEntry(_text(entry_id), _fields(raw)) for entry_id, raw in page]

    def reread_replies(self) -> None:
        """Move the group back to the stream's beginning; see the port."""
        with self._translated():
            self._join()
            self._client.xgroup_setid(self._replies, self._group, id="0")

    def _join(self) -> None:
        if self._joined:
            return
        try:
            self._client.xgroup_create(self._replies, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._joined = True

    @property
    def place(self) -> str:
        """Where the server is, without credentials."""
        options = self._client.connection_pool.connection_kwargs
        return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            if str(error).startswith("NOGROUP"):  # Redis came back without the group: it is joined again
                self._joined = False
            pool = self._client.connection_pool
            tls = (
                None if "path" in pool.connection_kwargs else issubclass(pool.connection_class, SSLConnection)
            )
            raise QueueError(describe(error, self.place, tls=tls)) from error


def _entries(answer: Any) -> list[tuple[Any, Any]]:
    """Flatten what XREADGROUP answers: lists in RESP2, a mapping in RESP3; a deleted entry has no fields."""
    streams = answer.values() if isinstance(answer, Mapping) else [entries for _, entries in answer or ()]
    found: list[tuple[Any, Any]] = []
    for entries in streams:
        flat = (
            [entry for page in entries for entry in page]
            if entries and isinstance(entries[0], list)
            else entries
        )
        found += [(entry_id, raw) for entry_id, raw in flat]
    return found


def _fields(raw: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in (raw or {}).items()}


def _text(value: Any) -> str:
    """Decode for keeping: bytes that are no UTF-8 stay readable as escapes."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
