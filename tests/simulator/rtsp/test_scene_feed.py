# SPDX-License-Identifier: AGPL-3.0-or-later
"""A generated scene as a camera, without a socket."""

import av
import numpy as np
import pytest

from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.scene_feed import SceneFeed


@pytest.fixture
def open_feed(tools):
    feeds = []

    def opened(key_phase=0, start_s=0.0):
        feed = SceneFeed(tools.TinyScene(), key_phase)
        media = feed.open(start_s)
        feeds.append(feed)
        return feed, media

    yield opened
    for feed in feeds:
        feed.close()


def decoded(media, units):
    decoder = av.CodecContext.create("h264", "r")
    start = b"\x00\x00\x00\x01"
    data = b"".join(start + nal for nal in media.parameter_sets.nals)
    frames = []
    for unit in units:
        data += b"".join(start + nal for nal in unit.nals)
        frames += decoder.decode(av.Packet(data))
        data = b""
    return frames + decoder.decode(None)


def test_pictures_arrive_as_they_were_rendered(open_feed, tools):
    """Frame i of the stream is frame i of the scene, coded lossily."""
    feed, media = open_feed()
    frames = decoded(media, [feed.next_unit(0.0) for _ in range(12)])
    assert (media.width, media.height, media.fps) == (160, 96, 10.0)
    assert len(frames) == 12
    for index, frame in enumerate(frames):
        difference = frame.to_ndarray(format="bgr24").astype(int) - tools.TinyScene().render(index)
        assert np.abs(difference).mean() < 6
    assert not any(frame.pict_type == av.video.frame.PictureType.B for frame in frames)


def test_times_are_the_timelines(open_feed):
    """Frame i is due at second i / fps, from the second at which the feed was opened."""
    feed, _ = open_feed(start_s=3.21)
    units = [feed.next_unit(3.21) for _ in range(3)]
    assert [unit.due_s for unit in units] == pytest.approx([3.3, 3.4, 3.5])
    assert [unit.pts_s for unit in units] == [unit.due_s for unit in units]


@pytest.mark.parametrize(("phase", "keys"), [(0, [0, 5, 10]), (2, [0, 2, 7, 12])])
def test_key_frames_keep_their_cadence_and_phase(open_feed, phase, keys):
    """The first picture is a key; then every gop_frames one, at the camera's own phase."""
    feed, _ = open_feed(phase)
    units = [feed.next_unit(0.0) for _ in range(13)]
    assert [index for index, unit in enumerate(units) if unit.is_key] == keys
    assert [index for index, unit in enumerate(units) if any(nal[0] & 31 == 5 for nal in unit.nals)] == keys


def test_a_scene_that_falls_behind_leaves_frames_out_and_stays_decodable(open_feed):
    """Never late: it goes on at the present, counts what it left out, and a key frame due meanwhile is made up for."""
    feed, media = open_feed()
    units = [feed.next_unit(0.0) for _ in range(3)]
    units += [feed.next_unit(1.18), feed.next_unit(1.18), feed.next_unit(1.18)]
    assert [unit.due_s for unit in units] == pytest.approx([0.0, 0.1, 0.2, 1.2, 1.3, 1.4])
    assert [unit.is_key for unit in units] == [True, False, False, True, False, False]
    assert feed.skipped == 9
    assert len(decoded(media, units)) == 6


def test_the_encoder_keeps_to_its_bit_rate():
    """Pictures of noise at 960 × 540 cost about 800 kbit/s, not what they would need."""

    class Noise:
        width, height, fps, gop_frames = 960, 540, 10.0, 15
        rng = np.random.default_rng(3)
        still = rng.integers(0, 255, (540, 960, 3), np.uint8)

        def render(self, frame_index):
            return np.roll(self.still, 7 * frame_index, axis=1)

    feed = SceneFeed(Noise())
    feed.open(0.0)
    sizes = [sum(map(len, feed.next_unit(0.0).nals)) for _ in range(60)]
    feed.close()
    assert 400_000 < 8 * sum(sizes[15:]) / 4.5 < 1_600_000


def test_a_closed_feed_says_so(open_feed):
    """Instead of giving nothing for ever."""
    feed, _ = open_feed()
    feed.close()
    with pytest.raises(FeedError):
        feed.next_unit(0.0)
