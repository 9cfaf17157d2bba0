# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras that are not ours: Debian's GStreamer serves H.264 and H.265, over TCP and UDP, with Digest where asked for."""

import contextlib
import itertools

import pytest

from gridwatch.core.camera import Transport
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.decoder import KeyDecoder
from ingest.errors import UnauthorizedError
from ingest.rtsp import RtspOptions, RtspSource
from tests.gstreamer import GStreamerCamera, is_there
from tests.servers import missing

CODECS = {"h264": "h264", "h265": "hevc"}


@pytest.fixture(autouse=True)
def gstreamer():
    if not is_there():
        missing(
            "GStreamer's RTSP server is not installed (Debian: apt install gir1.2-gst-rtsp-server-1.0 and the plugins"
            " base, good, bad and ugly); .ci/run has it"
        )


@contextlib.contextmanager
def served(codec, transport, digest=""):
    camera = GStreamerCamera(codec, transport, digest)
    try:
        yield camera.url
    finally:
        camera.close()


def source(url, transport):
    return RtspSource("cam", SecretUrl(url), SystemClock(), RtspOptions(transport=Transport(transport)))


@pytest.mark.parametrize("digest", ["", "operator:p4ss"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_camera_of_another_maker_is_read_and_decoded(codec, transport, digest):
    """Its key frames come whole, however many slices they have, with times that rise, and the camera's clock with them."""
    decoder, keys = KeyDecoder(), []
    with served(codec, transport, digest) as url, source(url, transport) as stream:
        assert stream.info.codec == CODECS[codec]
        for packet in stream.packets():
            if packet.is_key and packet.pts is not None:
                keys.append(packet)
            if len(keys) == 4:
                break
    for packet in keys[1:]:  # the first may show what a stream's key frames look like
        frame = decoder.decode(packet)
        assert (frame.width, frame.height) == (320, 180)
        assert frame.luma().max() > 150  # the ball
    gaps = [b.at_mono_s - a.at_mono_s for a, b in itertools.pairwise(keys)]
    assert all(0.5 < gap < 1.7 for gap in gaps)


def test_a_wrong_password_is_told_from_everything_else():
    """GStreamer's 401 is an UnauthorizedError, without the password."""
    with served("h264", "tcp", "operator:p4ss") as url:
        wrong = source(url.replace("p4ss", "wr0ng"), "tcp")
        with pytest.raises(UnauthorizedError) as refused, wrong:
            pass
    assert "wr0ng" not in str(refused.value)
