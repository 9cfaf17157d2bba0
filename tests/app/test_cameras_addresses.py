# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of streams in files: URLs and resolvers, with every secret named and none written."""

import os
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from gridwatch.app.addresses import address_of, address_to_try, has_secret, with_named_password
from gridwatch.app.cameras import CameraFields, camera_of, unset_variables
from gridwatch.core.camera import EvidenceFrom, Resolver, Transport, Watch
from gridwatch.core.errors import InputError
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


@pytest.mark.parametrize("recorder", ["nvr\x003", "nvr\n3", " nvr"])
def test_a_recorders_name_is_printable(recorder):
    """It is a place of operations alerts, and a word of every list."""
    with pytest.raises(ValidationError, match="must be printable"):
        fields(recorder=recorder)


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
        (
            "rtsp://192.0.2.1/user=admin_password=S3cret_channel=1_stream=0.sdp?real_stream",
            "a password stands",
        ),
        ("rtsp://192.0.2.1/user=admin&psw=S3cret&channel=1", "a password stands"),
        ("rtsp://192.0.2.1/1?psw=S3cret", "a password stands"),
        ("rtsp://admin:12/S3cret@192.0.2.1/1", "a password stands"),
        ("rtsp://admin:12#S3cret@192.0.2.1/1", "a password stands"),
        ("rtsp://admin:12?S3cret@192.0.2.1/1", "a password stands"),
        ({"http": "https://vms.example/play?token=S3cret"}, "a password stands in it"),
        ({"http": "https://a:S3cret@vms.example/"}, "a password stands in it"),
        ({"http": "rtsp://192.0.2.1/1"}, "must begin with http://"),
        ({"http": "http://h/", "command": ["x"]}, "http or command, one of them"),
        ({}, "http or command, one of them"),
        ({"command": []}, "command: "),
        ({"command": ["play", "--password=S3cret"]}, "a password stands in the command"),
        ({"command": ["play", "API_TOKEN=S3cret"]}, "a password stands in the command"),
        ({"command": ["play", "rtsp://admin:S3cret@192.0.2.1/1"]}, "a password stands in the command"),
        ({"command": ["play", "--at=http://h/play?key=1&pwd=S3cret"]}, "a password stands in the command"),
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
        "rtsp://192.0.2.1/user=${U}_password=${P}_channel=1_stream=0.sdp?real_stream",
        "rtsp://${U}:${P}@192.0.2.1/user=${U}&password=${P}&channel=1",
        "rtsp://192.0.2.1/passage/1?stream=0",
    ],
)
def test_a_url_whose_secrets_are_named_holds_none(url):
    """A user's name, a path and a number are no secrets."""
    assert not has_secret(url)


def test_a_password_that_would_end_the_host_is_not_tried():
    """Its beginning would be asked for as a port, and shown as one; the sentence says how to write it."""
    with pytest.raises(InputError, match="%2F") as caught:
        address_to_try("rtsp://admin:12/S3cret@192.0.2.1/1")
    assert "S3cret" not in str(caught.value)
    assert address_to_try("rtsp://admin:12%2F34@192.0.2.1/1").host == "192.0.2.1"


@pytest.mark.parametrize("password", ["S3cret", "x&S3cret", "x'S3cret", "S3cret/x"])
@pytest.mark.parametrize("path", ["/user=admin_password=${P}_channel=1_stream=0.sdp", "/${P}/ch1", "?a=${P}"])
def test_the_value_of_a_password_behind_the_host_is_not_shown(monkeypatch, password, path):
    """It reaches the camera, and no log, whichever characters it has and whatever stands before it."""
    monkeypatch.setenv("P", password)
    address = address_of("rtsp://192.0.2.1" + path)
    assert path.replace("${P}", password) in address.reveal()
    assert "S3cret" not in f"{address} {address!r} {address.without_credentials()}"
    assert str(address).startswith("rtsp://192.0.2.1")


def test_a_host_may_be_a_variable_too(monkeypatch):
    """Also one of IPv6, which no URL could be without its value."""
    monkeypatch.setenv("IP6", "2001:db8::7")
    assert address_of(fields(url="rtsp://[${IP6}]:554/1").url).host == "[2001:db8::7]:554"


def test_a_program_that_finds_its_secret_by_itself_is_a_resolver():
    """A channel, a file's name and a user are no secrets."""
    command = [
        "/opt/play",
        "--channel=7",
        "--password-file=/run/secrets/vms",
        "--token_env=T",
        "http://admin@h/",
    ]
    assert fields(url={"command": command}).document()["url"] == {"command": command}


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
