# SPDX-License-Identifier: AGPL-3.0-or-later
"""Faults of the pictures, switched while clients watch: really coded material on the wire."""

import itertools
import json
import time

import av
import pytest

from gridwatch.simulator.city import City, CityCamera
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.payload import join_payloads


def test_pictures_change_at_both_streams_of_a_camera(tools, clip):
    """A picture fault is handed to the feed, and to that of the second stream; the last one counts."""

    class Feed(ClipFeed):
        def show(self, name, **values):
            shown.append((self.phase_s, name, values))

    shown = []
    cameras = [CityCamera(path, Feed(clip, at)) for path, at in (("a", 1.0), ("a/sub", 2.0), ("b", 3.0))]
    with tools.city_running(City(cameras)) as ports:

        def ask(fault, *, on, **values):
            order = {"ask": "fault", "camera": "a", "fault": fault, "on": on, **values}
            return tools.ask(ports.control, json.dumps(order).encode())["cameras"]

        assert ask("cover", on=True) == ["a", "a/sub"]
        ask("blur", on=True)
        ask("cover", on=False)
        assert set(tools.ask(ports.control, b'{"ask": "faults"}')["on"]["a"]) == {"blur"}
        ask("blur", on=True, for_s=0.01)
        deadline = time.monotonic() + 10
        while tools.ask(ports.control, b'{"ask": "faults"}')["on"] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [(at, name) for at, name, _ in shown] == [
        (1.0, "cover"),
        (2.0, "cover"),
        (1.0, "blur"),
        (2.0, "blur"),
        (1.0, "blur"),
        (2.0, "blur"),
        (1.0, None),
        (2.0, None),
    ]
    assert shown[0][2] == {"share": 0.9}


class Quick(ClipFeed):
    """A clip of which little is made ahead, so that another picture is soon on the wire."""

    ahead_s, refill_s = 0.4, 0.2


@pytest.fixture
def camera(tools, clip):
    """A camera of its own, and how a fault is switched at it."""
    with tools.city_running(City([CityCamera("yard", Quick(clip))])) as ports:

        def switch(name, *, on=True, **values):
            order = {"ask": "fault", "camera": "yard", "fault": name, "on": on, **values}
            assert tools.ask(ports.control, json.dumps(order).encode())["cameras"] == ["yard"]

        yield ports, switch


def pictures(client):
    """Yield the NAL units of one picture after the other."""
    for _, packets in itertools.groupby(client.packets(), key=lambda packet: packet.timestamp):
        yield join_payloads([packet.payload for packet in packets])


def kinds(nals):
    return {nal[0] & 0x1F for nal in nals}


def test_a_frozen_stream_goes_on_in_the_same_session(tools, camera):
    """Whole pictures follow, far smaller than before, until it is told off."""
    ports, switch = camera
    with tools.RawClient(ports.rtsp, "yard").play() as client:
        stream = pictures(client)
        sizes = [sum(map(len, next(stream))) for _ in range(20)]
        assert min(sizes) > 100
        switch("freeze")
        assert any(sum(map(len, nals)) < 100 for nals in itertools.islice(stream, 500))
        switch("freeze", on=False)
        tail = (sum(map(len, nals)) for nals in itertools.islice(stream, 500))
        assert any(min(window) > 100 for window in zip(*[tail] * 20, strict=False))


def test_a_new_size_comes_with_new_parameter_sets_in_the_same_session(tools, camera):
    """FFmpeg's decoder finds them in the stream."""
    ports, switch = camera
    with tools.watching(ports.rtsp, "yard", "") as container:
        packets = (packet for packet in container.demux(video=0) if packet.size)
        next(packets)
        switch("size", width=96, height=64)
        frames = (frame for packet in itertools.islice(packets, 500) for frame in packet.decode())
        sizes = ((frame.width, frame.height) for frame in frames)
        assert any(size == (96, 64) for size in sizes)


def test_another_codec_ends_the_session_and_is_described_anew(tools, camera):
    """Who watched is cut; who comes then gets H.265."""
    ports, switch = camera
    with tools.watching(ports.rtsp, "yard", "") as container:
        switch("codec", codec="hevc")
        for _ in container.demux(video=0):
            pass
    with tools.watching(ports.rtsp, "yard", "") as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        assert next(container.demux(video=0)).is_keyframe


def test_an_endless_group_of_pictures_takes_late_viewers(tools, camera):
    """After its first key picture none comes; a late viewer begins with parameter sets and whatever picture is due."""
    ports, switch = camera
    switch("endless-gop")
    with tools.RawClient(ports.rtsp, "yard").play() as client:
        streak = 0
        for nals in itertools.islice(pictures(client), 500):
            streak = 0 if 5 in kinds(nals) else streak + 1
            if streak > 25:
                break
        assert streak > 25
        with tools.RawClient(ports.rtsp, "yard").play() as late:
            first, second = itertools.islice(pictures(late), 2)
            assert kinds(first) >= {7, 8, 1}
            assert 5 not in kinds(first) | kinds(second)


@pytest.mark.parametrize("fault", ["truncate", "garbage"])
def test_spoilt_pictures_are_not_what_was_encoded(tools, camera, clip, fault):
    """A decoder refuses them or patches them up; the session goes on."""
    ports, switch = camera
    with av.open(str(clip)) as container:
        own = {frame.to_ndarray().tobytes() for frame in container.decode(video=0)}
    decoder = av.CodecContext.create("h264", "r")
    spoilt = 0
    with tools.RawClient(ports.rtsp, "yard").play() as client:
        switch(fault, **({"mode": "slices"} if fault == "garbage" else {"keep": 0.2}))
        for nals in itertools.islice(broken_pictures(client), 200):
            try:
                frames = decoder.decode(av.Packet(b"".join(b"\0\0\0\1" + nal for nal in nals)))
            except av.FFmpegError:
                spoilt += 1
            else:
                spoilt += any(frame.to_ndarray().tobytes() not in own for frame in frames)
            if spoilt > 3:
                break
    assert spoilt > 3


def broken_pictures(client):
    """As `pictures`; what cannot be put together is one NAL unit."""
    for _, packets in itertools.groupby(client.packets(), key=lambda packet: packet.timestamp):
        payloads = [packet.payload for packet in packets]
        try:
            yield join_payloads(payloads)
        except WireError:
            yield (b"".join(payloads),)
