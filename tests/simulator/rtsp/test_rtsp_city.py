# SPDX-License-Identifier: AGPL-3.0-or-later
"""A city on real sockets, watched with FFmpeg's own RTSP client."""

import itertools
import time

import av
import numpy as np
import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.city import City, CityCamera
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.scene_feed import SceneFeed

TRUTH = ({"kind": "fire", "camera": "scene", "onset_s": 20.0, "end_s": 30, "box": [0, 0, 1, 1]},)


@pytest.fixture(scope="module")
def ports(clip, tools):
    """A city with a clip, the same clip 0.62 s ahead, and a generated scene."""
    cameras = [
        CityCamera("yard", ClipFeed(clip), name="院子"),
        CityCamera("east/yard-2", ClipFeed(clip, 0.62)),
        CityCamera("scene", SceneFeed(tools.TinyScene(), 2)),
    ]
    with tools.city_running(City(cameras, credentials=Credentials("viewer", "look"), truth=TRUTH)) as ports:
        yield ports


def packets_of(container, count):
    found = itertools.islice((packet for packet in container.demux(video=0) if packet.size), count)
    return list(found)


def test_a_camera_decodes_to_the_clips_own_pictures(tools, clip, ports):
    """What comes over RTP is, bit by bit, what decoding the file gives."""
    with av.open(str(clip)) as container:
        own = [frame.to_ndarray() for frame in container.decode(video=0)]
    with tools.watching(ports.rtsp, "yard") as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, float(stream.average_rate)) == (160, 96, 25)
        seen = [f.to_ndarray() for packet in packets_of(container, 25) for f in packet.decode()]
    first = next(index for index, picture in enumerate(own) if np.array_equal(picture, seen[0]))
    assert first % 10 == 0
    assert len(seen) >= 24
    for offset, picture in enumerate(seen):
        assert np.array_equal(picture, own[(first + offset) % len(own)])


def test_a_scene_is_watched_like_a_clip(tools, ports):
    """Its key frames come at their cadence, and decode to what was rendered."""
    with tools.watching(ports.rtsp, "scene") as container:
        packets = packets_of(container, 14)
        keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        assert keys[0] == 0
        assert keys[-1] - keys[-2] == 5
        picture = packets[0].decode() + packets[1].decode()
    assert picture[0].to_ndarray(format="gray")[48].max() > 180


def test_many_clients_watch_at_once_and_each_starts_with_a_key_picture(tools, ports):
    """Late joiners included: nobody gets a picture that he cannot decode, and all see the same."""
    with (
        tools.watching(ports.rtsp, "yard") as first,
        tools.watching(ports.rtsp, "yard") as second,
        tools.watching(ports.rtsp, "east/yard-2") as other,
    ):
        time.sleep(0.25)
        with tools.watching(ports.rtsp, "yard") as late:
            streams = [packets_of(container, 70) for container in (first, second, other, late)]
            status = {camera["path"]: camera for camera in tools.ask(ports.control)["cameras"]}
    assert [packets[0].is_keyframe for packets in streams] == [True] * 4
    mine = {bytes(packet) for packet in streams[0]}
    assert bytes(streams[1][5]) in mine
    assert bytes(streams[3][0]) in mine
    assert (status["yard"]["viewers"], status["east/yard-2"]["viewers"]) == (3, 1)


def test_packets_carry_the_cameras_clock_and_the_seam_jumps(tools, ports):
    """Wall time goes on evenly over the seam while pts jumps by ten seconds."""
    with tools.watching(ports.rtsp, "yard") as container:
        packets = packets_of(container, 62)
    walls = [int.from_bytes(bytes(p.get_sidedata("prft"))[:8], "little") / 1e6 for p in packets]
    steps = [b - a for a, b in itertools.pairwise(walls)]
    assert steps == pytest.approx([0.04] * len(steps), abs=0.002)
    assert abs(walls[-1] - time.time()) < 20
    seconds = [float(p.pts * p.time_base) for p in packets[1:]]
    jumps = [b - a for a, b in itertools.pairwise(seconds) if b - a > 1]
    assert jumps
    assert jumps == pytest.approx([10.04] * len(jumps), abs=0.002)


