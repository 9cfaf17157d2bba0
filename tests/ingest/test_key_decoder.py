# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lone key frames, decoded by one object for all cameras."""

from dataclasses import replace

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from gridwatch.core.frame import Frame
from ingest.decoder import KeyDecoder, Refusals, open_context
from ingest.errors import DamagedError


def keys(packets):
    return [packet for packet in packets if packet.is_key]


def pictures_by_ffmpeg(path, times):
    """Decode the whole clip as a player would, for comparison."""
    with av.open(path) as container:
        shown = {round(frame.time, 3): frame.to_ndarray(format="gray") for frame in container.decode(video=0)}
    return [shown[round(time, 3)] for time in times]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"b_frames": 2, "preset": "medium"},
        {"b_frames": 2, "preset": "medium", "x264-params": "open-gop=1"},
        {"codec": "libx265"},
        {"codec": "libx265", "b_frames": 2, "x265-params": "log-level=none:open-gop=1"},
        {"size": (322, 182)},
    ],
    ids=["plain", "b-frames", "open-gop", "hevc", "hevc-open-gop", "odd-size"],
)
def test_a_lone_key_frame_is_the_picture_a_player_shows(make_clip, packets_of, options):
    """One key packet gives one picture, at once, equal to what decoding everything gives at that time."""
    path = make_clip(gop=6, pictures=18, **options)
    found = keys(packets_of(path))
    assert len(found) == 3
    decoder = KeyDecoder()
    for packet, expected in zip(found, pictures_by_ffmpeg(path, [p.at_mono_s for p in found]), strict=True):
        frame: Frame = decoder.decode(packet)
        assert (frame.width, frame.height) == expected.shape[::-1]
        spread = frame.luma().astype(int) - expected  # "gray" stretches the range of luma: compare the shapes
        assert np.corrcoef(frame.luma().ravel(), expected.ravel())[0, 1] > 0.999, spread


def test_one_decoder_serves_sizes_and_codecs_in_turn(make_clip, packets_of):
    """Cameras of different sizes and codecs do not disturb each other."""
    clips = [
        make_clip("a.mp4", size=(320, 180)),
        make_clip("b.mp4", size=(640, 352)),
        make_clip("c.mp4", codec="libx265", size=(256, 144)),
    ]
    found = [keys(packets_of(clip)) for clip in clips]
    decoder, alone = KeyDecoder(), {}
    for camera in (0, 1, 2, 0, 2, 1, 1, 0):
        packet = found[camera][0]
        luma = decoder.decode(packet).luma()
        assert np.array_equal(alone.setdefault(camera, KeyDecoder().decode(packet).luma()), luma)


def test_a_damaged_key_frame_is_refused_and_forgotten(make_clip, packets_of):
    """Cut off, overwritten or empty: an error with a reason, and the next key frame is decoded as ever."""
    packet = keys(packets_of(make_clip(size=(640, 352))))[1]
    good = KeyDecoder().decode(packet).luma().copy()
    half = len(packet.payload) // 2
    damaged = [
        packet.payload[:half],
        packet.payload[:half] + b"\xaa" * 400 + packet.payload[half + 400 :],
        b"",
        bytes(500),
    ]
    decoder = KeyDecoder()
    for payload in damaged:
        with pytest.raises(DamagedError):
            decoder.decode(replace(packet, payload=payload))
        assert np.array_equal(decoder.decode(packet).luma(), good)


def test_parameter_sets_of_another_camera_are_not_used(make_clip, packets_of):
    """A key frame whose own sets are missing is damage, even right after a camera that had them."""
    packet = keys(packets_of(make_clip()))[0]
    decoder = KeyDecoder()
    decoder.decode(packet)
    bare = replace(packet.info, extradata=packet.info.extradata[:6] + b"\x00")
    no_sets = replace(bare, extradata=b"\x01" + packet.info.extradata[1:5] + b"\xe0\x00")
    with pytest.raises(DamagedError):
        decoder.decode(replace(packet, info=no_sets))


def test_without_a_gpu_the_cpu_decodes_and_says_so_once(make_clip, packets_of):
    """This machine has none: the real fall-back."""
    packets = keys(packets_of(make_clip(gop=5, pictures=20)))
    decoder = KeyDecoder("cuda")
    with capture_logs() as log:
        pictures = [decoder.decode(packet) for packet in packets]
    for picture, packet in zip(pictures, packets, strict=True):
        assert np.array_equal(picture.luma(), KeyDecoder().decode(packet).luma())
    told = [entry for entry in log if entry["event"] == "decoding_on_cpu"]
    if decoder.device == "cpu":  # a developer's machine may have a GPU
        assert len(told) == 1
        assert told[0]["reason"]


class Refusing:
    """A GPU's decoder that opens and then takes no stream."""

    def __init__(self):
        self.asked = 0

    def decode(self, _unit):
        self.asked += 1
        raise NotImplementedError("no such profile")


class Gpu:
    """A GPU in the place of which the CPU decodes, but not while it refuses."""

    def __init__(self):
        self.refuses, self.asked, self.opened = False, 0, 0

    def open(self, codec):
        self.opened += 1
        self._context = open_context(codec)
        return self

    def decode(self, unit):
        self.asked += unit is not None
        if self.refuses:
            raise NotImplementedError("no such profile")
        return self._context.decode(unit)

    def flush_buffers(self):
        self._context.flush_buffers()


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu()
    monkeypatch.setattr("ingest.decoder._open_cuda", gpu.open)
    return gpu


