# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the harness reads by itself: plain SQL and plain Redis, none of the product's readers."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine, create_engine, text

from no_loss.desk import SOURCE, STREAM
from no_loss.recount import Kept

PAGE = 1_000
GENESIS = "0" * 64
HASHED = ("seq", "incident_id", "revision", "kind", "actor", "at", "payload_hash", "prev_hash", "message_id")
MARKS = f"{STREAM}:marks"


class Onlooker:
    """Reads database, queue and the case system's file while others write them."""

    def __init__(self, database_url: str, redis_url: str, desk_file: Path) -> None:
        self._engine: Engine = create_engine(database_url, pool_pre_ping=True)
        self.queue = redis.Redis.from_url(redis_url, decode_responses=True, socket_timeout=2)
        self._desk_file = desk_file
        self._seq = self._due = self._last_due = self._recorded = 0  # of the journal so far

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        self.queue.close()

    def unsettled(self) -> str:
        """Return what has not arrived yet, in words; empty when everything has.

        Raises:
            SQLAlchemyError, RedisError, sqlite3.Error: one of them does not answer.
        """
        self._read_on()
        marks = self.queue.hvals(MARKS)
        at = int(marks[0].rpartition(":")[2]) if marks else 0
        with closing(sqlite3.connect(self._desk_file, timeout=5)) as file:
            (acted,) = file.execute("SELECT coalesce(max(n), 0) FROM acted").fetchone()
            (said,) = file.execute("SELECT coalesce(max(n), 0) FROM replies").fetchone()
            (waiting,) = file.execute("SELECT count(*) FROM replies WHERE entry IS NULL").fetchone()
        if at != self._last_due:
            return f"the mark stands at {at}, the last message is row {self._last_due}"
        if acted != self._due:
            return f"acted on {acted} of {self._due} messages"
        if waiting or self._recorded != said:
            return f"{self._recorded} of {said} replies are recorded, {waiting} were not sent"
        return ""

    def _read_on(self) -> None:
        """Count the rows that are new since the last look: the journal only grows."""
        query = text("SELECT seq, actor, message_id FROM journal WHERE seq > :seq ORDER BY seq")
        with self._engine.connect() as connection:
            for seq, actor, message_id in connection.execute(query, {"seq": self._seq}):
                self._seq = seq
                self._recorded += actor == f"case:{SOURCE}"
                if message_id is not None:
                    self._due, self._last_due = self._due + 1, seq

    def keep(self, acknowledged: Iterable[tuple[str, int]]) -> Kept:
        """Read everything that a recount needs."""
        with closing(sqlite3.connect(self._desk_file)) as file:
            consumer = [
                {"id": id_, "sha256": sha}
                for id_, sha in file.execute("SELECT id, sha256 FROM acted ORDER BY n")
            ]
            replies = [{"id": id_} for (id_,) in file.execute("SELECT id FROM replies ORDER BY n")]
        journal, answers = self._journal()
        return Kept(
            journal=journal,
            stream=list(self._stream()),
            consumer=consumer,
            acknowledged=[{"incident_id": id_, "revision": revision} for id_, revision in acknowledged],
            replies=replies,
            answers=answers,
        )

    def broken_rows(self) -> int:
        """Count the rows whose hashes do not chain, and the messages whose bytes are not what the row has frozen."""
        sent = {entry["id"]: entry["sha256"] for entry in self._stream()}
        broken, before = 0, GENESIS
        for row in self._rows():
            chained = {name: row[name] for name in HASHED}
            # Sorted keys of plain texts and whole numbers: RFC 8785 says the same.
            own = _sha256(json.dumps(chained, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
            payload = row["payload"] or ""
            broken += (row["prev_hash"], row["row_hash"], row["payload_hash"]) != (
                before,
                own,
                _sha256(payload),
            )
            before = row["row_hash"]
            if row["message_id"] is not None:
                broken += sent.get(row["message_id"]) != _sha256(json.loads(payload)["message"]["data"])
        return broken

    def _journal(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        journal, answers = [], []
        for row in self._rows():
            journal.append({name: row[name] for name in ("seq", "incident_id", "revision", "message_id")})
            reply = (json.loads(row["payload"]) if row["payload"] else {}).get("reply")
            if reply and reply.get("source") == SOURCE:
                answers.append({"seq": row["seq"], "id": reply["id"]})
        return journal, answers

    def _rows(self) -> Iterator[Any]:
        with self._engine.connect() as connection:
            found = connection.execution_options(yield_per=PAGE).execute(
                text("SELECT * FROM journal ORDER BY seq")
            )
            yield from found.mappings()

    def _stream(self) -> Iterator[dict[str, Any]]:
        lower = "-"
        while page := self.queue.xrange(STREAM, min=lower, count=PAGE):
            for entry, fields in page:
                yield {
                    "entry": entry,
                    "source": fields.get("source", ""),
                    "id": fields.get("id", ""),
                    "previous": fields.get("previous", ""),
                    "sha256": _sha256(fields.get("data", "")),
                }
            lower = "(" + page[-1][0]


def save(kept: Kept, folder: Path) -> None:
    """Write the files of a recount."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in Kept.__dataclass_fields__:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in getattr(kept, name))
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def _sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()
