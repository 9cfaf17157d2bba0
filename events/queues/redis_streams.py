# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case queue on Redis Streams (Redis 6.2 or later, Valkey). The room's only door to Redis.

Stream and mark are written by one script, so they come back together after a crash; `docs/case-queue.md` has the names.
Nothing is trimmed here: the stream is shared, and its owner decides how long it is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from events.errors import QueueError
from events.messages import CaseMessage
from events.queues.port import FIRST_SEQ, AppendResult, Mark, Outcome, ReplyEntry
from gridwatch.core.redact import redact

TAIL_PAGE = 500

# KEYS: stream, marks. ARGV: source, epoch, expected seq, own seq, then the entry's fields and values.
# The answer: outcome, and the mark as it is then ("" for none).
APPEND: Final = """
local mark = redis.call('HGET', KEYS[2], ARGV[1])
local expected, own = tonumber(ARGV[3]), tonumber(ARGV[4])
local at = 0
if mark then
  local epoch, seq = string.match(mark, '^(.*):(%d+)$')
  if epoch ~= ARGV[2] then return {'conflict', mark} end
  at = tonumber(seq)
elseif redis.call('XLEN', KEYS[1]) > 0 then
  return {'absent', ''}
end
if at >= own then return {'there', mark or ''} end
if at == expected then
  redis.call('XADD', KEYS[1], '*', unpack(ARGV, 5))
  local moved = ARGV[2] .. ':' .. ARGV[4]
  redis.call('HSET', KEYS[2], ARGV[1], moved)
  return {'appended', moved}
end
if at < expected then return {'behind', mark or ''} end
return {'conflict', mark or ''}
"""


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
        self._joined = False

    def append(self, message: CaseMessage, expected: Mark | None) -> AppendResult:
        """Append one message; see the port."""
        due = expected or Mark(message.journalepoch, FIRST_SEQ)
        flat = [text for pair in message.fields().items() for text in pair]
        with _translated():
            answer: Any = self._append(
                keys=[self._stream, self._marks],
                args=[message.source, due.epoch, due.seq, message.journalseq, *flat],
            )
        outcome, mark = (_text(part) for part in answer)
        return AppendResult(Outcome(outcome), Mark.parse(mark) if mark else None)

    def mark(self, source: str) -> Mark | None:
        """Return the mark of a source, or None."""
        with _translated():
            found: Any = self._client.hget(self._marks, source)
        return None if found is None else Mark.parse(_text(found))

    def newest_of(self, source: str) -> Mark | None:
        """Read the stream from its end, in pages, and return the last message of `source`, or None."""
        upper = "+"
        while True:
            with _translated():
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
        with _translated():
            self._client.hsetnx(self._marks, source, str(mark))

    def read_replies(self, limit: int, wait_s: float, *, pending: bool = False) -> Sequence[ReplyEntry]:
        """Return answers; see the port."""
        with _translated():
            self._join()
            start, block_ms = ("0", None) if pending else (">", max(1, round(wait_s * 1000)))
            try:
                answer: Any = self._client.xreadgroup(
                    self._group, self._consumer, {self._replies: start}, count=limit, block=block_ms
                )
            except ResponseError as error:
                if str(error).startswith("NOGROUP"):  # Redis came back without it
                    self._joined = False
                raise
        return [ReplyEntry(_text(entry_id), _fields(raw)) for entry_id, raw in _entries(answer)]

    def ack(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge answers that were recorded."""
        if entry_ids:
            with _translated():
                self._client.xack(self._replies, self._group, *entry_ids)

    def _join(self) -> None:
        if self._joined:
            return
        try:
            self._client.xgroup_create(self._replies, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._joined = True


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise QueueError(redact(f"the case queue does not answer: {error}")) from error


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
