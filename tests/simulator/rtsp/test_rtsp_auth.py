# SPDX-License-Identifier: AGPL-3.0-or-later
"""Basic authentication, and Basic and Digest side by side."""

import base64

import av
import pytest

from gridwatch.simulator.city import City, CityCamera
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.rtsp.auth import BasicGate, EitherGate, gate_of
from gridwatch.simulator.rtsp.digest import Credentials, DigestGate, Verdict
from gridwatch.simulator.rtsp.wire import Request, parse_request

NONCE = "3f69fcf0db6601b67eda489e79766000"  # of the golden file
VIEWER = Credentials("viewer", "look")


def basic(text, scheme="Basic"):
    return Request("DESCRIBE", "rtsp://h/gate-1", (("Authorization", f"{scheme} {text}"),))


def test_the_rfcs_example_is_admitted():
    """Aladdin's request of RFC 7617 section 2."""
    gate = BasicGate(Credentials("Aladdin", "open sesame"))
    assert gate.verdict(basic("QWxhZGRpbjpvcGVuIHNlc2FtZQ==")) is Verdict.ADMITTED


@pytest.mark.parametrize(
    "request_",
    [
        basic(base64.b64encode(b"viewer:Look").decode()),
        basic(base64.b64encode(b"viewer").decode()),
        basic("dmlld2VyOmxvb2s=", "Bearer"),
        basic("?"),
        basic("é"),
        basic(""),
        Request("DESCRIBE", "rtsp://h/gate-1"),
    ],
)
def test_anything_else_is_refused(request_):
    """A wrong password, half a login, another scheme, no Base64, nothing."""
    assert BasicGate(VIEWER).verdict(request_) is Verdict.REFUSED


def test_both_are_offered_and_either_is_taken(golden):
    """Digest first; a real client's Digest and the right Basic open the same gate."""
    gate = gate_of("both", DigestGate(VIEWER, NONCE))
    assert isinstance(gate, EitherGate)
    assert [challenge.split()[0] for challenge in gate.challenges()] == ["Digest", "Basic"]
    assert gate.verdict(parse_request(golden("rtsp_describe_digest.bin")[:-4])) is Verdict.ADMITTED
    assert gate.verdict(basic("dmlld2VyOmxvb2s=")) is Verdict.ADMITTED


def test_digest_alone_takes_no_basic():
    """The password as it is does not help."""
    gate = gate_of("digest", DigestGate(VIEWER, NONCE))
    assert gate.verdict(basic("dmlld2VyOmxvb2s=")) is Verdict.REFUSED


@pytest.mark.parametrize("scheme", ["digest", "basic", "both"])
def test_ffmpeg_opens_a_camera_of_each_kind(tools, clip, scheme):
    """With the right password, and not with a wrong one."""
    city = City([CityCamera("yard", ClipFeed(clip))], credentials=VIEWER, scheme=scheme)
    with tools.city_running(city) as ports:
        with tools.watching(ports.rtsp, "yard") as container:
            assert next(container.demux(video=0)).is_keyframe
        with pytest.raises(av.error.HTTPUnauthorizedError), tools.watching(ports.rtsp, "yard", "viewer:no@"):
            pass
