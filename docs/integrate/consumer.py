# SPDX-License-Identifier: AGPL-3.0-or-later
# ruff: noqa: INP001, T201  a program to read and to copy, not a module of the project; it talks to a terminal
"""A consumer of gridwatch's case messages, to start from: one file, Python 3.11, and `pip install redis`.

It keeps what it was told in one SQLite file, acts on every message once, answers every message, opens a case when an
incident is confirmed and voids it when the incident is dismissed. Change `open_case` and `void_case`: call your own
system there. It is an example and no case system: nobody is dispatched by it.

    consumer.py work --redis redis://127.0.0.1:6379/0            (or the URL in REDIS_URL: it may hold a password)
    consumer.py work --door https://gridwatch:8000 --token-file token
    consumer.py list
    consumer.py say INCIDENT dispatched --unit 消防救援大队 --role lead

The rules that it follows stand in docs/case-queue.md; the numbers in the comments are those of docs/integrate/README.md.
"""

import argparse
import hashlib
import json
import os
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

SOURCE = "urn:case-system:example"  # who answers: choose one name for your system and keep it for ever
GROUP, CONSUMER = (
    "case-system",
    "consumer-1",
)  # the same after every restart, so that unfinished entries come back
MESSAGES, REPLIES = "gridwatch:cases", "gridwatch:case-replies"
OURS = "cn.gridwatch.incident."
PAGE, WAIT_S, PAUSE_S = 50, 5, 5

TABLES = """
CREATE TABLE IF NOT EXISTS seen (source TEXT, id TEXT, sha256 TEXT, PRIMARY KEY (source, id));
CREATE TABLE IF NOT EXISTS cases (source TEXT, incident TEXT, case_id TEXT, case_revision INTEGER DEFAULT 0,
  revision INTEGER DEFAULT 0, state TEXT DEFAULT 'registered', title TEXT, PRIMARY KEY (source, incident));
CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, fields TEXT);
CREATE TABLE IF NOT EXISTS place (door TEXT PRIMARY KEY, epoch TEXT, after_seq INTEGER);
"""

Fields = dict[str, str]


class Queue(Protocol):
    """The way to gridwatch; two are below."""

    def read(self) -> list[tuple[str, Fields]]:
        """Return the next entries with the name under which each is acknowledged."""

    def done(self, places: list[str]) -> None:
        """Acknowledge entries whose effect is in the file."""

    def send(self, fields: Fields) -> None:
        """Send one reply."""


# ---- your system: the two places to change ---------------------------------------------------------------------------


def open_case(report: dict[str, Any], case_id: str) -> None:
    """Take a confirmed incident into your system. May be called again after a crash: make it safe to repeat."""
    unit = report.get("dept_hint_name") or "综合信息指挥室"
    print(f"{case_id} 立案: {report['title']} {report['address_text']} → {unit}", flush=True)


def void_case(report: dict[str, Any], case_id: str) -> None:
    """Withdraw a case whose incident was dismissed or merged into another one. Safe to repeat as well."""
    print(f"{case_id} 作废: {report.get('decision_reason') or report.get('merged_into')}", flush=True)


# ---- what happens to a message ---------------------------------------------------------------------------------------


def take(db: sqlite3.Connection, fields: Fields) -> None:
    """Let one entry take effect, within the caller's transaction."""
    if not fields.get("type", "").startswith(OURS):
        return  # 1. the queue is shared: what others write there is not for us
    source, message_id, sha256 = (
        fields["source"],
        fields["id"],
        hashlib.sha256(fields["data"].encode()).hexdigest(),
    )
    report = json.loads(fields["data"])
    incident = fields["subject"]
    db.execute(
        "INSERT OR IGNORE INTO cases (source, incident, case_id, title) VALUES (?, ?, ?, ?)",
        (source, incident, f"EX-{incident}", report["title"]),
    )
    case_id, known, state = db.execute(
        "SELECT case_id, revision, state FROM cases WHERE source = ? AND incident = ?", (source, incident)
    ).fetchone()
    before = db.execute(
        "SELECT sha256 FROM seen WHERE source = ? AND id = ?", (source, message_id)
    ).fetchone()
    if (
        before is not None and before[0] != sha256
    ):  # 3. the same id with other content: raise it, overwrite nothing
        answer(db, source, incident, "reported", answers=message_id, outcome="conflict")
        return
    db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (source, message_id, sha256))
    if report["revision"] <= known:  # 2. sent again, or overtaken: answered, and nothing else
        answer(db, source, incident, "reported", answers=message_id, outcome="duplicate")
        return
    if (
        int(fields["previous"]) > known
    ):  # 4. one before this is missing; every message is whole, so we go on with it
        print(f"{case_id} revision {fields['previous']} has not come yet 缺少修订", flush=True)
    db.execute(
        "UPDATE cases SET revision = ?, title = ? WHERE source = ? AND incident = ?",
        (report["revision"], report["title"], source, incident),
    )
    answer(db, source, incident, "reported", answers=message_id, outcome="stored")
    over = state in {"closed", "rejected", "voided"}
    if report["decision"] == "dismissed" or fields["type"] == f"{OURS}voided.v1":
        if not over:
            void_case(report, case_id)
            answer(
                db,
                source,
                incident,
                "voided",
                answers=message_id,
                reason=report.get("decision_reason") or "merged",
            )
    elif report["decision"] == "confirmed" and state in {"registered", "voided"}:
        if report["run_mode"] != "actual":  # 5. exercises and tests open no case
            return
        open_case(report, case_id)
        word = "accepted" if state == "registered" else "reopened"
        answer(db, source, incident, word, answers=message_id)


