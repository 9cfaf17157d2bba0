# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is taken from a main stream for an incident, step by step: which picture, which clip, and when it is given up."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import av
import numpy as np
import pytest

from gridwatch.app import details as details_module
from gridwatch.app.details import MOST_WAITING, TRIES, WITHIN_S, Details
from gridwatch.core.clock import ManualClock
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.zone import Kind
from ingest.decoding_page import DecodingPage
from ingest.files import FileSource
from ingest.ring import Ring

START = datetime(2026, 5, 1, tzinfo=UTC)
FPS, GOP, POST_ROLL_S = 10, 10, 3.0
PERSON = Box(0.1, 0.1, 0.3, 0.9, "person", 0.9)


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    """20 s in which every picture is as bright as its number, a key frame each second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", GOP
        stream.codec_context.max_b_frames = 0
        stream.options = {"preset": "ultrafast", "sc_threshold": "0", "threads": "1", "crf": "10"}
        for i in range(20 * FPS):
            picture = np.full((64, 64, 3), 20 + i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    with FileSource("cam", path, ManualClock(START)) as source:
        return list(source.packets())


class Room:
    """Details of one camera whose looking and main memories a test fills."""

    def __init__(self, people) -> None:
        self.clock, self.main, self.looking = ManualClock(START), Ring(), Ring()
        self.attached: list[tuple[str, object, bytes | None]] = []
        self.details = Details(people, self._attach, self.clock, POST_ROLL_S, DecodingPage.create())
        self.one = SimpleNamespace(
            evidence=SimpleNamespace(ring=self.main),
            pipeline=SimpleNamespace(intake=SimpleNamespace(ring=self.looking)),
            ring_for=lambda *_: self.looking,
        )

    def _attach(self, incident_id, shot=None, mp4=None) -> None:
        self.attached.append((incident_id, shot, mp4))

    def order(self, incident_id="one", kind=Kind.FIRE, at_mono_s=4.0):
        finding = Finding(
            finding_id="f", camera_id="cam", kind=kind, subtype="flame", zone_id="z", stage=Stage.OPENED,
            at=START, at_mono_s=at_mono_s, began_at=START, confidence=0.9,
        )  # fmt: skip
        return self.details.order(incident_id, self.one, finding)

    def until(self, packets, mono_s) -> int:
        """Let what came by then stand in the main memory, and step; return how many wait."""
        now = self.clock.mono_s()
        for packet in packets:
            if now < packet.at_mono_s <= mono_s:
                self.main.append(packet)
        self.clock.advance_to(mono_s)
        return self.details.step()

    @property
    def shots(self):
        return [shot for _, shot, _ in self.attached if shot is not None]

    @property
    def clips(self):
        return [mp4 for _, _, mp4 in self.attached if mp4 is not None]


def number(frame) -> int:
    return round(float(frame.view(64, 64).mean()))


def shown(mp4) -> list[float]:
    """Return the brightness of a clip's pictures."""
    with av.open(io.BytesIO(mp4)) as container:
        return [float(frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]


def test_the_first_key_frame_after_the_opening_is_the_picture_and_the_clips_beginning(packets):
    """What came before it is not looked at, and the clip lasts as long as a post-roll."""
    room = Room(lambda _frame: (PERSON,))
    choose = room.order(at_mono_s=4.3)
    assert room.until(packets, 4.9) == 1
    assert room.attached == []
    assert room.until(packets, 5.5) == 1
    (shot,) = room.shots
    assert (shot.persons, shot.veil) == ((PERSON,), False)
    assert shot.captured_at == next(p.captured_at for p in packets if p.at_mono_s == 5.0)
    assert choose(0, 4.3, 7.3) is room.looking
    assert room.until(packets, 7.9) == 1
    assert room.clips == []
    assert room.until(packets, 9.0) == 0
    pictures = shown(room.clips[0])
    assert len(pictures) == POST_ROLL_S * FPS + 1
    assert pictures[0] == pytest.approx(number(shot.frame), abs=2)


def test_a_picture_in_which_nobody_knows_who_is_to_be_seen_is_not_taken(packets):
    """The next key frames are tried, so many and no more; the clip, which stays inside, is made all the same."""
    asked = []
    room = Room(lambda frame: asked.append(number(frame)))
    room.order()(0, 4, 7)
    for second in range(5, 12):
        room.until(packets, second + 0.5)
    assert len(asked) == len(set(asked)) == TRIES
    assert room.shots == []
    assert len(room.clips) == 1
    assert room.details.step() == 0


def test_a_picture_that_was_answered_at_the_second_try_is_the_later_one(packets):
    """A device that was busy for a second costs a second."""
    answers = iter([None, ()])
    room = Room(lambda _frame: next(answers))
    room.order()
    room.until(packets, 5.5)
    assert room.shots == []
    room.until(packets, 6.5)
    assert room.shots[0].captured_at == next(p.captured_at for p in packets if p.at_mono_s == 6.0)


def test_a_key_frame_that_is_not_whole_gives_way_to_the_next(packets):
    """It is never the picture of an incident."""
    room = Room(lambda _frame: ())
    room.order()
    broken = [
        replace(p, payload=p.payload[: len(p.payload) // 2]) if p.at_mono_s == 5.0 else p for p in packets
    ]
    room.until(broken, 5.5)
    assert room.shots == []
    room.until(broken, 6.5)
    assert len(room.shots) == 1


def test_where_the_usual_clip_is_of_the_main_stream_there_is_no_second_one(packets):
    """It shows the opening, and what came before it."""
    room = Room(lambda _frame: ())
    room.one.ring_for = lambda *_: room.main
    assert room.order()(0, 4, 7) is room.main
    for second in range(5, 12):
        waiting = room.until(packets, second + 0.5)
    assert (len(room.shots), room.clips, waiting) == (1, [], 0)


def test_a_main_stream_that_does_not_come_is_given_up():
    """Nothing is attached, and nothing waits for ever; what came too late is not of this incident."""
    room = Room(lambda _frame: ())
    room.order()(0, 4, 7)
    assert room.until([], 4 + WITHIN_S) == 1
    assert room.until([], 4 + WITHIN_S + POST_ROLL_S + 6) == 0
    assert room.attached == []


def test_a_crowds_picture_is_veiled(packets):
    """Who was counted without a box is blurred with the whole picture."""
    room = Room(lambda _frame: ())
    room.order(kind=Kind.CROWD)
    room.until(packets, 5.5)
    assert room.shots[0].veil


def test_what_waits_is_bounded_and_asked_for_once():
    """A camera without a second stream asks for nothing; past the bound an incident has its usual clip only."""
    room = Room(lambda _frame: ())
    for n in range(MOST_WAITING + 3):
        room.order(f"incident-{n}")
    room.order("incident-0")
    assert room.details.step() == MOST_WAITING
    room.one.evidence = None
    assert room.order("other")(0, 4, 7) is room.looking
    assert room.details.step() == MOST_WAITING


def test_one_that_fails_costs_the_others_nothing(packets, monkeypatch):
    """Whatever a stream does to the decoder, only its own incident goes without."""
    room, other = Room(lambda _frame: ()), Room(lambda _frame: ())
    room.order("bad")
    other.one.evidence.ring = room.main
    room.one = other.one
    room.order("good")
    decode, tries = room.details._decoder.decode, []

    def fails_once(packet):
        tries.append(packet)
        if len(tries) == 1:
            raise ValueError("what no stream should do")
        return decode(packet)

    monkeypatch.setattr(room.details._decoder, "decode", fails_once)
    monkeypatch.setattr(details_module.log, "exception", lambda *_, **__: None)
    assert room.until(packets, 5.5) == 1
    assert [(incident_id, shot is not None) for incident_id, shot, _ in room.attached] == [("good", True)]
