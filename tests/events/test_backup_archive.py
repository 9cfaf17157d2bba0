# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backup's files: whole or not there, checked by their hashes, the same as a folder and as one file."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import tarfile

import pytest

from events import archive, backup
from events.backup import BackupSource, back_up
from events.errors import BackupDamaged, BackupError
from events.restoring import Restore, RestoreTarget
from gridwatch.core.errors import InputError

sqlite = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
pytestmark = sqlite


@pytest.fixture
def origin(evidence_room, kit):
    """A system with two files of evidence."""
    evidence_room.book.record(evidence_room.finding(), kit.Picture())
    folder = evidence_room.folder / "evidence"
    return BackupSource(evidence_room.store, folder, evidence_room.policy.source, "0.1.0")


def files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def restored(room, kit, place):
    folder = room.folder / "new"
    folder.mkdir()
    new = kit.Room(folder, room.clock, room.databases)
    try:
        target = RestoreTarget(new.store, folder / "evidence", folder, room.policy.source)
        return Restore(target, None, room.clock).run(place), folder
    finally:
        new.store.close()


def test_folder_and_file_hold_the_same_and_sha256sum_agrees(origin, clock, tmp_path):
    """Both have the same files; every one of them has the hash that stands in SHA256SUMS."""
    first = back_up(origin, tmp_path / "folder", clock)
    second = back_up(origin, tmp_path / "one.tar", clock)
    assert (first.evidence, first.damaged) == (second.evidence, second.damaged) == (2, ())
    with tarfile.open(tmp_path / "one.tar") as tar:
        tar.extractall(tmp_path / "taken", filter="data")
    assert files(tmp_path / "folder") == files(tmp_path / "taken")
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path / "taken", check=True)
    assert not list(tmp_path.glob(".*"))


def test_nobody_else_may_read_a_backup(origin, clock, tmp_path):
    """It holds unmasked pictures: folder and file are their owner's alone."""
    back_up(origin, tmp_path / "folder", clock)
    back_up(origin, tmp_path / "one.tar", clock)
    assert (tmp_path / "folder").stat().st_mode & 0o077 == 0
    assert (tmp_path / "one.tar").stat().st_mode & 0o077 == 0


def test_evidence_is_shared_on_the_same_disk(origin, clock, tmp_path):
    """A folder on the same file system takes no room for what never changes; deleting the original leaves the backup's."""
    back_up(origin, tmp_path / "folder", clock)
    kept = sorted((tmp_path / "folder" / "evidence").rglob("*.jpg"))
    assert [file.stat().st_nlink for file in kept] == [2, 2]
    shutil.rmtree(origin.evidence)
    assert all(file.stat().st_size > 0 for file in kept)


def test_what_is_there_already_is_never_written_over(origin, clock, tmp_path):
    """A folder that is not empty, and any file, is refused."""
    (tmp_path / "folder").mkdir()
    back_up(origin, tmp_path / "folder", clock)  # an empty one may be filled
    before = files(tmp_path / "folder")
    (tmp_path / "one.tar").write_bytes(b"mine")
    for place in (tmp_path / "folder", tmp_path / "one.tar"):
        with pytest.raises(InputError, match="there already"):
            back_up(origin, place, clock)
    assert files(tmp_path / "folder") == before
    assert (tmp_path / "one.tar").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["folder", "one.tar"])
def test_a_full_disk_leaves_nothing_behind(origin, clock, tmp_path, monkeypatch, name):
    """The disk fills while the last file is written: an error says so, and neither a backup nor a part of one is there."""

    def full(self, name, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive.ArchiveWriter, "_add_bytes", full)
    place = tmp_path / "backups" / name
    with pytest.raises(BackupError, match="No space left"):
        back_up(origin, place, clock)
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.parametrize("name", ["folder", "one.tar"])
def test_what_a_killed_backup_left_is_cleared_by_the_next(origin, clock, tmp_path, name):
    """A backup that was killed is not there under its name; its remains do not hinder the next one."""
    remains = tmp_path / f".{name}.unfinished"
    (remains / "folder" / "evidence").mkdir(parents=True)
    for file in ("scratch", "archive.tar", "folder/gridwatch.db"):
        (remains / file).write_bytes(b"half")
    assert not (tmp_path / name).exists()
    back_up(origin, tmp_path / name, clock)
    assert not remains.exists()
    with archive.opened(tmp_path / name) as whole:
        assert len(whole.sums) == 3


