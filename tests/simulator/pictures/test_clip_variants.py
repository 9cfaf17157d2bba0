# SPDX-License-Identifier: AGPL-3.0-or-later
"""Variants that are switched on while a clip is served: what a client that decodes it sees, and when."""

import itertools
import threading
import time

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.feed import Ahead
from gridwatch.simulator.rtsp import h264, h265
from gridwatch.simulator.timeline import Timeline
from gridwatch.simulator.variants import VARIANTS

FRAME_S, GOP = 0.04, 10
LATE = 20_000


@pytest.fixture
def feed(yard):
    """A feed that has sent 25 pictures: half a group of pictures is still to come."""
    made = ClipFeed(yard, 0.4)
    made.open(0.0)
    for _ in range(25):
        made.next_unit(0.0)
    yield made
    made.close()


@pytest.fixture
def switched(feed, pictures):
    """Return a function that switches a variant on; it gives the units before it and `count` units of it."""

    def switch(name, count=60, **values):
        feed.show(name, **values)
        before = pictures.take(feed, LATE, until=lambda _: feed.showing == name)
        first = before.pop()
        return before, [first, *pictures.take(feed, count - 1)]

    return switch


def luma_means(pictures, units):
    return [plane.mean() for plane in pictures.lumas(units)]


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_variant_begins_with_a_key_picture_and_without_a_pause(switched, pictures, name):
    """At the next group of pictures; it can be decoded from there, every picture of it, for longer than the clip."""
    before, units = switched(name, count=120)
    assert len(before) >= 5
    assert units[0].is_key
    step_s = 0.2 if name == "fps" else FRAME_S
    assert round((units[0].due_s + 0.4) / FRAME_S) % GOP == 0
    assert units[0].due_s - before[-1].due_s == pytest.approx(FRAME_S)
    steps = [later.due_s - earlier.due_s for earlier, later in itertools.pairwise(units)]
    assert steps == pytest.approx([step_s] * 119)
    assert len(pictures.lumas(units)) in {120, 119}  # an open group at the very end may lack one
    assert len({id(unit.media) for unit in units}) == 1
    assert units[0].media is not before[-1].media


@pytest.mark.parametrize("name", ["freeze", "b-frames", "codec", "endless-gop", "intra-refresh"])
def test_going_back_is_to_the_clip_at_the_place_where_the_timeline_is(feed, yard, switched, pictures, name):
    """From a key picture of the clip on, as if nothing had been; pts goes on as time does."""
    _, units = switched(name, count=33)
    media = units[-1].media
    feed.show(None)
    units += pictures.take(feed, LATE, until=lambda unit: unit.media is not media)
    home = units.pop()
    assert feed.showing is None
    assert home.is_key
    assert FRAME_S - 1e-6 <= home.due_s - units[-1].due_s <= (GOP + 1) * FRAME_S
    position = round((home.due_s + 0.4) % 2.0 / FRAME_S) % 50
    with av.open(str(yard)) as container:
        own = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    assert home.nals == h264.split_length_prefixed(own[position], 4)
    shift_s = {round((unit.pts_s - unit.due_s) % 10, 3) for unit in (*units, home) if unit.is_key}
    assert len(shift_s) <= 2  # with B-frames pictures are shown later than they are sent


def test_a_frozen_picture_is_the_one_of_the_moment_and_stays(switched, pictures):
    """The encoder goes on: key pictures and tiny ones between; what is decoded hardly changes."""
    before, units = switched("freeze", count=60)
    shown = pictures.lumas(units)
    live = pictures.scene((25 + 10 + len(before)) % 50)[:112]
    assert np.abs(shown[5].astype(int) - live).mean() < 4
    assert max(np.abs(plane.astype(int) - shown[0]).max() for plane in shown[1:]) < 12
    inter = [sum(map(len, unit.nals)) for unit in units if not unit.is_key]
    assert np.median(inter) < 200


