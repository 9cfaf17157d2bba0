# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch probe` against simulated cameras, and the advice that it gives for streams of every kind."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from events.registry import Registry
from events.stores.sql import Store
from gridwatch.app import probe_command
from gridwatch.app.cli import app
from gridwatch.app.probe_advice import advice
from gridwatch.app.probe_command import smaller_urls
from gridwatch.core.camera import Transport
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from ingest.errors import UnauthorizedError
from ingest.probe import StreamFacts

SERVER = """
import sys
from pathlib import Path
from gridwatch.simulator.cli import SimulatorOptions, run_simulator
run_simulator(SimulatorOptions(clips=(Path(sys.argv[1]),), port=0, user="admin", password="s3cret", sub=True, with_parent=True))
"""
GOOD = StreamFacts(
    codec="h264",
    profile="Main",
    level="4",
    width=1280,
    height=720,
    fps=25.0,
    announced_fps=25.0,
    bit_rate_bps=4e6,
    pictures=150,
    keys=4,
    refreshes=0,
    seconds=6.0,
    gop_s=(2.0, 2.0, 2.0),
    gop_pictures=(50, 50.0, 50),
    b_frames=False,
    keys_without_sets=0,
    undecodable="",
    clock_offset_s=0.1,
    opened_s=0.1,
    first_picture_s=0.2,
    ended="",
)
SUB = replace(GOOD, width=640, height=360)
BOTH = {Transport.TCP: "", Transport.UDP: ""}


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """Return host:port/path of a camera of 1280×720 that asks for a password and has a smaller stream."""
    file = tmp_path_factory.mktemp("probe") / "gate.mp4"
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(20))
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 1280, 720, "yuv420p", 10
        stream.options = {"preset": "ultrafast", "threads": "1", "sc_threshold": "0"}
        picture = np.random.default_rng(1).integers(0, 60, (720, 1280, 3), dtype=np.uint8)
        for number in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, 8 * number, 1), "rgb24")))
        container.mux(stream.encode(None))
    command = [sys.executable, "-c", SERVER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        yield json.loads(server.stdout.readline())["cameras"][0]["url"].removeprefix("rtsp://")
        server.stdin.close()


def run(*arguments):
    return CliRunner().invoke(app, ["probe", *map(str, arguments)])


def test_a_stream_is_described_with_what_to_configure(camera, tmp_path, monkeypatch):
    """Size, both transports, the smaller stream, a picture, and lines for cameras.yaml without the password."""
    monkeypatch.setenv("CAM_PW", "s3cret")
    kept = tmp_path / "gate.jpg"
    ended = run("rtsp://admin:${CAM_PW}@" + camera, "--picture", kept, "--seconds", 4)
    assert ended.exit_code == 0
    out = ended.stdout
    for part in ("TCP         works", "UDP         works", "h264", "1280×720", "smaller stream", "640×360"):
        assert part in out
    told = yaml.safe_load(out.partition("in cameras.yaml\n")[2])
    assert told == {
        "url": "rtsp://admin:${CAM_PW}@" + camera,
        "sub_url": "rtsp://admin:${CAM_PW}@" + camera + "/sub",
    }
    assert "s3cret" not in out
    assert kept.read_bytes().startswith(b"\xff\xd8")


def test_a_camera_of_the_configuration_is_probed_by_its_id(camera, tmp_path, monkeypatch):
    """As JSON: one object with the facts of both streams and the advice."""
    monkeypatch.setenv("CAM_PW", "s3cret")
    url = "rtsp://admin:${CAM_PW}@" + camera
    cameras = {"cameras": [{"id": "gate", "url": url, "sub_url": url + "/sub"}]}
    (tmp_path / "cameras.yaml").write_text(yaml.safe_dump(cameras))
    (tmp_path / "gridwatch.yaml").write_text("state: state\n")
    ended = run("gate", "-c", tmp_path / "gridwatch.yaml", "--json", "--seconds", 4)
    found = json.loads(ended.stdout)
    assert found["transports"] == {"tcp": "works", "udp": "works"}
    assert (found["main"]["width"], found["sub"]["width"]) == (1280, 640)
    assert found["main"]["gop_s"][1] == pytest.approx(0.5, abs=0.2)
    assert any("look at the smaller stream" in sentence for sentence in found["advice"])
    assert "s3cret" not in ended.stdout
    unknown = run("pole", "-c", tmp_path / "gridwatch.yaml")
    assert "there is no camera 'pole'" in str(unknown.exception)


def test_a_refused_password_is_tried_once_and_not_shown(camera):
    """Some cameras lock an account after a few."""
    ended = run(f"rtsp://admin:Wr0ng@{camera}")
    assert isinstance(ended.exception, InputError)
    assert "user or password are refused" in str(ended.exception)
    assert "over UDP" not in ended.stderr
    assert "Wr0ng" not in str(ended.exception) + ended.output


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (
            "rtsp://admin:S3cret@127.0.0.1:1/x",
            "over TCP: no connection (Connection refused); over UDP: no connection",
        ),
        ("http://admin:S3cret@127.0.0.1/x", "must begin with rtsp://"),
        ("rtsp://admin:S3cret＠127.0.0.1/x", "no usable URL"),
        ("rtsp://${NOT_SET_ANYWHERE}@127.0.0.1/x", "NOT_SET_ANYWHERE is not set"),
        ("gate", "name a configuration (-c)"),
    ],
)
def test_what_cannot_be_probed_is_one_sentence_without_a_password(target, problem):
    """Wrong input of every kind; nothing is a traceback."""
    ended = run(target)
    assert isinstance(ended.exception, InputError)
    assert problem in str(ended.exception)
    assert "S3cret" not in str(ended.exception) + ended.output


