# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stills and clips: named by their bytes, masked where they may leave, refused rather than costing a record."""

import errno
import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from events import evidence as evidence_module
from events.alerts import AlertFilter, Decision
from events.errors import EvidenceError, EvidenceFull, UnknownIncident
from events.evidence import CLEAN, CLIP, MASKED, EvidenceStore, Shot, mask
from gridwatch.core.errors import GridwatchError
from gridwatch.core.finding import Box, Stage
from gridwatch.core.zone import Kind

PERSON = Box(0.5, 0.25, 0.6, 0.75, "person", 0.9)
FLAME = Box(0.1, 0.1, 0.2, 0.2, "fire", 0.9)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def detail(picture, box):
    """Return how much the pixels inside a box differ from their neighbours."""
    height, width = picture.shape[:2]
    part = picture[
        int(box.y0 * height) : int(box.y1 * height), int(box.x0 * width) : int(box.x1 * width)
    ].astype(float)
    return float(np.abs(np.diff(part, axis=1)).mean())


def test_a_still_is_stored_clean_and_masked(tmp_path, kit):
    """Both files lie under their own SHA-256, at most 960 wide, and are JPEG."""
    store = EvidenceStore(tmp_path / "evidence")
    still = store.put_still(kit.Picture(1920, 1080), [FLAME], kit.START, [PERSON])
    assert (still.width, still.height, still.captured_at) == (960, 540, kit.START)
    assert still.sha256 != still.masked_sha256
    for sha256, suffix in ((still.sha256, CLEAN), (still.masked_sha256, MASKED)):
        content = store.path(sha256, suffix).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
        assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (540, 960, 3)
    small = store.put_still(kit.Picture(320, 180), [], kit.START)
    assert (small.width, small.height) == (320, 180)


def test_clean_and_masked_stills_are_not_mistaken_for_each_other(tmp_path, kit):
    """Who asks for the masked file of a clean picture's hash, or the other way, finds none."""
    store = EvidenceStore(tmp_path)
    still = store.put_still(kit.Picture(), [FLAME], kit.START, [PERSON])
    for sha256, suffix in ((still.sha256, MASKED), (still.masked_sha256, CLEAN)):
        with pytest.raises(EvidenceError, match="no evidence"):
            store.path(sha256, suffix)


def test_persons_are_blurred_and_evidence_is_drawn(kit):
    """Inside a person's box the detail is gone; elsewhere the picture stays; boxes are drawn; the original is untouched."""
    picture = kit.Picture().view(640, 360)
    before = picture.copy()
    shown = mask(picture, [PERSON], [FLAME])
    assert np.array_equal(picture, before)
    assert detail(shown, PERSON) < detail(picture, PERSON) / 20
    assert np.array_equal(shown[200:, :200], picture[200:, :200])
    assert tuple(shown[36, 100]) == (0, 140, 255)


def test_a_person_label_in_the_evidence_is_blurred_too(kit, tmp_path):
    """Boxes of a crowd are persons: they are blurred without being passed twice; boxes at the edge do no harm."""
    store = EvidenceStore(tmp_path)
    edge = Box(0.95, 0.9, 1.0, 1.0, "person", 0.5)
    nothing = Box(0.3, 0.3, 0.3, 0.3, "person", 0.5)
    still = store.put_still(kit.Picture(), [PERSON, edge, nothing], kit.START)
    masked = cv2.imread(str(store.path(still.masked_sha256, MASKED)))
    clean = cv2.imread(str(store.path(still.sha256, CLEAN)))
    inner = Box(0.52, 0.3, 0.58, 0.7, "", 0)
    assert detail(masked, inner) < detail(clean, inner) / 5


