# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the cameras of one process share, and clips that are too large for it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator import recoding
from gridwatch.simulator import shelf as shelf_module
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.shelf import ClipShelf, Order
from gridwatch.simulator.tracks import FileTrack, MemoryTrack
from gridwatch.simulator.variants import variant


@pytest.fixture
def counted(monkeypatch):
    """Count how often a clip is opened and how often a variant is coded."""
    counts = {"open_track": 0, "make_track": 0}

    def counting(name):
        real = getattr(shelf_module, name)

        def call(*args):
            counts[name] += 1
            return real(*args)

        monkeypatch.setattr(shelf_module, name, call)

    for name in counts:
        counting(name)
    return counts


def test_a_clip_is_read_once_for_all_cameras_of_a_process(yard, counted, pictures):
    """A hundred cameras, each at its own moment; the packets are the same objects."""
    shelf = ClipShelf()
    feeds = [ClipFeed(yard, 0.4 * index, shelf=shelf) for index in range(100)]
    for feed in feeds:
        feed.open(0.0)
    firsts = [feed.next_unit(0.0) for feed in feeds[:6]]
    assert counted["open_track"] == 1
    assert firsts[0].nals is firsts[5].nals
    assert firsts[0].nals is not firsts[1].nals
    assert shelf.kept_bytes < 2 * yard.stat().st_size
    for feed in feeds:
        feed.close()


def test_a_closed_camera_takes_nothing_from_the_others(yard):
    """They go on reading what is shared."""
    shelf = ClipShelf()
    one, two = ClipFeed(yard, shelf=shelf), ClipFeed(yard, shelf=shelf)
    one.open(0.0)
    two.open(0.0)
    one.close()
    assert two.next_unit(0.0).is_key
    two.close()


def test_a_variant_is_coded_once_for_all_cameras(yard, counted):
    """Also when all ask at the same time from their own threads."""
    shelf, order = ClipShelf(), Order(yard, variant("blur"))
    clip = shelf.clip(yard)
    with ThreadPoolExecutor(16) as pool:
        tracks = list(pool.map(lambda _: shelf.ask(order, clip, 20), range(16)))
    assert counted["make_track"] == 1
    assert len({id(track) for track in tracks}) == 1
    assert shelf.ask(order, clip, 0) is tracks[0]


def test_who_does_not_want_to_wait_asks_again(yard, monkeypatch):
    """A feed must not stop sending while its variant is coded."""
    go = threading.Event()
    real = recoding.make_track

    def slow(*args):
        assert go.wait(20)
        return real(*args)

    monkeypatch.setattr(shelf_module, "make_track", slow)
    shelf, order = ClipShelf(), Order(yard, variant("black"))
    clip = shelf.clip(yard)
    assert shelf.ask(order, clip, 0) is None
    go.set()
    assert shelf.ask(order, clip, 20) is not None


def test_only_so_many_variants_are_in_making_at_once(yard, monkeypatch):
    """One more is refused for now, and made when it is asked for again."""
    monkeypatch.setattr(shelf_module, "MAX_WAITING", 2)
    shelf = ClipShelf()
    clip = shelf.clip(yard)
    with shelf._coding:
        orders = [Order(yard, variant("cover", share=0.5 + index / 10)) for index in range(3)]
        assert [shelf.ask(order, clip, 0) for order in orders] == [None, None, None]
        assert len(shelf._making) == 2
    end = time.monotonic() + 20
    while shelf.ask(orders[2], clip, 0.2) is None:
        assert time.monotonic() < end


def test_what_is_kept_is_bounded(yard):
    """What was longest not asked for goes first; the newest stays in any case."""
    shelf = ClipShelf(kept_bytes=1)
    clip = shelf.clip(yard)
    made = [shelf.made(Order(yard, variant("cover", share=share)), clip) for share in (0.5, 0.6)]
    assert shelf.kept_bytes == made[1].size_bytes
    assert isinstance(clip, MemoryTrack)


def test_what_could_not_be_coded_is_told_to_who_asked(yard, tmp_path):
    """And may be asked for again."""
    shelf = ClipShelf()
    clip = shelf.clip(yard)
    gone = Order(tmp_path / "gone.mp4", variant("blur"))
    for _ in range(2):
        with pytest.raises(FeedError, match=r"gone\.mp4"):
            shelf.ask(gone, clip, 20)


def test_what_fails_while_nobody_waits_is_told_when_it_is_asked_for_again(yard, tmp_path):
    """Instead of being coded in vain for ever."""
    shelf = ClipShelf()
    clip = shelf.clip(yard)
    gone = Order(tmp_path / "gone.mp4", variant("blur"))
    with shelf._coding:
        assert shelf.ask(gone, clip, 0) is None
    with pytest.raises(FeedError, match=r"gone\.mp4"):
        shelf.ask(gone, clip, 20)
    assert shelf._making == {}


