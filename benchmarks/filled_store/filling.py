# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fills a store as a city's cameras would have over the days, by the product's own writer; copies one into PostgreSQL."""

import random
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from events.alerts import Activity, Alert, CaseState, Decided, Decision
from events.grids import Grids
from events.incident import Incident
from events.joining import Change
from events.opening import Opener
from events.policy import Policy
from events.reading import AlertReader
from events.recording import Act, Recording
from events.stores.schema import METADATA
from events.stores.sql import Store
from events.stores.writing import Entry, Writer
from gridwatch.app.bars import progress_bars
from gridwatch.core.camera import Camera, Location
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.ids import uuid7
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind

CAMERAS, DAYS = 3_500, 400
IN_ONE_TRANSACTION = 2_000
OPEN_NOW = 500  # the newest, still ongoing
KINDS = (
    (Kind.TRAFFIC, "stopped_vehicle", 60),
    (Kind.CROWD, "count", 20),
    (Kind.SMOKE, "smoke", 12),
    (Kind.FIRE, "flame", 8),
)
NOW = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)


class Filling:
    """Makes incidents as a city's cameras would have over the days, and writes them.

    One incident of each sort is made by the product's own rules; the others are copies of it with their own id, camera and
    times. Rows, hashes, projections and tallies are the writer's.
    """

    def __init__(self, store: Store, incidents: int, seed: int) -> None:
        self._store, self._incidents, self._seed = store, incidents, seed
        self.places = {camera.camera_id: camera for camera in map(_camera, range(CAMERAS))}
        self._patterns: dict[tuple[Kind, Decision, bool], tuple[Incident, dict[str, Any]]] = {}

    def fill(self) -> float:
        """Write what is missing of the incidents; return the seconds it took."""
        began, there = time.monotonic(), AlertReader(self._store).last_seq()
        with progress_bars() as bars:
            task = bars.add_task("incidents", total=self._incidents, completed=there)
            while there < self._incidents:
                until = min(self._incidents, there + IN_ONE_TRANSACTION)
                with self._store.write() as tx:
                    for number in range(there, until):
                        self._write(tx, number)
                there = until
                bars.update(task, completed=there)
        return time.monotonic() - began

    def _write(self, tx: Writer, number: int) -> None:
        chance = random.Random(self._seed + number)
        at = NOW - timedelta(days=DAYS) * (1 - number / self._incidents)
        kind, subtype, _ = chance.choices(KINDS, [weight for _, _, weight in KINDS])[0]
        camera_id = camera_id_of(
            chance.randrange(CAMERAS) if number % 7 else 0
        )  # one camera sees far more than others
        old = number < self._incidents - OPEN_NOW
        decision = chance.choices(list(Decision), (3, 27, 70) if old else (50, 50, 0))[0]
        pattern, payload = self._pattern(kind, subtype, decision, old=old)
        alert = replace(pattern.alert, id=uuid7(at), camera_id=camera_id, opened_at=at, began_at=at)
        data = (
            payload["message"]["data"].replace(pattern.alert.id, alert.id).replace(camera_id_of(0), camera_id)
        )
        message = {**payload["message"], "data": data, "epoch": self._store.epoch}
        entry = Entry(
            incident_id=alert.id,
            revision=1,
            kind="opened",
            actor="machine",
            at=at,
            payload={**payload, "message": message},
            message_id=f"{alert.id}:1",
        )
        tx.append(entry)
        tx.save(replace(pattern, alert=alert), new=True)

    def _pattern(
        self, kind: Kind, subtype: str, decision: Decision, *, old: bool
    ) -> tuple[Incident, dict[str, Any]]:
        """Return the incident of a sort, and its row's payload with the frozen message."""
        key = (kind, decision, old)
        if key not in self._patterns:
            opener = Opener(self.places, Grids.none(), Policy(), keeps_evidence=False)
            opened = opener.open(finding_of("f", camera_id_of(0), kind, subtype, NOW), NOW)
            now = _after_its_life(opened, decision, old=old)
            with Store.open("sqlite://") as store:
                with store.write() as tx:
                    act = Act(actor="machine", at=NOW)
                    now = Recording(Policy(), store.epoch).write(tx, None, Change("opened", now), act)
                (row,) = AlertReader(store).rows_after(0, 1)
            self._patterns[key] = now, dict(row.payload or {})
        return self._patterns[key]