def test_a_frozen_picture_with_noise_changes_all_the_time(switched, pictures):
    """A sensor that goes on behind a picture that does not."""
    _, units = switched("freeze", count=20, noise=4)
    shown = pictures.lumas(units)
    changes = [np.abs(b.astype(int) - a).mean() for a, b in itertools.pairwise(shown)]
    assert np.median(changes) > 0.5


@pytest.mark.parametrize(("name", "low", "high"), [("black", 15, 18), ("white", 213, 236), ("cover", 35, 80)])
def test_how_bright_it_is(switched, pictures, name, low, high):
    """Black, washed out and covered, once decoded."""
    _, units = switched(name)
    assert low < min(luma_means(pictures, units)) <= max(luma_means(pictures, units)) < high


def test_things_go_on_moving_behind_a_blur(switched, pictures):
    """The scene is coded anew, at the same place of the clip, not stopped."""
    before, units = switched("blur")
    shown = [plane.astype(int) for plane in pictures.lumas(units)]
    assert np.abs(shown[10] - shown[0]).mean() > 1
    live = pictures.scene((25 + 10 + len(before)) % 50)[:112].astype(int)
    assert shown[0].mean() == pytest.approx(live.mean(), abs=3)


def test_another_size_goes_on_in_the_same_stream(switched, pictures):
    """Its parameter sets come before its key pictures, and it is described anew."""
    _, units = switched("size", width=96, height=64)
    assert {plane.shape for plane in pictures.lumas(units)} == {(64, 96)}
    assert (units[0].media.width, units[0].media.height) == (96, 64)


def test_another_codec_is_described_anew(switched, pictures):
    """H.265 with its three kinds of parameter sets; the picture is the scene's."""
    _, units = switched("codec")
    media = units[0].media
    assert media.codec == "hevc"
    assert [h265.nal_type(nal) for nal in media.parameter_sets.nals] == [32, 33, 34]
    assert h265.is_key(units[0].nals)
    assert 80 < np.mean(luma_means(pictures, units)) < 160


def test_groups_may_be_longer_than_the_clip(switched):
    """A key picture every four seconds of a clip of two."""
    _, units = switched("gop", count=201, gop_s=4)
    assert [index for index, unit in enumerate(units) if unit.is_key] == [0, 100, 200]


def test_b_pictures_are_sent_after_the_ones_they_refer_to(switched):
    """So pts and the order of sending differ, and each picture has a time of its own."""
    _, units = switched("b-frames")
    pts = [unit.pts_s for unit in units]
    assert pts != sorted(pts)
    assert len({round(at_s, 3) for at_s in pts}) == len(pts)
    assert all(unit.pts_s - unit.due_s >= units[0].pts_s - units[0].due_s - 0.1 for unit in units)


def test_an_open_group_has_pictures_that_lean_on_the_one_before(switched):
    """Its later key pictures are no IDR, and pictures sent after them are shown before them."""
    _, units = switched("open-gop", count=60, gop_s=0.8)
    keys = [index for index, unit in enumerate(units) if unit.is_key]
    assert h264.NAL_IDR in {h264.nal_type(nal) for nal in units[0].nals}
    assert len(keys) >= 2
    later = units[keys[1]]
    assert h264.NAL_IDR not in {h264.nal_type(nal) for nal in later.nals}
    assert any(unit.pts_s < later.pts_s for unit in units[keys[1] + 1 : keys[1] + 3])


@pytest.mark.parametrize(
    ("name", "values"), [("endless-gop", {}), ("intra-refresh", {"recovery_points": False})]
)
def test_an_endless_group_has_no_key_picture_but_the_first(switched, name, values):
    """Not even where the clip starts again, twenty seconds long."""
    _, units = switched(name, count=500, **values)
    assert [index for index, unit in enumerate(units) if unit.is_key] == [0]
    kinds = {h264.nal_type(nal) for unit in units[1:] for nal in unit.nals}
    assert not kinds & {h264.NAL_IDR, h264.NAL_SPS, h264.NAL_SEI}


