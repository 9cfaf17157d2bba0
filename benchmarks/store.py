# SPDX-License-Identifier: AGPL-3.0-or-later
"""A store of a million incidents on SQLite and PostgreSQL: how long lists and decisions take, how many inserts a second.

The store is filled through the product's own writer: each incident with its opening row and frozen message, as it stands
after its life. PostgreSQL gets a copy of SQLite's tables where there are some. Then lists are read as the API reads them
(every filter, first page and deep), decisions are made and incidents recorded one by one, every commit on the disk. The
last line is one JSON object; exit 1 where a target is missed.
"""

import argparse
import base64
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filled_store.filling import (
    CAMERAS,
    DAYS,
    KINDS,
    NOW,
    Filling,
    camera_id_of,
    copy_tables,
    end_all,
    finding_of,
)

from events.alerts import Activity, Alert, AlertFilter, Decision
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.reading import AlertReader
from events.stores.sql import Store
from events.times import utc_text
from gridwatch.core.clock import ManualClock, SystemClock
from gridwatch.core.zone import Kind
from tests.postgres import PostgresServer

PAGE, LIST_P95_MS, DECISION_P95_MS = 50, 50.0, 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does."""

    incidents: int
    reads: int
    decisions: int
    inserts_s: float
    seed: int


def timed(call: Callable[[], Any]) -> float:
    """Return how long a call took, milliseconds."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def cpu_ms(call: Callable[[], Any], times: int) -> float:
    """Return the processor time of one call, milliseconds: what a busy machine does not change. PostgreSQL's own is not in it."""
    began = time.process_time()
    for _ in range(times):
        call()
    return round((time.process_time() - began) * 1000 / times, 2)


def p95(milliseconds: list[float]) -> float:
    """Return the 95th percentile (nearest rank), rounded."""
    ordered = sorted(milliseconds)
    return round(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)], 2)


def filters() -> dict[str, AlertFilter]:
    """Return every filter, every pair of kind, decision and activity, and the ones that find little or nothing."""
    found = {"all": AlertFilter(), "open": AlertFilter(open_only=True)}
    found |= {f"camera {camera}": AlertFilter(camera_id=camera_id_of(camera)) for camera in (0, 1234)}
    found["camera 0, pending"] = AlertFilter(camera_id=camera_id_of(0), decision=Decision.PENDING)
    found["no such camera"] = AlertFilter(camera_id="none")
    for kind in Kind:
        found[kind.value] = AlertFilter(kind=kind)
        found[f"{kind.value}, open"] = AlertFilter(kind=kind, open_only=True)
        for decision in Decision:
            found[f"{kind.value}, {decision}"] = AlertFilter(kind=kind, decision=decision)
    for activity in Activity:
        found[activity.value] = AlertFilter(activity=activity)
        for decision in Decision:
            found[f"{activity}, {decision}"] = AlertFilter(activity=activity, decision=decision)
            found[f"fire, {activity}, {decision}"] = AlertFilter(Kind.FIRE, decision, activity)
    return found | {decision.value: AlertFilter(decision=decision) for decision in Decision}


def read_lists(reader: AlertReader, plan: Plan) -> tuple[float, dict[str, dict[str, float]]]:
    """Return the 95th percentile of all reads, then of each filter's first page and of its pages at a random depth."""
    chance, found, every = random.Random(plan.seed), {}, list[float]()
    anywhere = [_cursor_at(NOW - timedelta(days=DAYS) * chance.random()) for _ in range(plan.reads)]
    for name, wanted in filters().items():
        reader.list(wanted, None, PAGE)  # the statement is prepared once
        first = [timed(lambda w=wanted: reader.list(w, None, PAGE)) for _ in range(plan.reads)]  # type: ignore[misc]
        deep = [timed(lambda w=wanted, c=cursor: reader.list(w, c, PAGE)) for cursor in anywhere]  # type: ignore[misc]
        found[name] = {"first": p95(first), "deep": p95(deep)}
        every += first + deep
    return p95(every), found


def _cursor_at(at: datetime) -> str:
    return base64.urlsafe_b64encode(f"{utc_text(at)}|~".encode()).decode().rstrip("=")


def decide(book: IncidentBook, reader: AlertReader, plan: Plan) -> tuple[list[float], float]:
    """Decide on pending incidents from anywhere in the store; return each one's milliseconds, and the processor time of one."""
    chance, taken, used_s = random.Random(plan.seed + 1), list[float](), 0.0
    while len(taken) < plan.decisions:
        cursor = _cursor_at(NOW - timedelta(days=DAYS) * chance.random())
        for alert in reader.list(AlertFilter(decision=Decision.PENDING), cursor, 5).items:
            chosen = chance.choice((Decision.CONFIRMED, Decision.DISMISSED))
            reason = None if chosen is Decision.CONFIRMED else "false_alarm"
            began_s = time.process_time()
            taken.append(
                timed(
                    lambda a=alert, c=chosen, r=reason: book.decide(  # type: ignore[misc]
                        a.id, c, by="op-7", reason=r, note="灯光", seen_revision=a.revision
                    )
                )
            )
            used_s += time.process_time() - began_s
    return taken, round(used_s * 1000 / len(taken), 2)


