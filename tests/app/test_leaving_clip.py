# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clip that may leave: few pictures a second, persons blurred a second before and after they were found, or no clip."""

import io
import shutil
import threading
from datetime import UTC, datetime
from fractions import Fraction

import av
import numpy as np
import pytest

from events.errors import EvidenceError, StoreError, UnknownIncident
from events.evidence import CLIP, MASKED_CLIP, EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook, Policy
from events.reading import AlertReader
from events.stores.sql import Store
from gridwatch.app import leaving as leaving_module
from gridwatch.app.leaving import FPS, MaskedClips, PeopleUnknown, blurred
from gridwatch.app.people import persons_in
from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.zone import Kind
from ingest.reencode import Shown
from models.errors import InferenceError
from models.pictures import Picture

START = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
WIDTH, HEIGHT, CLIP_FPS = 320, 180, 25
PERSON = Box(0.25, 0.2, 0.45, 0.8, "person", 0.6)
ELSEWHERE = Box(0.6, 0.2, 0.8, 0.8, "", 0.0)


def stripes():
    """A picture in which blurring shows: every other column is white."""
    return np.repeat((np.arange(WIDTH) // 4 % 2 * 255).astype(np.uint8)[None, :, None], HEIGHT, 0).repeat(
        3, 2
    )


def detail(picture, box):
    """Return how much the middle of a box differs from column to column."""
    height, width = picture.shape[:2]
    rows = slice(int((box.y0 + 0.1) * height), int((box.y1 - 0.1) * height))
    columns = slice(int((box.x0 + 0.03) * width), int((box.x1 - 0.03) * width))
    return float(np.abs(np.diff(picture[rows, columns].astype(float), axis=1)).mean())


def shown_at(times):
    return [Shown(at_s, Picture(stripes())) for at_s in times]


def seen_at(*moments):
    """Return who is told to be seen: one person, in the pictures with these numbers."""
    asked = []

    def people(_frame):
        asked.append(1)
        return (PERSON,) if len(asked) - 1 in moments else ()

    return people


def test_a_person_is_blurred_a_second_before_and_after_it_was_found():
    """A box that is missing in the looks between uncovers nobody; further away the picture is as it was."""
    times = [round(0.2 * i, 1) for i in range(20)]
    out = list(blurred(shown_at(times), seen_at(8), veil=False))
    assert [at_s for at_s, _ in out] == times
    hidden = [detail(picture, PERSON) < 10 for _, picture in out]
    assert [at_s for (at_s, _), is_hidden in zip(out, hidden, strict=True) if is_hidden] == times[3:14]
    assert all(detail(picture, ELSEWHERE) > 30 for _, picture in out)


def test_a_person_at_the_very_beginning_and_end_is_blurred():
    """There is nothing before the first and after the last picture to wait for."""
    times = [0.0, 0.2, 2.0, 2.2]
    out = list(blurred(shown_at(times), seen_at(0, 3), veil=False))
    assert all(detail(picture, PERSON) < 10 for _, picture in out)


def test_no_more_pictures_are_held_than_two_seconds_need():
    """A long clip does not lie in memory decoded."""
    given, held = 0, []

    def people(_frame):
        held.append(len(held) + 1 - given)
        return ()

    for _ in blurred(shown_at(round(0.2 * i, 1) for i in range(200)), people, veil=False):
        given += 1
    assert given == 200
    assert max(held) <= 12


def test_without_an_answer_there_is_no_clip():
    """One look that was not answered is enough: who stands there is unknown."""
    answers = iter([(), (), None])
    with pytest.raises(PeopleUnknown, match=r"0\.4 s"):
        list(blurred(shown_at([0.0, 0.2, 0.4, 0.6]), lambda _frame: next(answers), veil=False))


@pytest.mark.parametrize(
    ("classes", "answer", "expected"),
    [
        (tuple(ObjectClass), Detections.none(), ()),
        (tuple(ObjectClass), InferenceError("device lost"), None),
        ((ObjectClass.CAR, ObjectClass.FIRE), Detections.none(), None),
    ],
)
def test_a_network_that_fails_or_tells_no_persons_knows_nobody(classes, answer, expected):
    """Only a network that tells persons, and answered, says "nobody"."""

    class Network:
        def __init__(self):
            self.classes = frozenset(classes)

        def detect(self, _frame, *, parts):
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert persons_in(Network(), Picture(stripes())) == expected


class Room:
    """A store, its evidence and one incident with a clip of three seconds."""

    def __init__(self, folder, people, kind=Kind.FIRE):
        self.clock = ManualClock(START)
        self.store = Store.open(f"sqlite:///{folder / 'gridwatch.db'}")
        self.evidence = EvidenceStore(folder / "evidence")
        policy = Policy(run_mode="test")
        self.book = IncidentBook(
            self.store, self.clock, places={}, grids=Grids.none(), evidence=self.evidence, policy=policy
        )
        self.reader = AlertReader(self.store)
        self.clips = MaskedClips(self.reader, self.evidence, self.book, people)
        self.kind, self._opened = kind, 0

    def open(self, *, clip=True):
        self._opened += 1
        finding = Finding(
            finding_id=f"f{self._opened}",
            camera_id=f"cam-{self._opened}",
            kind=self.kind,
            subtype="flame",
            zone_id="z",
            stage=Stage.OPENED,
            at=START,
            at_mono_s=0.0,
            began_at=START,
            confidence=0.9,
        )
        alert = self.book.record(finding, None)
        if clip:
            self.book.attach_clip(alert.id, striped_clip())
        return alert.id


def striped_clip() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", "mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(CLIP_FPS), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(3 * CLIP_FPS):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stripes(), "bgr24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def decoded(path):
    with av.open(path) as container:
        return [(frame.time, frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]


@pytest.fixture
def make_room(tmp_path, empty_file):
    made = []

    def make(people=lambda _frame: (), **options):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        shutil.copy(empty_file, folder / "gridwatch.db")
        made.append(Room(folder, people, **options))
        return made[-1]

    yield make
    for room in made:
        room.store.close()


def test_a_clip_is_made_on_request_once_and_recorded(make_room):
    """At most five pictures a second, the person blurred in each, told with its hash, and who asked stands in the journal."""
    looks = []
    room = make_room(lambda _frame: looks.append(1) or (PERSON,))
    incident_id = room.open()
    assert room.clips.state(incident_id).state == "none"
    assert room.clips.ask(incident_id, by="op-1").state == "pending"
    assert room.clips.ask(incident_id, by="op-2").state == "pending"
    assert room.clips.step()
    assert not room.clips.step()
    done = room.clips.ask(incident_id, by="op-3")
    assert (done.state, done.reason) == ("ready", "")
    out = decoded(room.evidence.path(done.sha256, MASKED_CLIP))
    assert [at_s for at_s, _ in out] == pytest.approx([i / FPS for i in range(15)], abs=0.001)
    assert all(detail(picture, PERSON) < 10 for _, picture in out)
    assert all(detail(picture, ELSEWHERE) > 30 for _, picture in out)
    assert len(looks) == 15
    rows = [row for row in room.reader.timeline(incident_id) if row.payload.get("reason") == "to_leave"]
    assert [row.payload["asked_by"] for row in rows] == ["op-1"]
    alert = room.reader.get(incident_id)
    assert (alert.clip.state, alert.clip.masked_sha256, alert.revision) == ("ready", done.sha256, 1)


def test_clean_and_masked_clips_are_not_mistaken_for_each_other(make_room):
    """Who asks for what may leave by the hash of the clean clip finds nothing."""
    room = make_room()
    incident_id = room.open()
    room.clips.ask(incident_id, by="op-1")
    room.clips.step()
    clip = room.reader.get(incident_id).clip
    for sha256, suffix in ((clip.sha256, MASKED_CLIP), (clip.masked_sha256, CLIP)):
        with pytest.raises(EvidenceError, match="no evidence"):
            room.evidence.path(sha256, suffix)


def test_who_is_to_be_seen_is_unknown_so_nothing_leaves(make_room):
    """No file is stored, the reason is told, and a later request tries again."""
    answers = [None]
    room = make_room(lambda _frame: answers[-1])
    incident_id = room.open()
    room.clips.ask(incident_id, by="op-1")
    room.clips.step()
    failed = room.clips.state(incident_id)
    assert (failed.state, failed.sha256) == ("failed", None)
    assert "did not say" in failed.reason
    assert room.reader.get(incident_id).clip.masked_sha256 is None
    assert not list(room.evidence._folder.rglob("*" + MASKED_CLIP))
    answers.append(())
    assert room.clips.ask(incident_id, by="op-1").state == "pending"
    room.clips.step()
    assert room.clips.state(incident_id).state == "ready"


def test_a_crowd_is_veiled_as_a_whole_in_its_clip(make_room):
    """The counter saw people who have no boxes."""
    room = make_room(kind=Kind.CROWD)
    incident_id = room.open()
    room.clips.ask(incident_id, by="op-1")
    room.clips.step()
    sha256 = room.clips.state(incident_id).sha256
    out = decoded(room.evidence.path(sha256, MASKED_CLIP))
    assert out
    assert all(detail(picture, ELSEWHERE) < 30 for _, picture in out)


def test_without_a_clip_there_is_nothing_to_make_it_of(make_room):
    """Not cut yet, deleted, or an incident that does not exist."""
    room = make_room()
    incident_id = room.open(clip=False)
    assert room.clips.ask(incident_id, by="op-1").state == "none"
    assert not room.clips.step()
    gone = room.open()
    room.clips.ask(gone, by="op-1")
    sha256 = room.reader.get(gone).clip.sha256
    assert room.evidence.discard(sha256) > 0
    room.clips.step()
    assert room.clips.state(gone).state == "none"
    with pytest.raises(UnknownIncident):
        room.clips.ask("0199", by="op-1")


def test_only_so_many_may_wait(make_room, monkeypatch):
    """The next one is told so; what waits is unharmed."""
    monkeypatch.setattr(leaving_module, "MOST_WAITING", 2)
    room = make_room()
    ids = [room.open() for _ in range(3)]
    assert [room.clips.ask(one, by="op-1").state for one in ids] == ["pending", "pending", "busy"]
    assert room.clips.ask(ids[0], by="op-1").state == "pending"
    room.clips.step()
    assert room.clips.ask(ids[2], by="op-1").state == "pending"


def test_one_clip_that_fails_ends_nobody_elses(make_room, monkeypatch):
    """A store that is away, or a mistake of ours: told as failed, and the worker goes on until it is stopped."""
    room = make_room()
    ids = [room.open() for _ in range(3)]
    attach, errors = room.book.attach_masked_clip, [StoreError("away"), ValueError("a mistake")]

    def attach_in_vain(*args, **options):
        if errors:
            raise errors.pop(0)
        return attach(*args, **options)

    monkeypatch.setattr(room.book, "attach_masked_clip", attach_in_vain)
    for one in ids:
        room.clips.ask(one, by="op-1")
    stop = threading.Event()
    step = room.clips.step
    monkeypatch.setattr(room.clips, "step", lambda timeout_s: step() or stop.set())
    room.clips.run(stop)
    states = [room.clips.state(one) for one in ids]
    assert [one.state for one in states] == ["failed", "failed", "ready"]
    assert "ValueError" in states[1].reason


def test_a_full_folder_gives_no_clip_and_says_so(make_room):
    """Evidence that leaves takes no room from evidence that must be kept."""
    room = make_room()
    incident_id = room.open()
    room.clips.ask(incident_id, by="op-1")
    room.evidence._max_bytes = 10
    room.clips.step()
    failed = room.clips.state(incident_id)
    assert failed.state == "failed"
    assert "full" in failed.reason
