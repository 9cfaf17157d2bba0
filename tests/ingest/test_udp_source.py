# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras over RTP in datagrams."""

import time
from itertools import islice

import pytest

from gridwatch.core.camera import Transport
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from gridwatch.simulator.rtsp.digest import Credentials
from ingest.decoder import KeyDecoder
from ingest.errors import DamagedError, SourceError, StreamEndedError, TimedOutError, UnreachableError
from ingest.rtsp import RtspOptions, RtspSource

QUICK = RtspOptions(stall_s=1.6, open_s=1.6, transport=Transport.UDP)


def source_of(url, options=QUICK):
    return RtspSource("cam", SecretUrl(url), SystemClock(), options)


def keys_of(source, count):
    return list(islice((packet for packet in source.packets() if packet.is_key), count))


def test_a_camera_is_read_over_udp(make_clip, serve):
    """Key frames of many datagrams come whole and in order; nothing of it travels in the RTSP connection."""
    clip = make_clip(size=(1280, 720), fps=25, gop=10, pictures=50, preset="veryfast")
    served = serve({"gate": clip}, Credentials("admin", "p4ss"))
    decoder = KeyDecoder()
    with source_of(served.url(user="admin:p4ss@")) as source:
        keys = keys_of(source, 4)
    assert [decoder.decode(key).width for key in keys] == [1280] * 4
    times = [key.at_mono_s for key in keys]
    assert times == sorted(times)
    assert times[-1] - times[1] == pytest.approx(0.8, abs=0.25)


def test_h265_is_read_over_udp(make_clip, serve):
    """The parameter sets come with the description or in band."""
    served = serve({"gate": make_clip("h.mp4", codec="libx265", size=(320, 192), fps=10, gop=5)})
    with source_of(served.url()) as source:
        keys = keys_of(source, 2)
        assert (source.info.codec, source.info.width, source.info.height) == ("hevc", 320, 192)
    assert KeyDecoder().decode(keys[-1]).height == 192


def test_datagrams_out_of_order_are_put_in_order(make_clip, serve):
    """A tenth of them comes some packets late: the pictures are whole."""
    clip = make_clip(size=(1280, 720), fps=25, gop=10, pictures=50, preset="veryfast")
    served = serve({"gate": clip})
    served.fault("reorder", share=0.1, by=3, seed=4)
    decoder = KeyDecoder()
    with source_of(served.url()) as source:
        for key in keys_of(source, 5):
            decoder.decode(key)


def test_lost_datagrams_cost_pictures_and_not_the_stream(make_clip, serve):
    """A tenth is lost: key frames come on, and a broken one is told apart from a whole one or at least harmless."""
    clip = make_clip(size=(640, 360), fps=25, gop=5, pictures=50, preset="veryfast")
    served = serve({"gate": clip})
    decoder, whole = KeyDecoder(), 0
    with source_of(served.url()) as source:
        keys_of(source, 1)
        served.fault("loss", share=0.1, seed=3)
        for key in keys_of(source, 12):
            try:
                whole += decoder.decode(key).width == 640
            except DamagedError:
                continue
    assert whole >= 1


def test_a_camera_that_plays_and_sends_no_datagram_is_given_up(camera_clip, serve):
    """As behind a firewall that lets no datagram through: told within the bound, and TCP is not taken in its place."""
    served = serve({"gate": camera_clip})
    served.fault("no-packets")
    began = time.monotonic()
    with pytest.raises(TimedOutError), source_of(served.url()) as source:
        next(source.packets())
    assert time.monotonic() - began < 2 * QUICK.stall_s + 2


@pytest.mark.parametrize(
    ("transport", "asked"), [(Transport.UDP, "client_port="), (Transport.TCP, "interleaved=")]
)
def test_a_camera_is_asked_for_what_was_configured_and_nothing_else(scripted, transport, asked):
    """A camera that refuses the transport is refused by it: the other one is not tried behind anybody's back."""
    camera = scripted(answers={"SETUP": ["RTSP/1.0 461 Unsupported Transport"]})
    options = RtspOptions(stall_s=1.6, open_s=1.6, transport=transport)
    with pytest.raises(UnreachableError), source_of(camera.url(), options):
        pass
    setups = [request for request in camera.requests if request.startswith("SETUP")]
    assert setups
    assert all(asked in request for request in setups)


def test_datagrams_that_stop_are_noticed(camera_clip, serve):
    """The connection stands and nothing comes any more."""
    served = serve({"gate": camera_clip})
    with source_of(served.url()) as source:
        packets = source.packets()
        next(packets)
        served.fault("silent")
        began = time.monotonic()
        with pytest.raises(SourceError):
            list(packets)
    assert time.monotonic() - began < 2 * QUICK.stall_s + 1


def test_a_killed_server_ends_the_stream(camera_clip, serve):
    """Datagrams have no end of their own: the RTSP connection's counts."""
    served = serve({"gate": camera_clip})
    with source_of(served.url()) as source:
        packets = source.packets()
        next(packets)
        served.kill()
        with pytest.raises((StreamEndedError, TimedOutError)):
            list(packets)