@pytest.mark.parametrize(
    ("user", "path", "error"),
    [
        ("viewer:Look@", "yard", av.error.HTTPUnauthorizedError),
        ("", "yard", av.error.HTTPUnauthorizedError),
        ("viewer:look@", "attic", av.error.HTTPNotFoundError),
    ],
)
def test_the_wrong_password_and_the_wrong_path_are_told_apart(tools, ports, user, path, error):
    """401 and 404, as clients know them."""
    with pytest.raises(error), tools.watching(ports.rtsp, path, user):
        pass


def test_the_control_channel_tells_the_truth_in_wall_time(tools, ports):
    """Onsets are on the timeline and in wall time; the city has not waited for anybody."""
    answer = tools.ask(ports.control)
    assert answer["origin"] == ports.origin
    assert abs(answer["origin"] + answer["now"] - time.time()) < 20
    assert answer["truth"] == [{**TRUTH[0], "onset_at": ports.origin + 20.0, "end_at": ports.origin + 30}]
    yard = answer["cameras"][0]
    assert (yard["name"], yard["path"], yard["width"], yard["fps"]) == ("院子", "yard", 160, 25.0)
    assert yard["units_sent"] == pytest.approx(25 * answer["now"], abs=25)
    assert (yard["units_skipped"], yard["viewers_dropped"], yard["feed_failures"]) == (0, 0, 0)


@pytest.mark.parametrize("line", [b'{"ask": "weather"}', b"[]", b"{", b'{"ask": []}', b"\xff", b"[" * 5000])
def test_the_control_channel_refuses_what_it_does_not_know(tools, ports, line):
    """Every line is answered."""
    assert "error" in tools.ask(ports.control, line)


def test_a_taken_port_is_told_in_one_sentence(tools, clip, ports):
    """The port's number, and what to do."""
    city = City([CityCamera("yard", ClipFeed(clip))], port=ports.rtsp)
    with pytest.raises(InputError, match=f"port {ports.rtsp} cannot be listened on"):
        tools.open_and_close(city)


@pytest.mark.parametrize("paths", [[], ["a", "a"], ["../x y"], [""], ["a//b"]])
def test_a_city_refuses_paths_that_cannot_be_told_apart_or_asked_for(clip, paths):
    """Each camera has a path of its own, of plain letters."""
    with pytest.raises(InputError):
        City([CityCamera(path, ClipFeed(clip)) for path in paths])


class Broken:
    """A scene that fails once, on its twentieth picture."""

    width, height, fps, gop_frames = 160, 96, 25.0, 5

    def __init__(self):
        self.calls = 0

    def render(self, frame_index):
        self.calls += 1
        if self.calls == 20:
            raise RuntimeError("no paint")
        return np.full((96, 160, 3), frame_index % 200, np.uint8)


def test_a_broken_feed_comes_back_and_is_counted(tools):
    """One camera's failure ends after a second; its viewer stays and sees on."""
    with tools.city_running(City([CityCamera("scene", SceneFeed(Broken()))])) as ports:
        with tools.watching(ports.rtsp, "scene", "") as container:
            times = [float((p.pts or 0) * p.time_base) for p in packets_of(container, 40)]
        (status,) = tools.ask(ports.control)["cameras"]
    assert status["feed_failures"] == 1
    assert 0.5 < max(b - a for a, b in itertools.pairwise(times)) < 20


def test_a_city_that_cannot_start_leaves_nothing_open(tools, clip, tmp_path):
    """The second camera's clip is missing: the first one's feed is closed again."""
    first = ClipFeed(clip)
    with pytest.raises(InputError):
        tools.open_and_close(City([CityCamera("a", first), CityCamera("b", ClipFeed(tmp_path / "none.mp4"))]))
    with pytest.raises(FeedError):
        first.next_unit(0.0)
