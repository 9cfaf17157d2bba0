# SPDX-License-Identifier: AGPL-3.0-or-later
"""H.265 over RTP (RFC 7798): payloads, description, and a clip that FFmpeg's own client decodes."""

import base64
import itertools
import re

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.simulator.city import City, CityCamera
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.media import ParameterSets, VideoMedia
from gridwatch.simulator.rtsp.payload import join_payloads, nal_payloads
from gridwatch.simulator.rtsp.rtp import RtpPacket, RtpSender
from gridwatch.simulator.rtsp.sdp import describe

VPS, SPS, PPS = b"\x40\x01vps", b"\x42\x01sps", b"\x44\x01pps"


def test_a_long_nal_unit_is_cut_as_the_rfc_draws_it():
    """Two header bytes of type 49, one of the fragment with start and end marks, then the unit without its header."""
    nal = b"\x26\x01" + b"abcdefgh"  # IDR_W_RADL, layer 0, temporal id 1
    assert nal_payloads(nal, 6, "hevc") == [
        b"\x62\x01\x93abc",
        b"\x62\x01\x13def",
        b"\x62\x01\x53gh",
    ]
    assert join_payloads(nal_payloads(nal, 6, "hevc"), "hevc") == (nal,)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 47), st.integers(0, 63), st.integers(1, 7), st.binary(min_size=1, max_size=5000)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_an_access_unit_survives_packets(parts):
    """Type, layer and temporal id of each unit are as before; no payload is larger than a packet may be."""
    nals = tuple(
        bytes(((kind << 1) | (layer >> 5), ((layer & 0x1F) << 3) | tid)) + body
        for kind, layer, tid, body in parts
    )
    packets = [RtpPacket.parse(data) for data in RtpSender(7, 0).packetise(nals, 90, "hevc")]
    assert join_payloads([packet.payload for packet in packets], "hevc") == nals
    assert [packet.marker for packet in packets] == [False] * (len(packets) - 1) + [True]
    assert all(len(packet.payload) <= 1400 for packet in packets)


@pytest.mark.parametrize(
    "payloads", [[b"\x62\x01\x13ab"], [b"\x62\x01\x93ab"], [b"\x60\x01ab"], [b"\x62\x01"], [b""]]
)
def test_what_is_out_of_place_is_refused(payloads):
    """A missing start or end, an aggregation packet (never sent here), and a cut header."""
    with pytest.raises(WireError):
        join_payloads(payloads, "hevc")


def test_the_description_names_each_kind_of_parameter_set():
    """VPS, SPS and PPS in Base64, each under its own name."""
    text = describe(VideoMedia(ParameterSets((SPS,), (PPS,), (VPS,)), 320, 240, 25, "hevc"), 1).decode()
    assert "a=rtpmap:96 H265/90000\r\n" in text
    told = dict(re.findall(r"sprop-(vps|sps|pps)=([^;\r]+)", text))
    assert {kind: base64.b64decode(value) for kind, value in told.items()} == {
        "vps": VPS,
        "sps": SPS,
        "pps": PPS,
    }


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffmpeg_decodes_an_h265_clip_to_its_own_pictures(tools, tmp_path_factory, transport):
    """What comes over RTP is what decoding the file gives."""
    clip = tools.make_clip(tmp_path_factory.mktemp("clips") / "yard.mp4", codec="libx265", frames=30)
    with av.open(str(clip)) as container:
        own = [frame.to_ndarray() for frame in container.decode(video=0)]
    options = {"rtsp_transport": transport, "timeout": "5000000"}
    with tools.city_running(City([CityCamera("yard", ClipFeed(clip))])) as ports:
        with av.open(f"rtsp://127.0.0.1:{ports.rtsp}/yard", options=options) as container:
            assert container.streams.video[0].codec_context.name == "hevc"
            packets = list(itertools.islice((p for p in container.demux(video=0) if p.size), 15))
            seen = [frame.to_ndarray() for packet in packets for frame in packet.decode()]
        (status,) = tools.ask(ports.control)["cameras"]
    assert status["codec"] == "hevc"
    assert len(seen) >= 10
    assert all(any(np.array_equal(picture, one) for one in own) for picture in seen)
