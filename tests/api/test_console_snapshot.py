# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a page reads: the order of its list, and its timeline only where that has changed."""

from dataclasses import replace

import pytest

from api.console.snapshot import SnapshotReader
from events.alerts import Alert, Decision
from events.errors import StoreError
from gridwatch.core.zone import Kind


@pytest.fixture
def reader(world) -> SnapshotReader:
    services = world.services()
    return SnapshotReader(world.operations(), services)


@pytest.fixture
def asked(world, monkeypatch) -> list[str]:
    """The incidents whose timelines were read."""
    ids: list[str] = []
    read = world.alerts.newest_rows

    def counting(incident_id: str, limit: int):
        assert limit <= 201
        ids.append(incident_id)
        return read(incident_id, limit)

    monkeypatch.setattr(world.alerts, "newest_rows", counting)
    return ids


def copy_into(world, alert: Alert, **changes: object) -> str:
    """Store another pending incident like `alert`."""
    with world.store.write() as tx:
        incident = tx.incident(alert.id)
        tx.save(replace(incident, alert=replace(incident.alert, **changes)), new=True)
    return str(changes["id"])


def test_the_more_severe_stands_above_the_newer(world, reader) -> None:
    """Among what waits for an operator severity comes first, then the newest."""
    kinds = (Kind.FIRE, Kind.CROWD, Kind.TRAFFIC)
    opened = [world.open(kind, camera, still=False) for camera in world.sight.states for kind in kinds]
    severities = [alert.severity for alert in opened]
    assert len(set(severities)) > 1
    expected = sorted(opened, key=lambda alert: (alert.severity, -alert.opened_at.timestamp()))
    pending = reader.read(None, 50, None).listing.pending
    assert [alert.id for alert in pending] == [alert.id for alert in expected]
    assert pending[0].id == opened[6].id  # the newest fire, older than the newest alert


def test_a_severe_alert_is_not_pushed_out_by_newer_ones(world, reader) -> None:
    """What does not fit into the list is the least severe, and the list says that there is more."""
    fire = world.open(Kind.FIRE, still=False)
    car = world.open(Kind.TRAFFIC, still=False)
    for number in range(5):
        # x is no hex digit: never the id of `car` itself
        copy_into(world, car, id=f"{car.id[:-3]}x{number:02d}")
    listing = reader.read(None, 3, None).listing
    assert listing.pending[0].id == fire.id
    assert len(listing.pending) == 3
    assert listing.more_pending


def test_the_shown_alert_stays_when_a_more_severe_one_arrives(world, reader) -> None:
    """The list's order is not the operator's choice: the alert beside the list changes only by selection."""
    crowd = world.open(Kind.CROWD, still=False)
    former = reader.read(None, 50, None)
    fire = world.open(Kind.FIRE, still=False)
    snapshot = reader.read(crowd.id, 50, former, {fire.id})
    assert [alert.id for alert in snapshot.listing.pending] == [fire.id, crowd.id]
    assert snapshot.chosen is not None
    assert snapshot.chosen.id == crowd.id


def test_a_change_of_another_alert_reads_no_timeline(world, reader, asked) -> None:
    """The shown alert's changes are read when it is selected and when it changes, never for others."""
    shown = world.open(Kind.FIRE, still=False)
    first = reader.read(shown.id, 50, None)
    assert asked == [shown.id]
    other = world.open(Kind.CROWD, still=False)
    second = reader.read(shown.id, 50, first, {other.id})
    assert asked == [shown.id]
    assert second.rows == first.rows
    assert other.id in {alert.id for alert in second.listing.pending}
    world.book.decide(shown.id, Decision.CONFIRMED, by="op-07")
    third = reader.read(shown.id, 50, second, {shown.id})
    assert [row.kind for row in third.rows] == ["opened", "confirmed"]
    reader.read(other.id, 50, third, {shown.id})
    assert asked == [shown.id, shown.id, other.id]


def test_after_the_store_was_away_everything_is_read(world, reader, asked, monkeypatch) -> None:
    """Rows that were announced while the store did not answer are not missed afterwards."""
    shown = world.open(Kind.FIRE, still=False)
    first = reader.read(shown.id, 50, None)
    world.book.decide(shown.id, Decision.CONFIRMED, by="op-07")

    def broken(*_asked):
        raise StoreError("away")

    with monkeypatch.context() as away:
        away.setattr(world.alerts, "list", broken)
        lost = reader.read(shown.id, 50, first, {shown.id})
    assert lost.rows == first.rows
    back = reader.read(shown.id, 50, lost, {"another"})
    assert [row.kind for row in back.rows] == ["opened", "confirmed"]


def test_only_the_newest_changes_are_kept(world, reader) -> None:
    """Of an incident with very many changes the newest 200 are shown, and that there are more."""
    alert = world.open(Kind.FIRE, still=False)
    for number in range(205):
        world.book.attach_clip(alert.id, None if number % 2 else b"clip")
    snapshot = reader.read(alert.id, 50, None)
    assert len(snapshot.rows) == 200
    assert snapshot.older
    assert snapshot.rows[-1].seq == world.alerts.last_seq()
    assert not reader.read(world.open(Kind.CROWD, still=False).id, 50, snapshot).older


def test_an_alert_that_was_deleted_gives_way_to_the_first(world, reader) -> None:
    """A selection that no longer exists is no trouble of the store."""
    alert = world.open(Kind.FIRE, still=False)
    snapshot = reader.read("0" * 26, 50, None)
    assert snapshot.sight.store_answers
    assert snapshot.chosen is not None
    assert snapshot.chosen.id == alert.id
