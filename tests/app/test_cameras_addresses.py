# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of streams in files: URLs and resolvers, with every secret named and none written."""

import os
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from gridwatch.app.addresses import address_of, has_secret, with_named_password
from gridwatch.app.cameras import CameraFields, camera_of, unset_variables
from gridwatch.core.camera import EvidenceFrom, Resolver, Transport, Watch
from gridwatch.core.redact import SecretUrl


def fields(**said):
    return CameraFields.model_validate({"id": "a", "url": "rtsp://192.0.2.1/1"} | said)


def test_a_camera_with_everything_is_read_whole(monkeypatch):
    """Two streams, a resolver, transport, recorder: core's camera has them, secrets filled in."""
    monkeypatch.setenv("T", "s3cret")
    said = fields(
        url={"http": "https://vms.example/play?id=7&token=${T}", "timeout_s": 3},
        sub_url={"command": ["/opt/play", "--channel", "7"]},
        evidence="main-always",
        transport="udp",
        recorder="nvr-3",
        patrols=True,
        watch="maintenance",
        run_mode="exercise",
    )
    camera = camera_of(said)
    assert camera.url == Resolver(SecretUrl("https://vms.example/play?id=7&token=s3cret"), (), 3.0)
    assert camera.sub_url == Resolver(None, ("/opt/play", "--channel", "7"), 10.0)
    assert (camera.evidence, camera.transport) == (EvidenceFrom.ALWAYS, Transport.UDP)
    assert (camera.patrols, camera.watch, camera.run_mode) == (True, Watch.MAINTENANCE, "exercise")
    assert camera.reached_through == "nvr-3"
    assert "s3cret" not in repr(camera) + repr(said)


def test_a_document_is_what_was_said_and_nothing_else(monkeypatch):
    """What goes into the register holds no default, no order of chance, and the name of a secret for its value."""
    monkeypatch.setenv("P", "s3cret")
    said = {
        "id": "a",
        "url": "rtsp://u:${P}@192.0.2.1/1",
        "sub_url": {"http": "http://192.0.2.9/play"},
        "kinds": ["smoke", "fire"],
        "zones": None,
    }
    document = CameraFields.model_validate(said).document()
    assert document == {name: said[name] for name in ("id", "url", "sub_url")} | {"kinds": ["fire", "smoke"]}
    assert CameraFields.model_validate(document).document() == document


@pytest.mark.parametrize(
    ("word", "watch"), [("off", Watch.OFF), (False, Watch.OFF), (True, Watch.ON), ("on", Watch.ON)]
)
def test_off_is_a_word_though_yaml_makes_it_a_truth_value(word, watch):
    """`watch: off` in YAML is false by the time it is read."""
    assert camera_of(fields(watch=word)).watch is watch


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("rtsp://admin:S3cret@192.0.2.1/1", "a password stands in it"),
        ("rtsp://admin:pre${X}@192.0.2.1/1", "a password stands in it"),
        ("rtsp://192.0.2.1/1?user=a&password=S3cret", "a password stands in it"),
        ({"http": "https://vms.example/play?token=S3cret"}, "a password stands in it"),
        ({"http": "https://a:S3cret@vms.example/"}, "a password stands in it"),
        ({"http": "rtsp://192.0.2.1/1"}, "must begin with http://"),
        ({"http": "http://h/", "command": ["x"]}, "http or command, one of them"),
        ({}, "http or command, one of them"),
        ({"command": []}, "command: "),
        ({"htp": "S3cret"}, "htp: "),
        (17, "must be a URL"),
        ("rtsp://admin：S3cret@192.0.2.1/1", "no usable URL"),
    ],
)
def test_an_address_that_cannot_be_taken_is_told_without_what_it_says(url, problem):
    """Most mistakes hold a password, so that no sentence shows the text."""
    with pytest.raises(ValidationError) as caught:
        fields(url=url)
    (details,) = caught.value.errors()
    assert problem in details["msg"]
    assert "S3cret" not in details["msg"]


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://192.0.2.1/1",
        "rtsp://admin@192.0.2.1/1",
        "rtsp://${U}:${P}@192.0.2.1/1",
        "rtsp://192.0.2.1/1?token=${T}&channel=1",
        "rtsp://192.0.2.1/keyframes?key=1",
    ],
)
def test_a_url_whose_secrets_are_named_holds_none(url):
    """A user's name, a path and a number are no secrets."""
    assert not has_secret(url)


def test_a_variable_that_is_not_set_is_named_with_its_field(monkeypatch):
    """The form of such an address is checked all the same; a camera is made of it only to be shown."""
    monkeypatch.delenv("NOT_SET", raising=False)
    said = fields(url="rtsp://u:${NOT_SET}@192.0.2.1:${NOT_SET}/1")
    assert unset_variables(said) == [("url", "NOT_SET")] * 2
    with pytest.raises(ValueError, match="NOT_SET is not set"):
        address_of(said.url)
    assert camera_of(said, unset="1").url.host == "192.0.2.1:1"


def test_a_password_of_a_command_line_moves_into_the_environment(monkeypatch):
    """The URL that is left can stand in a file, and leads to the same camera."""
    monkeypatch.delenv("OWN_1", raising=False)
    url = with_named_password("rtsp://admin:p%40ss@192.0.2.1/1?x=2", "OWN_1")
    assert url == "rtsp://admin:${OWN_1}@192.0.2.1/1?x=2"
    assert os.environ.pop("OWN_1") == "p@ss"
    monkeypatch.setenv("OWN_1", "p@ss")
    assert urlsplit(address_of(url).reveal()).password == "p%40ss"
    for other in ("rtsp://192.0.2.1/1", "rtsp://u:${P}@h/1", "rtsp://[::/1"):
        assert with_named_password(other, "OWN_2") == other
    assert "OWN_2" not in os.environ