@pytest.mark.parametrize(
    ("url", "smaller"),
    [
        (
            "rtsp://${U}@h:554/Streaming/Channels/101",
            ["/Streaming/Channels/102", "/Streaming/Channels/101/sub"],
        ),
        ("rtsp://h/Streaming/Channels/1601", ["/Streaming/Channels/1602", "/Streaming/Channels/1601/sub"]),
        ("rtsp://h/cam/realmonitor?channel=1&subtype=0", ["/cam/realmonitor?channel=1&subtype=1"]),
        ("rtsp://h/h264/ch1/main/av_stream", ["/h264/ch1/sub/av_stream", "/h264/ch1/main/av_stream/sub"]),
        ("rtsp://h/media/video1", ["/media/video2", "/media/video1/sub"]),
        ("rtsp://h/gate", ["/gate/sub"]),
        ("rtsp://h/", []),
    ],
)
def test_the_smaller_stream_is_sought_where_makers_put_it(url, smaller):
    """Few guesses, the likeliest first; host and login stay what they are."""
    start = url[: url.index("/", len("rtsp://"))]
    assert smaller_urls(url) == [start + one for one in smaller]


@pytest.mark.parametrize(
    ("main", "sub", "tried", "said"),
    [
        ({}, None, BOTH, None),
        ({"gop_s": (5, 5.5, 6), "bit_rate_bps": 2e6}, None, BOTH, "a key frame comes only every 6.0 s"),
        ({"gop_s": (0.1, 0.2, 0.2)}, None, BOTH, "2 s would cost a fraction"),
        ({"gop_s": (1, 2, 4)}, None, BOTH, "uneven length"),
        (
            {"gop_s": (14, 15, 16), "bit_rate_bps": 2e6},
            None,
            BOTH,
            "only every 16.0 s: set 2 s, every picture has to be decoded",
        ),
        (
            {"gop_s": None, "keys": 1, "seconds": 25.0, "bit_rate_bps": 1e6},
            None,
            BOTH,
            "no second key frame in 25 s: every picture has to be decoded",
        ),
        ({"gop_s": None, "keys": 1, "bit_rate_bps": 1e6}, None, BOTH, "that was too short to say"),
        (
            {"gop_s": None, "keys": 1, "refreshes": 5},
            None,
            BOTH,
            "5 of 6 key frames only begin a gradual refresh",
        ),
        ({"refreshes": 5}, None, BOTH, "every picture has to be decoded"),
        ({"bit_rate_bps": 8e6}, None, BOTH, "ingest.ring_mib is 8: set 16"),
        ({"bit_rate_bps": 40e6}, None, BOTH, "ingest.ring_mib is 8: set 80"),
        ({"fps": 4.0}, None, BOTH, "4.0 pictures a second are few"),
        ({"clock_offset_s": -75.0}, None, BOTH, "75.0 s slow"),
        ({"clock_offset_s": None}, None, BOTH, "does not report its clock"),
        (
            {"undecodable": "a key frame is incomplete"},
            None,
            BOTH,
            "could not be decoded (a key frame is incomplete)",
        ),
        ({"keys_without_sets": 3}, None, BOTH, "3 of 4 key frames came without parameter sets"),
        ({"ended": "the camera closed the stream"}, None, BOTH, "ended by itself after 6 s"),
        ({"width": 1920, "height": 1080}, None, BOTH, "switch on a second stream"),
        ({"width": 1920, "height": 1080}, SUB, BOTH, "about 1/9 of the main one"),
        ({}, replace(SUB, width=352, height=288), BOTH, "of 352×288: set it to 640×360"),
        ({}, None, {Transport.TCP: "silent", Transport.UDP: ""}, "set transport: udp"),
    ],
)
def test_each_trouble_of_a_stream_has_its_advice(main, sub, tried, said):
    """One sentence for one trouble, and none for a good stream."""
    told = advice(replace(GOOD, **main), sub, tried, 8.0)
    assert [said in sentence for sentence in told] == ([] if said is None else [True])