def finding_of(finding_id: str, camera_id: str, kind: Kind, subtype: str, at: datetime) -> Finding:
    """Return a finding with what a detector usually says."""
    return Finding(
        finding_id=finding_id,
        camera_id=camera_id,
        kind=kind,
        subtype=subtype,
        zone_id="z1",
        zone_name="桥面",
        stage=Stage.OPENED,
        at=at,
        at_mono_s=0.0,
        began_at=at - timedelta(seconds=4),
        confidence=0.87,
        boxes=tuple(Box(0.1, 0.2, 0.3, 0.4, kind.value, 0.87) for _ in range(4)),
        facts={"looks_in_favour": 4, "looks_taken": 5, "area_m2": 3.2, "count": 41},
    )


def camera_id_of(number: int) -> str:
    """Return the id of one of the cameras."""
    return f"5101170400132{number:07}"


def _camera(number: int) -> Camera:
    place = Location(120.5 + number / 1e5, 27.6)
    url = SecretUrl(f"rtsp://u:p@10.0.0.1/{number}")
    return Camera(
        camera_id_of(number), f"环川路{number}号口", url, location=place, address_text=f"环川路{number}号"
    )


def _after_its_life(incident: Incident, decision: Decision, *, old: bool) -> Incident:
    """Return the incident decided, and unless it is one of the newest ended, and closed where it was confirmed."""
    alert = _decided(incident.alert, decision)
    if not old:
        return replace(incident, alert=alert)
    ended = replace(alert, activity=Activity.ENDED, ended_at=alert.opened_at + timedelta(minutes=5))
    closed = decision is Decision.CONFIRMED
    state, case_id = (CaseState.CLOSED, f"AJ-{alert.id}") if closed else (CaseState.NONE, None)
    return replace(incident, alert=replace(ended, case=state, case_id=case_id))


def end_all(store: Store, ended_at: datetime) -> None:
    """End every open incident, so that the next finding at its place opens a new one."""
    with store.write() as tx:
        for activity in (Activity.ONGOING, Activity.UNSEEN):
            for incident in tx.of_camera(None, activity):
                alert = replace(incident.alert, activity=Activity.ENDED, ended_at=ended_at)
                tx.save(replace(incident, alert=alert))


def _decided(alert: Alert, decision: Decision) -> Alert:
    if decision is Decision.PENDING:
        return alert
    by = Decided(alert.opened_at + timedelta(minutes=1), "op-7", decision, "false_alarm", "灯光")
    return replace(alert, decision=decision, decided=by)


def copy_tables(file: Path, url: str) -> None:
    """Fill an empty store on PostgreSQL with the tables of a store on SQLite: the same rows and hashes, in minutes."""
    Store.open(url).close()
    names = [table.name for table in METADATA.sorted_tables]
    with (
        closing(sqlite3.connect(file)) as source,
        psycopg.connect(url) as target,
        target.cursor() as cursor,
        progress_bars() as bars,
    ):
        cursor.execute(f"TRUNCATE {', '.join(names)}")
        for table in METADATA.sorted_tables:
            columns = ", ".join(column.name for column in table.columns)
            (rows,) = source.execute(f"SELECT count(*) FROM {table.name}").fetchone()
            task = bars.add_task(f"copy of {table.name}", total=rows)
            with cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
                for number, row in enumerate(source.execute(f"SELECT {columns} FROM {table.name}"), 1):
                    copy.write_row(row)
                    if number % IN_ONE_TRANSACTION == 0:
                        bars.update(task, completed=number)
            bars.update(task, completed=rows)
