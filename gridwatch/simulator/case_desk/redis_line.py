# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case desk's line over Redis Streams: one consumer of a group on the one stream, a producer on the other."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact
from gridwatch.simulator.case_desk.errors import LineError
from gridwatch.simulator.case_desk.line import Entry

READ_COUNT = 50
SOCKET_TIMEOUT_S = 5.0
REPLY_STREAM_MAX = 1_000_000
IDLE_CONSUMER_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisPlace:
    """Where the streams are.

    Attributes:
        url: redis://, rediss:// or unix://; may hold a password and is never printed.
        consumer: this desk's name in the group, the same after a restart or a new one.
        claim_idle_s: after how long the unfinished entries of another desk are taken over.
    """

    url: str = field(repr=False)
    consumer: str
    cases_stream: str = "gridwatch:cases"
    replies_stream: str = "gridwatch:case-replies"
    group: str = "case-desk"
    claim_idle_s: float = 10.0


class RedisLine:
    """See `line.Line`. Connects on first use; for one thread.

    Raises:
        InputError: the URL is none.
    """

    name = "Redis"

    def __init__(self, place: RedisPlace) -> None:
        self._place = place
        self._client = _client(place.url)
        self._claim_due_mono_s = 0.0

    def open(self) -> Sequence[Entry]:
        """Make the group if it is missing (from the first entry: what was seen is known) and finish own entries."""
        with _translated():
            try:
                self._client.xgroup_create(self._place.cases_stream, self._place.group, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
            return self._read_group("0", None)

    def read(self, wait_s: float) -> Sequence[Entry]:
        """Return the next entries of the group."""
        with _translated():
            return self._read_group(">", max(1, round(wait_s * 1000)))  # 0 would block for ever

    def left_by_others(self) -> Sequence[Entry]:
        """Take over what another desk left unfinished, and forget desks that are long gone."""
        if time.monotonic() < self._claim_due_mono_s:
            return ()
        with _translated():
            found = list(self._claimed())
            self._forget_desks()
        self._claim_due_mono_s = time.monotonic() + max(self._place.claim_idle_s / 2, 0.2)
        return found

    def done(self, entries: Sequence[Entry]) -> None:
        """Acknowledge entries."""
        if entries:
            ids = [entry.place for entry in entries]
            with _translated():
                self._client.xack(self._place.cases_stream, self._place.group, *ids)

    def send(self, replies: Sequence[Mapping[str, str]]) -> None:
        """Append replies, all or none."""
        with _translated():
            pipeline = self._client.pipeline(transaction=True)
            for fields in replies:
                entry: dict[Any, Any] = dict(fields)
                pipeline.xadd(self._place.replies_stream, entry, maxlen=REPLY_STREAM_MAX, approximate=True)
            pipeline.execute()

    def leave(self) -> None:
        """Leave the group if nothing is unfinished; a desk that cannot is forgotten by the others later."""
        stream, group, consumer = self._place.cases_stream, self._place.group, self._place.consumer
        with _translated():
            pending = self._client.xpending_range(
                stream, group, min="-", max="+", count=1, consumername=consumer
            )
            if not pending:
                self._client.xgroup_delconsumer(stream, group, consumer)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _read_group(self, start: str, block_ms: int | None) -> list[Entry]:
        answer: Any = self._client.xreadgroup(
            self._place.group,
            self._place.consumer,
            {self._place.cases_stream: start},
            count=READ_COUNT,
            block=block_ms,
        )
        return [_entry(raw) for _, entries in answer for raw in entries]

    def _claimed(self) -> Iterator[Entry]:
        cursor: Any = b"0-0"
        while True:
            cursor, entries, *_ = self._client.xautoclaim(
                self._place.cases_stream,
                self._place.group,
                self._place.consumer,
                min_idle_time=round(self._place.claim_idle_s * 1000),
                start_id=cursor,
                count=READ_COUNT,
            )
            yield from (_entry(raw) for raw in entries)
            if cursor == b"0-0":
                return

    def _forget_desks(self) -> None:
        stream, group = self._place.cases_stream, self._place.group
        for other in self._client.xinfo_consumers(stream, group):
            if other["pending"] == 0 and other["idle"] > IDLE_CONSUMER_MS:
                self._client.xgroup_delconsumer(stream, group, other["name"])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise LineError(redact(str(error))) from error


def _entry(raw: Any) -> Entry:
    entry_id, fields = raw
    return Entry(entry_id.decode(), fields or None)  # trimmed away while pending: it comes without fields


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