def test_memory_is_spoken_of_although_no_group_of_pictures_was_seen_whole():
    """What is known is that one is longer than the probe: that is the more reason to say it."""
    told = advice(replace(GOOD, gop_s=None, keys=1, seconds=25.0, bit_rate_bps=8e6), None, BOTH, ring_mib=8.0)
    assert "no second key frame in 25 s" in told[0]
    assert "are more than 47.7 MiB, and ingest.ring_mib is 8: shorten the groups" in told[1]


class Asked:
    """Readings in place of real ones: a good stream at every address but those that a test gives, by their ends."""

    def __init__(self, **answers):
        self.urls, self.bounds, self.answers = [], [], answers

    def __call__(self, address, _clock, _transport, bounds, _told):
        self.urls.append(address.reveal())
        self.bounds.append(bounds)
        answer = self.answers.get(self.urls[-1].rpartition("/")[2], GOOD)
        if isinstance(answer, Exception):
            raise answer
        return answer, None


@pytest.fixture
def configured(tmp_path, empty_file):
    """Return a function that configures a camera, in the file or in the register, and returns the configuration."""

    def configure(*, registered=False, **said):
        document = {"id": "gate", "url": "rtsp://u:${CAM_PW}@192.0.2.1/gate"} | said
        if registered:
            (tmp_path / "state").mkdir()
            shutil.copy(empty_file, tmp_path / "state" / "gridwatch.db")
            with Store.open(f"sqlite:///{tmp_path / 'state' / 'gridwatch.db'}") as store:
                Registry(store, SystemClock()).put({"gate": document}, "somebody")
        else:
            (tmp_path / "cameras.yaml").write_text(yaml.safe_dump({"cameras": [document]}))
        (tmp_path / "gridwatch.yaml").write_text("state: state\n")
        return tmp_path / "gridwatch.yaml"

    return configure


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({}, "camera 'gate': environment variable CAM_PW is not set"),
        ({"registered": True}, "camera 'gate': environment variable CAM_PW is not set"),
        ({"registered": True, "watch": "off"}, "environment variable CAM_PW is not set"),
        ({"url": "rtsp://192.0.2.1/1", "sub_url": "rtsp://u:${CAM_PW}@192.0.2.1/2"}, "CAM_PW is not set"),
        ({"registered": True, "url": 3}, "camera 'gate' cannot be used: url: must be a URL"),
    ],
)
def test_nothing_is_sent_for_a_camera_that_cannot_be_used_here(configured, monkeypatch, said, problem):
    """An invented login would be a wrong password at a real camera, which may lock the account."""
    monkeypatch.delenv("CAM_PW", raising=False)
    asked = Asked()
    monkeypatch.setattr(probe_command, "probe", asked)
    ended = run("gate", "-c", configured(**said))
    assert isinstance(ended.exception, InputError)
    assert problem in str(ended.exception)
    assert asked.urls == []


@pytest.mark.parametrize("registered", [False, True])
def test_a_camera_without_a_second_stream_is_asked_for_one_too(configured, monkeypatch, registered):
    """What is found is a line for the file, with the password named as it is there."""
    monkeypatch.setenv("CAM_PW", "s3cret")
    monkeypatch.setattr(probe_command, "probe", Asked(sub=SUB))
    out = run("gate", "-c", configured(registered=registered)).stdout
    told = yaml.safe_load(out.partition("in cameras.yaml\n")[2])
    assert told == {"sub_url": "rtsp://u:${CAM_PW}@192.0.2.1/gate/sub"}
    assert "s3cret" not in out


def test_a_guess_that_is_refused_ends_the_guessing(monkeypatch):
    """Some cameras count refusals, at whichever path."""
    asked = Asked(**{"102": UnauthorizedError("user or password are refused")})
    monkeypatch.setattr(probe_command, "probe", asked)
    assert run("rtsp://u:S3cret@192.0.2.1/Streaming/Channels/101").exit_code == 0
    assert [url[-3:] for url in asked.urls] == ["101", "101", "102"]


def test_a_second_key_frame_is_waited_for_longer_than_was_asked(monkeypatch):
    """Of the main stream alone: with one key frame nothing is known of how often they come."""
    asked = Asked()
    monkeypatch.setattr(probe_command, "probe", asked)
    run("rtsp://192.0.2.1/gate", "--seconds", 4)
    main, *others = asked.bounds
    assert [main.over(1, 24.0), main.over(1, 25.0), main.over(2, 4.0)] == [False, True, True]
    assert all(one.over(0, 8.0) for one in others)
