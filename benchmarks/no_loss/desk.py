# SPDX-License-Identifier: AGPL-3.0-or-later
"""A case system that acts on each message once and answers: the other side, which shares no code with the product.

Its memory is one SQLite file: what it acted on, in order, and every reply with the stream entry that carries it. A queue
that came back older has lost replies too; they are sent again, as any case system with an outbox can do.
"""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from no_loss.faults import Points
from no_loss.parts import Orders, Places

STREAM, REPLIES, GROUP, NAME = "gridwatch:cases", "gridwatch:case-replies", "case-system", "desk-1"
SOURCE = "urn:case-system:no-loss"
PAGE, BLOCK_MS, PAUSE_S, TIMEOUT_S = 50, 50, 0.1, 1.0
LOOK_BACK = 5_000
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS acted (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cases (incident_id TEXT PRIMARY KEY, revision INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, fields TEXT NOT NULL, entry TEXT);
CREATE INDEX IF NOT EXISTS replies_waiting ON replies (n) WHERE entry IS NULL;
"""
# What follows an acceptance: some cases stay with a unit, some come back, most are closed.
_STEPS: Final = ("dispatched", "signed", "handled", "verified", "closed")
_COURSES: Final = (
    _STEPS,
    _STEPS,
    _STEPS[:2],
    ("returned",),
    (*_STEPS[:3], "returned", "dispatched", "signed"),
)


def desk(places: Places, teller: Connection) -> None:
    """Be the case system until killed."""
    points = Points(teller)
    Orders(teller, points)
    system = CaseSystem(places, points)
    teller.send(("up",))
    while True:
        try:
            system.turn()
        except redis.RedisError:
            system.begin_again()
            time.sleep(PAUSE_S)


class CaseSystem:
    """One consumer of its group."""

    def __init__(self, places: Places, points: Points) -> None:
        self._points = points
        self._client = redis.Redis.from_url(
            places.redis_url, decode_responses=True, socket_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        self._file = sqlite3.connect(places.desk_file, isolation_level=None, timeout=30)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.executescript(_TABLES)
        self._server = ""  # the queue's process that was talked to last

    def begin_again(self) -> None:
        """After a fault: what was handed to us in an answer that got lost is among the unfinished entries."""
        self._server = ""

    def turn(self) -> None:
        """Take one page of messages and send the replies that wait."""
        server = str(self._client.info("server")["run_id"])
        if server != self._server:
            self._join()
            self._notice_lost_replies()
            self._server = server
        self._send()
        self._take(self._read(">", BLOCK_MS))
        self._send()

    def _join(self) -> None:
        try:
            self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        while entries := self._read("0", None):
            self._take(entries)

    def _read(self, start: str, block_ms: int | None) -> list[Any]:
        answer: Any = self._client.xreadgroup(GROUP, NAME, {STREAM: start}, count=PAGE, block=block_ms)
        streams = answer.values() if isinstance(answer, Mapping) else [entries for _, entries in answer or ()]
        return [entry for entries in streams for entry in entries]

    def _take(self, entries: list[Any]) -> None:
        if not entries:
            return
        self._points.passing("feedback.read")
        for _, fields in entries:
            if fields and fields.get("type", "").startswith("cn.gridwatch.incident."):
                self._act(fields)
        self._points.passing("feedback.committed")
        self._client.xack(STREAM, GROUP, *(entry_id for entry_id, _ in entries))
        self._points.passing("feedback.acked")

    def _act(self, fields: Mapping[str, str]) -> None:
        sha256 = hashlib.sha256(fields["data"].encode()).hexdigest()
        with self._transaction():
            known = self._file.execute("SELECT sha256 FROM acted WHERE id = ?", (fields["id"],)).fetchone()
            if known is not None:  # at least once: act on an id once
                return
            self._file.execute("INSERT INTO acted (id, sha256) VALUES (?, ?)", (fields["id"], sha256))
            self._answer(fields)
            self._points.passing("feedback.in_transaction")

    def _answer(self, fields: Mapping[str, str]) -> None:
        incident_id, decision = fields["subject"], json.loads(fields["data"])["decision"]
        found = self._file.execute("SELECT state FROM cases WHERE incident_id = ?", (incident_id,)).fetchone()
        if found is None:
            self._file.execute("INSERT INTO cases VALUES (?, 0, 'registered')", (incident_id,))
        state, draw = found[0] if found else "registered", hashlib.sha256(incident_id.encode()).digest()[0]
        self._say(incident_id, "reported", answers=fields["id"], outcome="stored")
        if found is None and draw % 7 == 0:
            self._decide(incident_id)
        if decision == "confirmed" and state == "registered":
            words = ("accepted", *_COURSES[draw % len(_COURSES)])
            for word in words:
                for unit in _units(word, draw):
                    self._say(incident_id, word, **unit)
        elif decision == "dismissed" and state not in ("closed", "voided"):
            self._say(incident_id, "voided", reason="dismissed")

    def _say(self, incident_id: str, word: str, **details: Any) -> None:
        (revision,) = self._file.execute(
            "UPDATE cases SET revision = revision + 1, state = CASE ? WHEN 'reported' THEN state ELSE ? END"
            " WHERE incident_id = ? RETURNING revision",
            (word, word, incident_id),
        ).fetchone()
        case_id = f"AJ-{incident_id}"
        data = {"incident_id": incident_id, "case_id": case_id, "case_revision": revision, "at": _now()}
        self._line_up(f"{case_id}:{revision}", f"cn.gridwatch.case.{word}.v1", data | details)

    def _decide(self, incident_id: str) -> None:
        """Decide on the case system's own screen."""
        data = {"incident_id": incident_id, "decision": "confirmed", "by": "D-12", "at": _now()}
        self._line_up(f"{incident_id}:decided", "cn.gridwatch.decision.made.v1", data)

    def _line_up(self, reply_id: str, kind: str, data: Mapping[str, Any]) -> None:
        fields = {
            "specversion": "1.0",
            "id": reply_id,
            "source": SOURCE,
            "type": kind,
            "subject": str(data["incident_id"]),
            "time": str(data["at"]),
            "datacontenttype": "application/json",
            "data": json.dumps(data, ensure_ascii=False, sort_keys=True),
        }
        self._file.execute("INSERT INTO replies (id, fields) VALUES (?, ?)", (reply_id, json.dumps(fields)))

    def _send(self) -> None:
        """Send the replies that wait, in order; a death in between sends them again."""
        waiting = "SELECT n, fields FROM replies WHERE entry IS NULL ORDER BY n LIMIT 100"
        while rows := self._file.execute(waiting).fetchall():
            self._points.passing("feedback.before_send")
            pipeline = self._client.pipeline(transaction=True)
            for _, fields in rows:
                pipeline.xadd(REPLIES, json.loads(fields))
            entries = pipeline.execute()
            self._points.passing("feedback.sent")
            with self._transaction():
                for (number, _), entry in zip(rows, entries, strict=True):
                    self._file.execute("UPDATE replies SET entry = ? WHERE n = ?", (entry, number))

    def _notice_lost_replies(self) -> None:
        """Send again what this server has not: it came back older."""
        there = {entry for entry, _ in self._client.xrevrange(REPLIES, count=LOOK_BACK)}
        newest = "SELECT n, entry FROM replies WHERE entry IS NOT NULL ORDER BY n DESC LIMIT ?"
        lost = [(n,) for n, entry in self._file.execute(newest, (LOOK_BACK // 2,)) if entry not in there]
        self._file.executemany("UPDATE replies SET entry = NULL WHERE n = ?", lost)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._file.execute("ROLLBACK")
            raise
        self._file.execute("COMMIT")


def _units(word: str, draw: int) -> list[dict[str, Any]]:
    """Return the unit details of a step: one that leads, and in half of the cases one that helps; {} where no unit acts."""
    if word not in ("dispatched", "signed"):
        return [{}]
    lead = {"unit": {"code": "51011700", "name": "环川街道综合执法办"}, "role": "lead"}
    assist = {"unit": {"code": "51011701", "name": "环川网格"}, "role": "assist"}
    return [lead, assist] if draw % 2 else [lead]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