@pytest.mark.parametrize(
    "person",
    [
        Box(0.98, 0.2, 1.0, 0.9, "person", 0.5),  # cut off by the edge: a stripe of 13 pixels is left
        Box(0.2, 0.97, 0.8, 1.0, "person", 0.5),  # lies, or only the head is in the picture
        Box(0.1, 0.1, 0.9, 0.95, "person", 0.5),  # fills the picture
        Box(0.4, 0.4, 0.45, 0.6, "person", 0.5),
    ],
)
def test_whatever_its_shape_a_box_hides_who_is_in_it(person):
    """A person's outline has at most so many colours across and down, however little of it is to be seen."""
    rows, columns = np.mgrid[0:360, 0:640]
    picture = ((rows // 4 + columns // 4) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    inside = (
        slice(round(person.y0 * 360), round(person.y1 * 360)),
        slice(round(person.x0 * 640), round(person.x1 * 640)),
    )
    shown = mask(picture, [person], [])
    assert np.ptp(picture[inside].astype(int)) == 255
    assert np.abs(np.diff(shown[inside].astype(int), axis=0)).mean() < 16
    assert np.abs(np.diff(shown[inside].astype(int), axis=1)).mean() < 16
    assert np.array_equal(shown[:, 0], picture[:, 0])


def test_a_crowd_is_veiled_as_a_whole(evidence_room, kit):
    """People whom the counter saw without boxes are blurred with the whole picture."""
    room = evidence_room
    alert = room.book.record(room.finding(kind=Kind.CROWD, subtype="count", count=80), kit.Picture())
    masked = cv2.imread(str(room.evidence.path(alert.still.masked_sha256, MASKED)))
    clean = cv2.imread(str(room.evidence.path(alert.still.sha256, CLEAN)))
    corner = Box(0.7, 0.7, 0.9, 0.9, "", 0)
    assert detail(masked, corner) < detail(clean, corner) / 5


def test_the_same_bytes_are_one_file(tmp_path):
    """Content decides the name: storing twice keeps one file and leaves no temporary one."""
    store = EvidenceStore(tmp_path)
    assert store.put_clip(b"mp4") == store.put_clip(b"mp4") == hashlib.sha256(b"mp4").hexdigest()
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    ("sha256", "suffix"),
    [
        ("0" * 64, ".jpg"),
        ("../../etc/passwd", ".jpg"),
        ("0" * 63, ".jpg"),
        ("0" * 64, "/../x"),
        ("0" * 64, ".db"),
    ],
)
def test_only_evidence_is_found(tmp_path, sha256, suffix):
    """An unknown hash, a path, or another suffix is an EvidenceError."""
    with pytest.raises(EvidenceError):
        EvidenceStore(tmp_path).path(sha256, suffix)


def test_the_cap_counts_what_was_there_before(tmp_path):
    """Bytes of an earlier run count; what does not fit is refused and leaves nothing behind."""
    EvidenceStore(tmp_path).put_clip(b"x" * 600)
    store = EvidenceStore(tmp_path, max_bytes=1000)
    with pytest.raises(EvidenceError, match="cap"):
        store.put_clip(b"y" * 500)
    store.put_clip(b"y" * 400)
    assert len(files(tmp_path)) == 2


def test_a_nearly_full_disk_is_left_to_the_records(tmp_path, monkeypatch):
    """Evidence is refused while less than the reserve would stay free."""
    monkeypatch.setattr(evidence_module, "KEPT_FREE_BYTES", 1 << 62)
    with pytest.raises(EvidenceError, match="kept for records"):
        EvidenceStore(tmp_path).put_clip(b"x")


def test_full_evidence_costs_no_record(tmp_path, clock, empty_store, kit):
    """When nothing can be stored the incident is recorded without a picture, and that is counted."""
    room = kit.Room(tmp_path, clock, empty_store, with_evidence=True)
    room.evidence._max_bytes = 10
    alert = room.book.record(room.finding(), kit.Picture())
    room.book.attach_clip(alert.id, b"mp4 that is too large")
    now = room.reader.get(alert.id)
    assert (now.still, now.clip.state, room.book.refused_evidence) == (None, "none", 2)
    room.store.close()


def test_a_picture_that_fails_costs_no_record(evidence_room):
    """A frame whose decoder or scaler fails leaves the incident without a still."""
    room = evidence_room

    class Broken:
        width, height = 1280, 720

        def __init__(self, error):
            self.error = error

        def view(self, _width, _height):
            raise self.error

    for error in (GridwatchError("decoder"), cv2.error("scaler")):
        room.book.record(room.finding(), Broken(error))
        room.clock.advance(61)
    (alert,) = room.reader.list(AlertFilter(), None, 9).items
    assert alert.still is None
    assert room.book.refused_evidence == 2