def answer(db: sqlite3.Connection, source: str, incident: str, word: str, **details: Any) -> None:
    """Put a reply in line. It keeps its number and its bytes, however often it is sent (6)."""
    case_id, number = db.execute(
        "UPDATE cases SET case_revision = case_revision + 1, state = CASE ?3 WHEN 'reported' THEN state ELSE ?3 END"
        " WHERE source = ?1 AND incident = ?2 RETURNING case_id, case_revision",
        (source, incident, word),
    ).fetchone()
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    data = {"incident_id": incident, "case_id": case_id, "case_revision": number, "at": at} | details
    fields = {
        "specversion": "1.0",
        "id": f"{case_id}:{number}",
        "source": SOURCE,
        "type": f"cn.gridwatch.case.{word}.v1",
        "subject": incident,
        "destination": source,  # whom it answers, where several gridwatches read the same stream
        "time": at,
        "datacontenttype": "application/json",
        "data": json.dumps(data, ensure_ascii=False),
    }
    db.execute("INSERT INTO outbox (fields) VALUES (?)", (json.dumps(fields, ensure_ascii=False),))
    print(f"{case_id}:{number} {word} {details.get('outcome', '')}".rstrip(), flush=True)


def send_waiting(db: sqlite3.Connection, queue: Queue) -> None:
    """Send what waits in line, oldest first; a reply is forgotten when it was taken."""
    for seq, fields in db.execute("SELECT seq, fields FROM outbox ORDER BY seq").fetchall():
        queue.send(json.loads(fields))
        db.execute("DELETE FROM outbox WHERE seq = ?", (seq,))


# ---- the two ways to gridwatch ---------------------------------------------------------------------------------------


class RedisQueue:
    """Redis Streams: a consumer group that remembers where we are."""

    def __init__(self, url: str, wait_s: float) -> None:
        import redis  # noqa: PLC0415  not needed by who comes through the door

        self._redis = redis.Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=WAIT_S + 10)
        self._wait_s = wait_s
        self._unfinished = True  # first what we read before a crash and did not acknowledge
        try:
            self._redis.xgroup_create(MESSAGES, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # it is there already
                raise

    def read(self) -> list[tuple[str, Fields]]:
        """Return entries: those left unfinished, then new ones."""
        if self._unfinished:
            entries = self._page("0", None)
            if entries:
                return entries
            self._unfinished = False
        return self._page(">", max(1, round(self._wait_s * 1000)))

    def done(self, places: list[str]) -> None:
        """Acknowledge."""
        self._redis.xack(MESSAGES, GROUP, *places)

    def send(self, fields: Fields) -> None:
        """Append a reply."""
        entry: dict[Any, Any] = dict(fields)
        self._redis.xadd(REPLIES, entry)

    def _page(self, start: str, block_ms: int | None) -> list[tuple[str, Fields]]:
        found: Any = self._redis.xreadgroup(GROUP, CONSUMER, {MESSAGES: start}, count=PAGE, block=block_ms)
        return [(entry, fields or {}) for _, page in found for entry, fields in page]


class DoorQueue:
    """gridwatch's HTTP door: no groups there, so we remember ourselves how far we are."""

    def __init__(self, url: str, wait_s: float, token: str, db: sqlite3.Connection) -> None:
        self._url, self._wait_s, self._token, self._db = url.rstrip("/"), wait_s, token, db

    def read(self) -> list[tuple[str, Fields]]:
        """Return the messages after the last one that was done; all of them where the journal is another."""
        known = self._db.execute("SELECT epoch, after_seq FROM place WHERE door = ?", (self._url,)).fetchone()
        try:
            stand = f"after={known[1]}&epoch={known[0]}&" if known else ""
            page = self._ask(f"case-messages?{stand}limit={PAGE}&wait_s={self._wait_s}")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.CONFLICT:
                raise
            page = self._ask(f"case-messages?limit={PAGE}")  # what we know already is answered as duplicate
        self._next = (self._url, page["epoch"], page["next"])
        if not page["items"]:
            self.done([])
        return [("", fields) for fields in page["items"]]

    def done(self, places: list[str]) -> None:  # noqa: ARG002  a page is done with as a whole
        """Remember how far we are."""
        self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?)", self._next)

    def send(self, fields: Fields) -> None:
        """Post a reply."""
        self._ask("case-replies", fields)

    def _ask(self, path: str, body: Fields | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self._token}"} if self._token else {}
        )
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/api/v1/{path}", data, headers)  # noqa: S310  the URL is ours
        with urllib.request.urlopen(request, timeout=WAIT_S + 10) as response:  # noqa: S310
            return json.load(response)


