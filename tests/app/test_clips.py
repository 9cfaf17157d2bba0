# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip is cut once its post-roll has passed, from what the ring holds; an empty ring gives none."""

import io
from datetime import UTC, datetime
from fractions import Fraction

import av
import numpy as np
import pytest

from gridwatch.app import clips as clips_module
from gridwatch.app.clips import ClipCutter
from gridwatch.core.clock import ManualClock
from ingest.files import FileSource
from ingest.packets import Packet
from ingest.ring import Ring

FPS, GOP = 10, 10


@pytest.fixture(params=["libx264", "libx265"])
def clip(request, tmp_path):
    """Encode 20 s in which every picture is as bright as its number, so that a cut can be told."""
    path = tmp_path / "clip.mp4"
    quiet = {"x265-params": "log-level=none:open-gop=0:pools=none"} if request.param == "libx265" else {}
    with av.open(path, "w") as container:
        stream = container.add_stream(request.param, rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", GOP
        stream.codec_context.max_b_frames = 0
        stream.options = {"preset": "ultrafast", "sc_threshold": "0", "threads": "1", "crf": "10", **quiet}
        for i in range(20 * FPS):
            picture = np.full((64, 64), 20 + i, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(picture[..., None], 3, 2), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def fill(ring: Ring, path, *, from_mono_s=0.0, until_mono_s=1e9, session=1) -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    with FileSource("cam", path, clock, from_mono_s) as source:
        for packet in source.packets():
            if packet.at_mono_s <= until_mono_s:
                ring.append(_of_session(packet, session))


def _of_session(packet: Packet, session: int) -> Packet:
    values = {name: getattr(packet, name) for name in packet.__dataclass_fields__}
    return Packet(**(values | {"session": session}))


def numbers(mp4: bytes) -> list[int]:
    """Return which pictures a clip shows, by their brightness."""
    with av.open(io.BytesIO(mp4)) as container:
        return [
            round(float(frame.to_ndarray(format="gray").mean())) - 20 for frame in container.decode(video=0)
        ]


def made(ring: Ring, at_mono_s: float, pre_roll_s=5.0, post_roll_s=5.0) -> tuple[bytes | None, float | None]:
    attached: list[tuple[str, bytes | None, float | None]] = []
    cutter = ClipCutter(pre_roll_s, post_roll_s, lambda *told: attached.append(told))
    cutter.order("one", lambda *_: ring, at_mono_s)
    assert cutter.step(at_mono_s + post_roll_s) == 1
    ((_, *clip),) = attached
    return tuple(clip)


def cut(ring: Ring, at_mono_s: float, **options) -> bytes | None:
    return made(ring, at_mono_s, **options)[0]


def test_a_clip_is_cut_after_its_post_roll_and_only_once():
    """An incident whose camera has nothing in memory is told that there is no clip."""
    attached: list[tuple[str, bytes | None, float | None]] = []
    cutter = ClipCutter(5, 5, lambda *told: attached.append(told))
    cutter.order("one", lambda *_: Ring(), at_mono_s=100)
    assert cutter.step(104.9) == 0
    assert attached == []
    assert cutter.step(105) == 1
    assert attached == [("one", None, None)]
    assert cutter.step(200) == 0


def test_a_clip_shows_pre_roll_moment_and_post_roll(clip):
    """From the last key frame before the pre-roll to the end of the post-roll, every picture, of either codec."""
    ring = Ring(span_s=20)
    fill(ring, clip)
    shown = numbers(cut(ring, at_mono_s=10.45))
    assert shown[0] == pytest.approx(50, abs=1)  # 5.45 s is inside the group that begins at 5.0 s
    assert shown[-1] == pytest.approx(154, abs=1)
    assert len(shown) == 105


def test_a_ring_that_does_not_reach_back_gives_what_it_has(clip):
    """A short memory shortens the pre-roll, never costs the moment itself."""
    ring = Ring(min_gops=2, span_s=3)
    fill(ring, clip, until_mono_s=15.0)
    shown = numbers(cut(ring, at_mono_s=13.5, pre_roll_s=5, post_roll_s=1))
    assert shown[0] in range(105, 122)
    assert shown[-1] == pytest.approx(145, abs=1)


def test_a_clip_says_how_much_of_the_time_before_it_shows(clip):
    """Seconds before the opening; below 0 where memory did not reach back so far: it does not show the moment itself."""
    whole, short = Ring(span_s=20), Ring(min_gops=2, span_s=3)
    fill(whole, clip, until_mono_s=15.0)
    fill(short, clip, until_mono_s=15.0)
    assert made(whole, at_mono_s=10.0)[1] == pytest.approx(5.0, abs=0.11)
    mp4, pre_roll_s = made(short, at_mono_s=10.0)
    assert numbers(mp4)[0] / FPS - 10.0 == pytest.approx(-pre_roll_s, abs=0.11)
    assert -2.5 < pre_roll_s < -0.5


def test_what_ended_long_before_an_incident_is_no_clip_of_it(clip):
    """The beginning of an endless group stays in memory when all that followed was too much for it."""
    ring = Ring()
    fill(ring, clip, until_mono_s=3.0)
    assert made(ring, at_mono_s=100.0) == (None, None)


def test_a_camera_that_reconnected_gives_the_session_that_saw_it(clip):
    """Pictures after the reconnection alone would not show the incident."""
    ring = Ring(span_s=60)
    fill(ring, clip, until_mono_s=12.0, session=1)
    fill(ring, clip, from_mono_s=14.0, session=2)
    shown = numbers(cut(ring, at_mono_s=11.0))
    assert shown[0] == pytest.approx(60, abs=1)
    assert shown[-1] == pytest.approx(110, abs=1)


def test_more_cuts_than_may_wait_are_refused_not_forgotten(monkeypatch):
    """An incident past the bound is told at once that it has no clip, instead of waiting for ever."""
    monkeypatch.setattr(clips_module, "MOST_WAITING", 2)
    attached: list[str] = []
    cutter = ClipCutter(5, 5, lambda incident_id, *_: attached.append(incident_id))
    for name in ("one", "two", "three"):
        cutter.order(name, lambda *_: Ring(), 100)
    assert attached == ["three"]
    assert cutter.step(105) == 2
    assert attached == ["three", "one", "two"]


def test_a_cut_that_breaks_the_muxer_costs_its_own_clip_alone(clip, monkeypatch):
    """Whatever one camera's stream does, the others' clips are cut in the same step; so too where handing over fails."""
    ring = Ring(span_s=20)
    fill(ring, clip)
    remux, broken = clips_module.remux_mp4, iter([MemoryError("x"), ValueError("y")])

    def sometimes(packets):
        if (error := next(broken, None)) is not None:
            raise error
        return remux(packets)

    monkeypatch.setattr(clips_module, "remux_mp4", sometimes)
    attached: dict[str, bool] = {}
    cutter = ClipCutter(
        1, 1, lambda incident_id, mp4, _pre_roll_s: attached.update({incident_id: mp4 is not None})
    )
    for name in ("one", "two", "three"):
        cutter.order(name, lambda *_: ring, 10.0)
    assert cutter.step(11.0) == 3
    assert attached == {"one": False, "two": False, "three": True}


def test_a_cut_that_cannot_be_handed_over_leaves_the_others_waiting():
    """The next step cuts them."""
    attached: list[str] = []

    def attach(incident_id, *_):
        attached.append(incident_id)
        if incident_id == "one":
            raise OSError("x")

    cutter = ClipCutter(1, 1, attach)
    for name in ("one", "two"):
        cutter.order(name, lambda *_: Ring(), 10.0)
    with pytest.raises(OSError, match="x"):
        cutter.step(11.0)
    assert cutter.step(11.0) == 1
    assert attached == ["one", "two"]