def test_a_folder_that_cannot_be_written_is_an_evidence_error(tmp_path):
    """What the operating system refuses is translated."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(EvidenceError):
        EvidenceStore(blocked / "evidence").put_clip(b"x")


def test_a_still_exists_before_its_row(evidence_room, kit, monkeypatch):
    """Whatever a row names is on disk already when the row is written."""
    room = evidence_room
    seen = []
    write = room.book._recording.write

    def watched(tx, before, change, act):
        still = change.after.alert.still
        seen.append(room.evidence.path(still.masked_sha256, MASKED).is_file())
        return write(tx, before, change, act)

    monkeypatch.setattr(room.book._recording, "write", watched)
    room.book.record(room.finding(), kit.Picture())
    assert seen == [True]


def test_a_later_picture_fills_in_and_a_reopening_adds_one(evidence_room, kit):
    """An incident opened without a picture takes the next one; each reopening adds one, three are kept."""
    room = evidence_room
    alert = room.book.record(room.finding(), None)
    (alert,) = room.reader.list(AlertFilter(), None, 9).items
    assert alert.still is None
    room.clock.advance(61)
    room.book.record(room.finding(Stage.UPDATED, looks_taken=9), kit.Picture(seed=2))
    first = room.reader.get(alert.id).still
    assert first is not None
    for number in range(3):
        room.says(Stage.ENDED, f"f{number or 1}")
        room.clock.advance(1)
        room.book.record(room.finding(Stage.OPENED, f"f{number + 2}"), kit.Picture(seed=10 + number))
        room.says(Stage.ENDED, f"f{number + 2}")
    import json

    media = json.loads(room.reader.newest_message().data)["media"]
    assert len(media) == 3
    assert media[0]["sha256"] == first.masked_sha256
    assert media[-1]["sha256"] == room.reader.get(alert.id).still.masked_sha256


def test_a_clip_is_attached_without_a_revision_or_a_message(evidence_room):
    """The clip stays inside: its row is no revision and no message."""
    room = evidence_room
    alert = room.opened()
    assert alert.clip.state == "pending"
    room.book.attach_clip(alert.id, b"mp4", -1.5)
    now = room.reader.get(alert.id)
    assert (now.clip.state, now.clip.pre_roll_s, now.revision) == ("ready", -1.5, 1)
    assert room.evidence.path(now.clip.sha256, ".mp4").read_bytes() == b"mp4"
    assert room.kinds(alert.id) == ["opened", "evidence"]
    assert len(room.reader.messages_after(0, 10)) == 1
    with pytest.raises(UnknownIncident):
        room.book.attach_clip("0199", None)


def test_what_the_main_stream_shows_is_attached_without_a_revision_or_a_message(evidence_room, kit):
    """A larger still and a clip stand beside the usual ones, one after the other; their rows name them."""
    room = evidence_room
    alert = room.opened()
    assert alert.detail is None
    room.book.attach_detail(alert.id, Shot(kit.Picture(2560, 1440), (PERSON,), kit.START))
    room.book.attach_detail(alert.id, mp4=b"main")
    now = room.reader.get(alert.id)
    still, clip = now.detail.still, now.detail.clip_sha256
    assert (still.width, still.height, still.captured_at) == (1920, 1080, kit.START)
    assert room.evidence.path(clip, CLIP).read_bytes() == b"main"
    assert replace(now, detail=None) == alert
    rows = room.reader.timeline(alert.id)[1:]
    assert [(row.kind, row.message_id) for row in rows] == [("evidence", None)] * 2
    assert (rows[0].payload["detail_still"], rows[1].payload["detail_clip"]) == (still.sha256, clip)
    assert "detail_clip" not in rows[0].payload
    with pytest.raises(UnknownIncident):
        room.book.attach_detail("0199", mp4=b"main")


def test_of_a_larger_still_only_the_blurred_one_may_leave(evidence_room, kit):
    """Persons are blurred in it, no box is drawn, and the clean one is not found under the other's name."""
    room = evidence_room
    alert = room.opened()
    room.book.attach_detail(alert.id, Shot(kit.Picture(1280, 720), (PERSON,), kit.START))
    still = room.reader.get(alert.id).detail.still
    clean = cv2.imread(str(room.evidence.path(still.sha256, CLEAN)))
    masked = cv2.imread(str(room.evidence.path(still.masked_sha256, MASKED)))
    assert detail(masked, PERSON) < 0.3 * detail(clean, PERSON)
    assert detail(masked, FLAME) == pytest.approx(detail(clean, FLAME), rel=0.05)
    with pytest.raises(EvidenceError):
        room.evidence.path(still.sha256, MASKED)