def test_two_backups_to_one_place_do_not_meet(origin, clock, tmp_path):
    """While one is written, another to the same name is refused."""
    work = tmp_path / ".folder.unfinished"
    work.mkdir()
    held = os.open(work, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(InputError, match="just being written"):
            back_up(origin, tmp_path / "folder", clock)
    finally:
        os.close(held)


def test_evidence_that_is_not_what_its_name_says_is_left_out_and_named(origin, clock, tmp_path):
    """A damaged picture is told, and does not keep the rest from being backed up."""
    bad = next(origin.evidence.rglob("*.masked.jpg"))
    bad.write_bytes(b"not the picture")
    report = back_up(origin, tmp_path / "folder", clock)
    assert (report.evidence, report.damaged) == (1, (bad,))


def test_evidence_that_retention_takes_meanwhile_is_no_error(origin, clock, tmp_path, monkeypatch):
    """A file that was listed and is gone when its turn comes is left out."""
    listed = list(backup._evidence(origin.evidence))
    monkeypatch.setattr(backup, "_evidence", lambda folder: iter(listed))
    listed[0][1].unlink()
    assert back_up(origin, tmp_path / "folder", clock).evidence == 1


@pytest.mark.parametrize("name", ["folder", "one.tar"])
def test_a_database_that_was_damaged_on_its_way_is_refused(origin, evidence_room, kit, clock, tmp_path, name):
    """One byte of it is different: the sums tell, before anything is opened."""
    back_up(origin, tmp_path / name, clock)
    file = tmp_path / name if name.endswith("tar") else tmp_path / name / "gridwatch.db"
    content = bytearray(file.read_bytes())
    content[6_000] ^= 1
    file.write_bytes(content)
    with pytest.raises(BackupDamaged, match=r"gridwatch\.db"):
        restored(evidence_room, kit, tmp_path / name)


def test_damaged_evidence_is_left_out_of_a_restore(origin, evidence_room, kit, clock, tmp_path):
    """The record comes back whole; a picture that is not what its hash says does not."""
    back_up(origin, tmp_path / "folder", clock)
    bad = next((tmp_path / "folder").rglob("*.masked.jpg"))
    bad.unlink()
    bad.write_bytes(b"not the picture")
    report, folder = restored(evidence_room, kit, tmp_path / "folder")
    assert (report.evidence, report.damaged, report.contents.incidents) == (1, 1, 1)
    assert not list(folder.rglob("*.masked.jpg"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "no manifest"),
        (lambda folder: (folder / "SHA256SUMS").write_text(""), "SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS"),
        (lambda folder: (folder / "gridwatch.db").unlink(), "missing"),
        (lambda folder: _say(folder, format=99), "format 99"),
        (lambda folder: _say(folder, sums_sha256="0" * 64), "SHA256SUMS"),
        (shutil.rmtree, "there is no backup"),
    ],
)
def test_half_a_backup_is_refused(origin, evidence_room, kit, clock, tmp_path, change, problem):
    """Whatever is missing or does not belong together is named."""
    back_up(origin, tmp_path / "folder", clock)
    change(tmp_path / "folder")
    with pytest.raises((BackupDamaged, InputError), match=problem):
        restored(evidence_room, kit, tmp_path / "folder")


def test_a_file_that_is_no_backup_is_refused(evidence_room, kit, tmp_path):
    """Any other file, and a tar of other things, is wrong input."""
    (tmp_path / "text.tar").write_text("hello")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "text.tar", "../../etc/passwd")
    for place in ("text.tar", "other.tar"):
        with pytest.raises(InputError, match="no backup of gridwatch"):
            restored(evidence_room, kit, tmp_path / place)
        shutil.rmtree(evidence_room.folder / "new")


def _say(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