def test_a_closed_shelf_ends_what_is_being_coded(yard):
    """Nobody waits for a clip of minutes at the end."""
    shelf = ClipShelf()
    clip = shelf.clip(yard)
    shelf.close()
    with pytest.raises(FeedError, match="not needed any more"):
        shelf.made(Order(yard, variant("blur")), clip)


def test_a_clip_too_large_for_memory_is_served_just_the_same(yard, pictures):
    """From its file, unit for unit, over the seam; each camera has a file of its own."""
    large, small = ClipShelf(memory_bytes=0), ClipShelf()
    served = []
    for shelf in (large, small):
        feed = ClipFeed(yard, 0.5, shelf=shelf)
        feed.open(7.3)
        served.append([feed.next_unit(7.3) for _ in range(130)])
        feed.close()
    assert [unit.nals for unit in served[0]] == [unit.nals for unit in served[1]]
    assert [unit.due_s for unit in served[0]] == pytest.approx([unit.due_s for unit in served[1]])
    assert [unit.pts_s for unit in served[0]] == pytest.approx([unit.pts_s for unit in served[1]])
    assert isinstance(large.clip(yard), FileTrack)
    assert large.kept_bytes == 0


def test_variants_of_a_clip_too_large_for_memory_are_made_too(yard, pictures):
    """They are loops of their own, in memory."""
    feed = ClipFeed(yard, shelf=ClipShelf(memory_bytes=0))
    feed.open(0.0)
    feed.show("black")
    pictures.take(feed, 20_000, until=lambda _: feed.showing == "black")
    units = pictures.take(feed, 60)
    feed.show(None)
    pictures.take(feed, 20_000, until=lambda _: feed.showing is None)
    assert (
        max(
            plane.mean() for plane in pictures.lumas(units[units.index(next(u for u in units if u.is_key)) :])
        )
        < 18
    )
    feed.close()


def test_a_second_stream_shows_the_same_smaller_and_at_the_same_time(yard, pictures):
    """Key pictures at the same moments, the clip scaled, at as many bits a pixel."""
    shelf = ClipShelf()
    main, sub = ClipFeed(yard, 0.7, shelf=shelf), ClipFeed(yard, 0.7, shelf=shelf, sub_width=96)
    media = [feed.open(3.0) for feed in (main, sub)]
    units = [[feed.next_unit(3.0) for _ in range(120)] for feed in (main, sub)]
    assert [(one.width, one.height) for one in media] == [(192, 112), (96, 56)]
    assert [unit.due_s for unit in units[1]] == pytest.approx([unit.due_s for unit in units[0]])
    assert [unit.pts_s for unit in units[1]] == pytest.approx([unit.pts_s for unit in units[0]])
    assert [unit.is_key for unit in units[1]] == [unit.is_key for unit in units[0]]
    large, small = (pictures.lumas(some) for some in units)
    for one, two in zip(large[:50:7], small[:50:7], strict=True):
        assert np.abs(one[::2, ::2].astype(int) - two).mean() < 12
    for feed in (main, sub):
        feed.close()


def test_a_second_stream_has_the_same_fault(yard, pictures):
    """At its own size, and back to its own size."""
    feed = ClipFeed(yard, sub_width=96)
    media = feed.open(0.0)
    feed.show("white")
    pictures.take(feed, 20_000, until=lambda _: feed.showing == "white")
    unit = feed.next_unit(0.0)
    assert (unit.media.width, unit.media.height) == (96, 56)
    feed.show(None)
    assert pictures.take(feed, 20_000, until=lambda u: u.media is media)
    feed.close()


@pytest.fixture
def cut(yard, tmp_path):
    """Return a function that writes the packets of the clip that it is told to keep, as a recorder cuts them."""

    def write(keeps):
        path = tmp_path / "cut.ts"
        with av.open(str(yard)) as source, av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for index, packet in enumerate(p for p in source.demux(video=0) if p.size):
                if keeps(index, packet):
                    packet.stream = stream
                    target.mux(packet)
        return path

    return write


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30])
def test_a_clip_that_was_cut_anywhere_is_shown_from_its_first_key_picture_on(cut, pictures, memory_bytes):
    """What comes before it could not be decoded."""
    feed = ClipFeed(cut(lambda index, _: index >= 3), shelf=ClipShelf(memory_bytes))
    feed.open(0.0)
    units = [feed.next_unit(0.0) for _ in range(40)]
    feed.close()
    assert units[0].is_key
    assert units[0].due_s == pytest.approx(7 * 0.04)
    assert len(pictures.lumas(units)) == 40


def test_a_clip_without_a_key_picture_is_refused(cut):
    """Nobody could be shown anything."""
    with pytest.raises(InputError, match=r"cut\.ts: "):
        ClipFeed(cut(lambda _, packet: not packet.is_keyframe)).open(0.0)
