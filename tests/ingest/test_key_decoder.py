# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lone key frames, decoded by one object for all cameras."""

from dataclasses import replace

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from gridwatch.core.frame import Frame
from ingest.decoder import KeyDecoder, open_context
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


def test_a_gpu_that_refuses_what_the_cpu_decodes_is_left(make_clip, packets_of, monkeypatch):
    """Every key frame is decoded all the same; after three the GPU is asked no more."""
    refusing = Refusing()
    monkeypatch.setattr("ingest.decoder._open_cuda", lambda _codec: refusing)
    decoder = KeyDecoder("cuda")
    packets = keys(packets_of(make_clip(gop=4, pictures=24)))
    with capture_logs() as log:
        assert all(decoder.decode(packet).width == 320 for packet in packets)
    assert (refusing.asked, decoder.device) == (3, "cpu")
    assert [entry["reason"] for entry in log] == ["a key frame cannot be decoded (no such profile)"]


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