def test_what_is_refused_of_the_main_stream_changes_nothing(evidence_room, kit, monkeypatch):
    """No row says that there was something; it is counted as any evidence that was refused."""
    room = evidence_room
    alert = room.opened()
    refused = room.book.refused_evidence

    def full(*_, **__):
        raise EvidenceFull("full", 1)

    monkeypatch.setattr(room.evidence, "put_still", full)
    monkeypatch.setattr(room.evidence, "put_clip", full)
    room.book.attach_detail(alert.id, Shot(kit.Picture(), (), kit.START), b"main")
    assert room.reader.get(alert.id) == alert
    assert room.kinds(alert.id) == ["opened"]
    assert room.book.refused_evidence == refused + 2


def test_a_clip_that_never_came_is_none_after_a_restart(evidence_room):
    """The ring that it would be cut from is gone with the process."""
    room = evidence_room
    alert = room.opened()
    room.again()
    assert room.reader.get(alert.id).clip.state == "none"
    assert room.book.decide(alert.id, Decision.CONFIRMED, by="op-1").clip.state == "none"


def test_evidence_belongs_to_this_user_alone(tmp_path):
    """Files are readable by this user alone: what is inside is not masked."""
    EvidenceStore(tmp_path).put_clip(b"x")
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o077 == 0


def test_a_first_picture_is_a_revision_of_its_own(evidence_room, kit):
    """An opening whose picture failed: one that comes two seconds later, with nothing else new, is kept and told."""
    room = evidence_room
    alert = room.opened("f1")
    assert alert.still is None
    room.clock.advance(2)
    told = room.book.record(room.finding(Stage.UPDATED, "f1"), kit.Picture())
    assert (told.revision, told.still) == (2, room.reader.get(alert.id).still)
    assert room.evidence.path(told.still.masked_sha256, MASKED).is_file()
    assert room.kinds(alert.id) == ["opened", "updated"]
    room.clock.advance(2)
    assert room.book.record(room.finding(Stage.UPDATED, "f1"), kit.Picture()) is None
    assert room.reader.get(alert.id).revision == 2


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Content, then name, then the folder: a power cut leaves a whole file, or none that anybody finds."""
    steps, fsync, replace = [], os.fsync, Path.replace

    def noted_fsync(number):
        steps.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "content")
        fsync(number)

    def noted_replace(self, target):
        steps.append("name")
        return replace(self, target)

    monkeypatch.setattr(evidence_module.os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    EvidenceStore(tmp_path).put_clip(b"mp4")
    assert steps == ["content", "name", "folder"]


def test_a_disk_that_runs_full_while_writing_costs_the_picture_alone(evidence_room, kit, monkeypatch):
    """Nothing half written stays, the incident is recorded without a still, and what follows is stored again."""
    room = evidence_room

    def full(_number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(evidence_module.os, "fsync", full)
        room.book.record(room.finding(), kit.Picture())
    (alert,) = room.reader.list(AlertFilter(), None, 9).items
    assert (alert.still, room.book.refused_evidence, files(room.folder / "evidence")) == (None, 1, [])
    room.clock.advance(61)
    room.book.record(room.finding(Stage.UPDATED, looks_taken=9), kit.Picture())
    assert room.reader.get(alert.id).still is not None
