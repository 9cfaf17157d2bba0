# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip as a camera that never ends, without a socket."""

import itertools

import av
import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.clips import SEAM_S, ClipFeed
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.rtsp.h264 import split_length_prefixed

LENGTH_S, FRAME_S, FRAMES, GOP_S = 2.0, 0.04, 50, 0.4


def units_of(feed, count, *, start_s=0.0):
    feed.open(start_s)
    units = [feed.next_unit(start_s) for _ in range(count)]
    feed.close()
    return units


def own_nals(clip):
    with av.open(str(clip)) as container:
        return [split_length_prefixed(bytes(p), 4) for p in container.demux(video=0) if p.size]


def test_the_clips_packets_are_served_unchanged(clip):
    """Every NAL unit of every packet, in order, and again after the seam."""
    units = units_of(ClipFeed(clip), 2 * FRAMES)
    assert [unit.nals for unit in units] == own_nals(clip) * 2
    assert [index for index, unit in enumerate(units) if unit.is_key] == list(range(0, 100, 10))


def test_the_seam_is_a_jump_of_pts_and_no_pause(clip):
    """Pictures stay due one frame apart for ever, while pts jumps forward where the clip starts again."""
    units = units_of(ClipFeed(clip), 3 * FRAMES)
    due = [later.due_s - earlier.due_s for earlier, later in itertools.pairwise(units)]
    assert due == pytest.approx([FRAME_S] * 149)
    jumps = [b.pts_s - a.pts_s for a, b in itertools.pairwise(units)]
    assert [i for i, jump in enumerate(jumps) if jump > 1] == [49, 99]
    assert jumps[49] == pytest.approx(FRAME_S + SEAM_S)


def test_a_phase_moves_the_keys_of_a_camera(clip):
    """A camera 0.7 s ahead shows at second 0 what lies at 0.7 s, from the key picture before it on."""
    first = units_of(ClipFeed(clip, phase_s=0.7), 1)[0]
    assert first.is_key
    assert first.due_s == pytest.approx(-0.3)
    assert first.pts_s == pytest.approx(0.4)


def test_a_feed_opened_later_is_where_the_timeline_is(clip):
    """Two cameras of one clip show the same at the same time, whenever they were opened."""
    units = units_of(ClipFeed(clip, phase_s=0.5), 60, start_s=101.0)
    early = units_of(ClipFeed(clip, phase_s=0.5), 60 + 51 * 50)
    same = {round(unit.due_s, 3): unit for unit in early}
    assert [same[round(unit.due_s, 3)].nals for unit in units] == [unit.nals for unit in units]
    assert [same[round(unit.due_s, 3)].pts_s for unit in units] == pytest.approx(
        [unit.pts_s for unit in units]
    )


def test_reordered_pictures_keep_their_times(tools, tmp_path):
    """With B pictures units leave in decoding order, and pts differs from it."""
    clip = tools.make_clip(tmp_path / "b.mp4", b_frames=2)
    units = units_of(ClipFeed(clip), FRAMES)
    due = [unit.due_s for unit in units]
    pts = [unit.pts_s for unit in units]
    assert due == sorted(due)
    assert pts != sorted(pts)
    assert min(pts) >= -1e-9


def test_what_is_long_past_is_skipped_up_to_a_key_picture_and_counted(clip):
    """After a pause of the whole process the camera goes on with what is now."""
    feed = ClipFeed(clip)
    feed.open(0.0)
    assert feed.next_unit(0.0).due_s == pytest.approx(0.0)
    unit = feed.next_unit(30.1)
    assert unit.is_key
    assert 28.1 <= unit.due_s <= 28.1 + GOP_S
    assert feed.skipped == round(unit.due_s / FRAME_S) - 1
    feed.close()


def test_what_lies_before_the_first_picture_does_not_count_as_skipped(clip):
    """Looking for the right place at the start is no loss."""
    feed = ClipFeed(clip)
    feed.open(57.3)
    feed.next_unit(57.3)
    assert feed.skipped == 0
    feed.close()


def test_mpeg_transport_streams_are_served_too(tools, tmp_path):
    """Where NAL units are parted by start codes."""
    clip = tools.make_clip(tmp_path / "yard.ts")
    units = units_of(ClipFeed(clip), FRAMES + 5)
    assert units[0].is_key
    assert units[FRAMES].nals == units[0].nals
    assert units[FRAMES].pts_s - units[FRAMES - 1].pts_s > SEAM_S


def test_another_codec_is_refused_in_one_sentence(tools, tmp_path):
    """The file is named, what was found, and what to do."""
    clip = tools.make_clip(tmp_path / "old.mp4", codec="mpeg4")
    with pytest.raises(InputError, match=r"old\.mp4: .*found mpeg4 video; convert it to H\.264"):
        ClipFeed(clip).open(0.0)


@pytest.mark.parametrize("content", [None, b"", b"no clip at all" * 100])
def test_what_is_no_clip_is_refused(tmp_path, content):
    """A missing, an empty and a foreign file."""
    clip = tmp_path / "none.mp4"
    if content is not None:
        clip.write_bytes(content)
    with pytest.raises(InputError, match=r"none\.mp4: "):
        ClipFeed(clip).open(0.0)


def test_a_closed_feed_says_so(clip):
    """Instead of giving nothing for ever."""
    with pytest.raises(FeedError):
        ClipFeed(clip).next_unit(0.0)