@pytest.fixture
def key(make_clip, packets_of):
    """Return a function that makes a key frame of a camera."""
    packet = keys(packets_of(make_clip()))[0]
    return lambda camera_id, session=1: replace(packet, camera_id=camera_id, session=session)


def test_a_gpu_that_refuses_what_the_cpu_decodes_is_left(make_clip, packets_of, monkeypatch):
    """Every key frame is decoded all the same; after three cameras in a row the GPU is asked no more."""
    refusing = Refusing()
    monkeypatch.setattr("ingest.decoder._open_cuda", lambda _codec: refusing)
    decoder = KeyDecoder("cuda")
    packets = keys(packets_of(make_clip(gop=4, pictures=24)))
    packets = [replace(packet, camera_id=f"cam-{i}") for i, packet in enumerate(packets)]
    assert len(packets) > 3
    with capture_logs() as log:
        assert all(decoder.decode(packet).width == 320 for packet in packets)
    assert (refusing.asked, decoder.device) == (3, "cpu")
    assert [entry["reason"] for entry in log] == ["a key frame cannot be decoded (no such profile)"]


def test_one_stream_that_a_gpu_refuses_takes_it_from_nobody(gpu, key):
    """It is tried twice and then left to the CPU; as the only camera, too. The GPU stays with the others."""
    decoder = KeyDecoder("cuda")
    gpu.refuses = True
    for _ in range(10):
        assert decoder.decode(key("odd")).width == 320
    assert (gpu.asked, decoder.device) == (2, "cuda")
    assert (decoder.device_for(key("odd")), decoder.device_for(key("usual"))) == ("cpu", "cuda")
    opened, gpu.refuses = gpu.opened, False
    for _ in range(10):
        decoder.decode(key("usual"))
        decoder.decode(key("odd"))
    assert (gpu.asked, gpu.opened, decoder.device) == (12, opened + 1, "cuda")


def test_a_stream_that_begins_anew_is_tried_anew(gpu, key):
    """Somebody may have set the camera to another profile."""
    decoder = KeyDecoder("cuda")
    for session, asked in ((1, 2), (2, 4)):
        gpu.refuses = True
        for _ in range(5):
            decoder.decode(key("cam", session))
        assert gpu.asked == asked
    gpu.refuses = False
    decoder.decode(key("cam", 3))
    assert gpu.asked == 5


def test_a_refusal_between_pictures_that_were_decoded_is_forgotten(gpu, key):
    """Once the device was full; and three cameras that are refused now and then are not three in a row."""
    decoder = KeyDecoder("cuda")
    for number in range(12):
        gpu.refuses = number % 2 == 0
        decoder.decode(key(f"cam-{number % 2}"))
        gpu.refuses = False
        decoder.decode(key(f"cam-{number % 2}"))
    for number in range(12):
        gpu.refuses = number % 3 < 2
        decoder.decode(key(f"other-{number}"))
    assert (gpu.asked, decoder.device) == (36, "cuda")


def test_what_is_known_of_refusals_is_bounded(key):
    """Cameras come and go for years; the oldest is tried once more."""
    refusals, packet = Refusals(), key("cam")
    for number in range(5000):
        refusals.add(replace(packet, camera_id=f"cam-{number}"))
        refusals.add(replace(packet, camera_id=f"cam-{number}"))
    assert len(refusals._of) == 4096
    assert not refusals.stands(replace(packet, camera_id="cam-0"))
    assert refusals.stands(replace(packet, camera_id="cam-4999"))


def test_decoders_share_the_device_s_context_where_they_can(monkeypatch):
    """A context of its own costs each a second of CPU; where the shared one cannot be had it is better than none."""
    asked, shared = [], open_context("h264")

    def open_with(_codec, options):
        asked.append(options)
        if options and len(asked) > 1:
            raise ValueError("the primary context is active with incompatible flags")
        return shared

    monkeypatch.setattr("ingest.decoder._open_with", open_with)
    assert open_context("h264", "cuda") is shared
    assert asked == [{"primary_ctx": "1"}]
    assert open_context("h264", "cuda") is shared
    assert asked[1:] == [{"primary_ctx": "1"}, {}]


def test_damage_is_no_reason_to_leave_a_gpu(make_clip, packets_of, monkeypatch):
    """What the CPU cannot decode either says nothing about the GPU."""
    monkeypatch.setattr("ingest.decoder._open_cuda", lambda _codec: Refusing())
    decoder = KeyDecoder("cuda")
    packet = packets_of(make_clip())[0]
    broken = replace(packet, payload=packet.payload[:60] + bytes(len(packet.payload) - 60))
    for _ in range(5):
        with pytest.raises(DamagedError):
            decoder.decode(broken)
    assert decoder.device == "cuda"


def test_a_context_for_following_falls_back_as_well():
    """Without a word: the shared decoders have said it."""
    with capture_logs() as log:
        assert open_context("h264", "cuda").name == "h264"
    assert log == []
