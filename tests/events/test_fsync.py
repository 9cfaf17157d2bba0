# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a row names is on the disk before the row is: the file's bytes, its name, and only then the commit."""

import os
from pathlib import Path

import pytest

from events.archive import copy_for_owner
from events.evidence import CLIP, EvidenceStore

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="the kernel must tell what is synced"
)


@pytest.fixture
def synced(monkeypatch):
    """What was synced, in order: the path of each file or folder, while it is still done."""
    paths, really = [], os.fsync

    def fsync(number):
        paths.append(Path(f"/proc/self/fd/{number}").readlink())
        really(number)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_evidence_is_synced_as_file_and_as_name(tmp_path, synced):
    """The bytes first, under a name of their own; then the folder, which holds the name that counts."""
    store = EvidenceStore(tmp_path / "evidence")
    folder = store.path(store.put_clip(b"mp4"), CLIP).parent
    assert [path == folder for path in synced] == [False, True]
    assert synced[0].parent == folder
    assert not synced[0].exists()  # renamed after its bytes were safe


def test_what_a_row_names_is_synced_before_the_row_is_written(evidence_room, synced, kit):
    """A still's two files and their folders come before the transaction that names them begins."""
    room, begun = evidence_room, []
    write = room.store.write
    room.store.write = lambda: (begun.append(len(synced)), write())[1]
    alert = room.book.record(room.finding(), kit.Picture())
    assert alert.still is not None
    assert begun[-1] == len(synced) >= 4


def test_a_copy_of_a_restore_is_whole_or_not_there(tmp_path, synced):
    """The bytes first, under a name of their own; then the folder. What a killed restore left half goes."""
    clean, half = tmp_path / "a.jpg", tmp_path / ".new-b.jpg"
    clean.write_bytes(b"picture")
    half.write_bytes(b"pic")
    copy_for_owner(clean, tmp_path / "b.jpg")
    assert (tmp_path / "b.jpg").read_bytes() == b"picture"
    assert synced == [half, tmp_path]
    assert not half.exists()