# ---- the program -----------------------------------------------------------------------------------------------------


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing, whatever dies."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def work(db: sqlite3.Connection, queue: Queue, *, once: bool) -> None:
    """Take entries for ever, or `once` until none is left. First the effect, then the replies, last the acknowledgement: no crash loses any (7)."""
    while True:
        send_waiting(db, queue)
        entries = queue.read()
        if once and not entries:
            return
        for place, fields in entries:
            try:
                with transaction(db):
                    take(db, fields)
            except (
                KeyError,
                TypeError,
                ValueError,
            ) as error:  # 8. not as the contract says: set aside, go on
                print(f"entry {place} cannot be read 无法读取: {error!r}", file=sys.stderr, flush=True)
        if entries:
            send_waiting(db, queue)
            queue.done([place for place, _ in entries])


def say(db: sqlite3.Connection, incident: str, word: str, details: dict[str, Any]) -> None:
    """Put a step of a case in line, as your system's own screens would do it."""
    unit = details.pop("unit")
    if unit:
        details["unit"] = {"code": "", "name": unit}
    found = db.execute("SELECT source FROM cases WHERE incident = ?", (incident,)).fetchone()
    if found is None:
        raise SystemExit(f"no incident {incident} came here yet")
    with transaction(db):
        answer(db, found[0], incident, word, **{name: value for name, value in details.items() if value})


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description="An example of a case system's side of gridwatch's queue.")
    parser.add_argument("--state", default="cases.db", help="the file that it keeps")
    commands = parser.add_subparsers(dest="command", required=True)
    working = commands.add_parser("work", help="take messages and send replies, until stopped")
    way = working.add_mutually_exclusive_group()
    way.add_argument("--redis", metavar="URL", help="where REDIS_URL of the environment is not meant")
    way.add_argument("--door", metavar="URL", help="gridwatch's API, where Redis cannot be reached")
    working.add_argument("--token-file", help="the token for the door")
    working.add_argument("--once", action="store_true", help="take what is there, then end")
    saying = commands.add_parser("say", help="send a step of a case: dispatched, signed, handled, returned …")
    saying.add_argument("incident")
    saying.add_argument("word")
    for name in ("unit", "role", "reason", "note"):
        saying.add_argument(f"--{name}")
    commands.add_parser("list", help="show the cases")
    given = parser.parse_args()
    db = sqlite3.connect(given.state, timeout=30, isolation_level=None)
    db.executescript(TABLES)
    if given.command == "list":
        for row in db.execute(
            "SELECT case_id, title, state, revision, case_revision FROM cases ORDER BY rowid"
        ):
            print(*row)
    elif given.command == "say":
        say(
            db,
            given.incident,
            given.word,
            {name: getattr(given, name) for name in ("unit", "role", "reason", "note")},
        )
    else:
        run(db, given)


def run(db: sqlite3.Connection, given: argparse.Namespace) -> None:
    """Work, and begin again when the other side was away."""
    token = Path(given.token_file).read_text("ascii").strip() if given.token_file else ""
    url = given.redis or os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
    wait_s = 0.2 if given.once else WAIT_S
    while True:
        try:
            queue = DoorQueue(given.door, wait_s, token, db) if given.door else RedisQueue(url, wait_s)
            work(db, queue, once=given.once)
            return
        except KeyboardInterrupt:
            return
        except Exception as error:  # whatever it was, the next try begins where this one was cut off
            print(f"not connected 未连接: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            if given.once:
                raise SystemExit(1) from error
            time.sleep(PAUSE_S)


if __name__ == "__main__":
    main()
