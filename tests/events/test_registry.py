# SPDX-License-Identifier: AGPL-3.0-or-later
"""The register of cameras: versions, what a file and what a person changed, and its bounds; on both databases."""

import threading

import pytest

from events import registry as module
from events.registry import Origin, Registry
from events.stores.sql import Store
from gridwatch.core.errors import InputError

GATE = {"id": "gate", "url": "rtsp://${U}@192.0.2.1/1", "location": {"lon": 103.88, "lat": 30.81}}
YARD = {"id": "yard", "url": "rtsp://192.0.2.2/1", "name": "院落"}


@pytest.fixture
def registry(databases, tmp_path, clock):
    with Store.open(databases.make(tmp_path)) as store:
        yield Registry(store, clock)


def put(registry, *documents, **more):
    return registry.put({one["id"]: one for one in documents}, "command:li", **more)


def follow(registry, *documents):
    return registry.follow({one["id"]: one for one in documents}, "configuration")


def known(registry):
    return {version.camera_id: version.document for version in registry.cameras()[1]}


def test_cameras_are_kept_as_they_were_said_with_who_and_when(registry, clock):
    """What was put in comes back, each a version of its own, with its actor and the time."""
    assert registry.revision() == 0
    assert put(registry, GATE, YARD).added == ["gate", "yard"]
    revision, versions = registry.cameras()
    assert (revision, [one.version for one in versions]) == (2, [1, 2])
    assert [one.document for one in versions] == [GATE, YARD]
    assert {(one.actor, one.origin, one.at) for one in versions} == {
        ("command:li", Origin.IMPORT, clock.now())
    }


def test_what_is_said_again_changes_nothing(registry):
    """An import is idempotent: neither a version nor a revision comes of it, whatever the order of fields."""
    put(registry, GATE, YARD)
    again = put(registry, dict(reversed(GATE.items())), YARD)
    assert (again.unchanged, again.added, again.changed) == (["gate", "yard"], [], [])
    assert registry.revision() == 2


def test_a_change_is_a_new_version_and_touches_no_other_camera(registry):
    """Only the camera that changed has a new version; the old one is kept."""
    put(registry, GATE, YARD)
    assert put(registry, GATE | {"name": "东门"}).changed == ["gate"]
    assert registry.revision() == 3
    assert [one.document for one in registry.history("gate")] == [GATE, GATE | {"name": "东门"}]
    assert [one.version for one in registry.history("yard")] == [2]


def test_replacing_removes_what_is_not_named_and_it_may_come_back(registry):
    """A removed camera is none any more; its history stays, and its id means the same camera when it is back."""
    put(registry, GATE, YARD)
    assert put(registry, YARD, replace=True).removed == ["gate"]
    assert list(known(registry)) == ["yard"]
    assert [one.removed for one in registry.history("gate")] == [False, True]
    assert put(registry, GATE).added == ["gate"]
    assert known(registry)["gate"] == GATE


def test_a_dry_run_tells_and_changes_nothing(registry):
    """What would be done is told as if it were."""
    put(registry, YARD)
    would = put(registry, GATE, replace=True, dry=True)
    assert (would.added, would.removed) == (["gate"], ["yard"])
    assert (registry.revision(), list(known(registry))) == (1, ["yard"])


def test_a_followed_file_may_be_read_at_every_start(registry):
    """The file's cameras come, change and go with the file, and a second reading does nothing."""
    assert follow(registry, GATE, YARD).added == ["gate", "yard"]
    assert follow(registry, GATE, YARD).unchanged == ["gate", "yard"]
    changed = follow(registry, GATE | {"place": "market"})
    assert (changed.changed, changed.removed) == (["gate"], ["yard"])
    assert known(registry) == {"gate": GATE | {"place": "market"}}


def test_what_a_person_changed_outlives_the_next_start(registry):
    """A file that says what it said before does not undo a command; one that says something new is followed."""
    follow(registry, GATE, YARD)
    put(registry, GATE | {"place": "market"})
    assert follow(registry, GATE, YARD).kept == ["gate"]
    assert known(registry)["gate"]["place"] == "market"
    assert follow(registry, GATE | {"place": "road"}, YARD).changed == ["gate"]
    assert known(registry)["gate"]["place"] == "road"


def test_a_file_that_says_what_a_command_said_is_followed_from_there_on(registry):
    """What it said last is what it says now, so that its next change is one, also back to what it said before."""
    follow(registry, GATE)
    put(registry, GATE | {"place": "market"})
    follow(registry, GATE | {"place": "market"})
    assert follow(registry, GATE | {"place": "market"}).unchanged == ["gate"]
    assert follow(registry, GATE).changed == ["gate"]
    assert known(registry)["gate"] == GATE


def test_a_camera_that_a_command_took_in_does_not_leave_with_the_file(registry):
    """What the file never named, or a command changed since, is not the file's to remove."""
    follow(registry, GATE, YARD)
    put(registry, GATE | {"place": "market"}, {"id": "pole", "url": "rtsp://192.0.2.3/1"})
    after = follow(registry)
    assert (after.removed, after.kept) == (["yard"], ["gate"])
    assert sorted(known(registry)) == ["gate", "pole"]


def test_a_camera_that_a_command_removed_does_not_come_back_with_the_file(registry):
    """The file still names it, as it did before; only a new line for it brings it back."""
    follow(registry, GATE, YARD)
    put(registry, YARD, replace=True)
    assert follow(registry, GATE, YARD).kept == ["gate"]
    assert list(known(registry)) == ["yard"]


def test_old_versions_go_and_what_the_file_said_last_stays(registry, monkeypatch):
    """A camera that changes every day does not grow without end."""
    monkeypatch.setattr(module, "VERSIONS_KEPT", 3)
    follow(registry, GATE)
    for number in range(6):
        put(registry, GATE | {"name": f"n{number}"})
    kept = registry.history("gate")
    assert [one.version for one in kept] == [1, 5, 6, 7]
    assert follow(registry, GATE).kept == ["gate"]
    assert known(registry)["gate"]["name"] == "n5"


def test_cameras_that_were_removed_long_ago_are_forgotten(registry, monkeypatch):
    """Of removed cameras a bounded number is remembered, the latest."""
    monkeypatch.setattr(module, "MOST_REMOVED", 2)
    put(registry, *({"id": f"c{number}", "url": "rtsp://h/1"} for number in range(5)))
    before = registry.revision()
    for number in range(4):
        put(
            registry,
            *({"id": f"c{left}", "url": "rtsp://h/1"} for left in range(number + 1, 5)),
            replace=True,
        )
    assert [bool(registry.history(f"c{number}")) for number in range(5)] == [False, False, True, True, True]
    assert registry.revision() == before + 4


def test_too_many_cameras_and_too_large_ones_are_refused_whole(registry, monkeypatch):
    """Nothing of an import that goes over a bound is taken."""
    monkeypatch.setattr(module, "MOST_CAMERAS", 2)
    put(registry, GATE)
    with pytest.raises(InputError, match="2 cameras are the most"):
        put(registry, YARD, {"id": "c", "url": "rtsp://h/1"})
    with pytest.raises(InputError, match="more than 64 KiB"):
        put(registry, GATE | {"address": "东" * 30_000})
    assert (registry.revision(), known(registry)) == (1, {"gate": GATE})


def test_imports_at_the_same_time_lose_nothing(registry):
    """Two that write at once have versions of their own."""
    threads = [
        threading.Thread(target=put, args=(registry, {"id": f"c{number}", "url": "rtsp://h/1"}))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(known(registry)) == [f"c{number}" for number in range(8)]
    assert registry.revision() == 8