def test_intra_refresh_heals_from_any_recovery_point(switched, pictures):
    """A decoder that begins there shows the whole picture one refresh later."""
    _, units = switched("intra-refresh", count=120, gop_s=1)
    points = [index for index, unit in enumerate(units) if unit.is_key]
    assert points == [0, 25, 50, 75, 100]
    assert {h264.nal_type(nal) for nal in units[50].nals} == {1, h264.NAL_SEI}
    whole, late = pictures.lumas(units), pictures.lumas(units[50:])
    assert np.abs(late[-1].astype(int) - whole[-1]).max() <= 3


def test_a_stream_without_key_pictures_is_put_off_and_not_cut_after_a_pause(feed, switched, pictures):
    """Nothing can be left out of it: it goes on where it was, later, and what was missed is counted."""
    _, units = switched("endless-gop", count=30)
    late_s = units[-1].due_s + 30
    units.append(feed.next_unit(late_s))
    units += pictures.take(feed, 30)
    assert units[30].due_s == pytest.approx(late_s)
    assert units[60].due_s == pytest.approx(late_s + 30 * FRAME_S)
    assert feed.skipped == pytest.approx(30 * 25, abs=2)
    assert len(pictures.lumas(units)) == 61


def test_a_dome_comes_home_by_itself(feed, pictures):
    """Away for 0.8 s and home for 1.2 s, in turn, at the nearest groups of pictures."""
    feed.show("elsewhere", away_s=0.8, home_s=1.2)
    units = pictures.take(feed, 25 * 9)
    own = units[0].media
    away = [unit.media is not own for unit in units]
    spells = [sum(1 for _ in group) for _, group in itertools.groupby(away)][1:-1]
    assert len(spells) >= 6
    assert set(spells[::2]) == {20}
    assert set(spells[1::2]) == {30}


def test_nothing_that_is_not_known_reaches_a_running_stream(feed):
    """The caller is told, and what is shown stays."""
    with pytest.raises(InputError):
        feed.show("melt")
    with pytest.raises(InputError):
        feed.show("cover", share=2)
    feed.next_unit(0.0)
    assert feed.showing is None


def test_a_variant_that_cannot_be_made_is_told_and_the_clip_goes_on(yard, pictures, monkeypatch):
    """Once, not at every group of pictures; another one may be asked for."""
    tries = []

    def broken(*_):
        tries.append(1)
        raise FeedError("the encoder does not start")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr("gridwatch.simulator.shelf.make_track", broken)
        feed = ClipFeed(yard)
        feed.open(0.0)
        feed.show("black")
        units = pictures.take(feed, 100)
    assert [(log["event"], log["variant"], log["reason"]) for log in logs] == [
        ("variant_not_made", "black", "the encoder does not start")
    ]
    assert len(tries) == 1
    assert len({id(unit.media) for unit in units}) == 1
    feed.show("white")
    pictures.take(feed, LATE, until=lambda _: feed.showing == "white")
    feed.close()


def test_a_feed_opened_again_takes_its_variant_up_again(feed, pictures):
    """A fault does not end because the feed had to be opened anew."""
    feed.show("black")
    pictures.take(feed, LATE, until=lambda _: feed.showing == "black")
    feed.close()
    feed.open(9.0)
    pictures.take(feed, LATE, until=lambda _: feed.showing == "black")


def test_a_variant_is_switched_on_by_another_thread_while_units_are_made_ahead(yard):
    """As the control channel does it."""
    feed, timeline = ClipFeed(yard), Timeline.starting_now(SystemClock())
    media = feed.open(0.0)
    ahead = Ahead("yard", feed, timeline)
    ahead.start()
    try:
        switcher = threading.Thread(target=feed.show, args=("black",))
        switcher.start()
        switcher.join()
        end = time.monotonic() + 20
        unit = None
        while (unit is None or unit.media is media) and time.monotonic() < end:
            unit = ahead.pop() if ahead.peek() is not None else unit
            time.sleep(0.001)
        assert unit is not None
        assert unit.media is not media
        assert unit.is_key
        assert ahead.failures == 0
    finally:
        ahead.stop()
        ahead.join(5)