def insert(book: IncidentBook, plan: Plan) -> tuple[float, float, float]:
    """Record new incidents for the plan's seconds; return how many a second, one's 95th percentile, and its processor time."""
    taken, opened, clock = list[float](), list[Alert | None](), SystemClock()
    began, began_s = time.monotonic(), time.process_time()
    for number in range(
        CAMERAS * len(KINDS)
    ):  # each at a place of its own, or the second would join the first
        if time.monotonic() - began >= plan.inserts_s:
            break
        kind, subtype, _ = KINDS[number % len(KINDS)]
        finding = finding_of(f"new{number}", camera_id_of(number // len(KINDS)), kind, subtype, clock.now())
        taken.append(timed(lambda f=finding: opened.append(book.record(f, None))))  # type: ignore[misc]
    wall_s, used_s = time.monotonic() - began, time.process_time() - began_s
    new = sum(alert is not None and alert.revision == 1 for alert in opened)
    return round(new / wall_s, 1), p95(taken), round(used_s * 1000 / max(1, new), 2)


def measure(url: str, plan: Plan, settle: Callable[[], None]) -> dict[str, Any]:
    """Fill the store of `url`, let the database settle, then measure it."""
    with Store.open(url) as store:
        filling = Filling(store, plan.incidents, plan.seed)
        filled_s = filling.fill()
        settle()
        reader = AlertReader(store)
        book = IncidentBook(
            store,
            ManualClock(NOW),
            places=filling.places,
            grids=Grids.none(),
            evidence=None,
            policy=Policy(),
        )
        list_ms, lists = read_lists(reader, plan)
        worst = max(lists, key=lambda name: max(lists[name].values()))
        decisions, decision_cpu_ms = decide(book, reader, plan)
        end_all(store, SystemClock().now() - timedelta(hours=1))
        per_s, insert_ms, insert_cpu_ms = insert(book, plan)
        return {
            "incidents": sum(reader.counts().by_kind.values()),
            "filled_s": round(filled_s, 1),
            "list_p95_ms": list_ms,
            "list_worst_filter": worst,
            "list_worst_filter_p95_ms": max(lists[worst].values()),
            "list_all_first_p95_ms": lists["all"]["first"],
            "list_all_deep_p95_ms": lists["all"]["deep"],
            "counts_p95_ms": p95([timed(reader.counts) for _ in range(plan.reads)]),
            "list_cpu_ms": cpu_ms(lambda: reader.list(AlertFilter(), None, PAGE), plan.reads),
            "decision_cpu_ms": decision_cpu_ms,
            "insert_cpu_ms": insert_cpu_ms,
            "decision_p95_ms": p95(decisions),
            "decision_max_ms": round(max(decisions), 2),
            "inserts_per_s": per_s,
            "insert_p95_ms": insert_ms,
            "lists": lists,
        }


@contextmanager
def database(name: str, folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the URL of a store in `folder`, on the disk as in production, and what its own caretaker does meanwhile."""
    if name == "sqlite":
        yield f"sqlite:///{folder / 'store.db'}", lambda: None
        return
    with PostgresServer(folder / "postgresql", durable=True) as server:
        filled = folder / "store.db"
        if filled.exists() and not (folder / "copied").exists():
            copy_tables(filled, server.url("postgres"))
            (folder / "copied").touch()
        yield server.url("postgres"), lambda: server.execute("VACUUM ANALYZE")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--incidents", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--reads", type=int, default=40, help="lists of each filter, first and deep")
    parser.add_argument("--decisions", type=int, default=300)
    parser.add_argument("--inserts-s", type=float, default=30, help="seconds of sustained inserts")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--keep", type=Path, help="keep the stores in this folder, and go on with what is there"
    )
    return parser.parse_args()


def main() -> int:
    """Measure the databases one after the other."""
    given = arguments()
    plan = Plan(given.incidents, given.reads, given.decisions, given.inserts_s, given.seed)
    folder = given.keep or Path(tempfile.mkdtemp(prefix="gridwatch-store-"))
    folder.mkdir(parents=True, exist_ok=True)
    names = ("sqlite", "postgresql") if given.database == "both" else (given.database,)
    found: dict[str, Any] = {}
    try:
        for name in names:
            with database(name, folder) as (url, settle):
                found[name] = measure(url, plan, settle)
            lists = found[name].pop("lists")
            for wanted, taken in sorted(lists.items(), key=lambda item: -max(item[1].values())):
                print(f"{name:10} {wanted:30} first {taken['first']:8.2f} ms  deep {taken['deep']:8.2f} ms")
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    over = [one["list_p95_ms"] / LIST_P95_MS for one in found.values()]
    over += [one["decision_p95_ms"] / DECISION_P95_MS for one in found.values()]
    held = max(over) <= 1
    print(json.dumps({"incidents": plan.incidents, "targets_held": held} | found))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
