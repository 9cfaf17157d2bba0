# SPDX-License-Identifier: AGPL-3.0-or-later
"""Programs that are not ours watch the simulator: ffprobe, GStreamer's player and OpenCV."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.servers import missing

SERVED = """
import sys
from pathlib import Path
from gridwatch.simulator.cli import SimulatorOptions, run_simulator
run_simulator(SimulatorOptions(clips=(Path(sys.argv[1]),), port=0, user="viewer", password="look", with_parent=True))
"""


@pytest.fixture
def url(clip):
    """The address of a camera of ours, with its password."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVED, str(clip)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        ready = json.loads(process.stdout.readline())
        yield ready["cameras"][0]["url"].replace("rtsp://", "rtsp://viewer:look@")
        process.stdin.close()


def program(name, package):
    """Return a program's path; where it is missing the test says so."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed (Debian: apt install {package}); .ci/run has it")
    return found


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffprobe_describes_it(url, transport):
    """Codec, size and pictures, over both transports, with Digest."""
    entries = "stream=codec_name,width,height:packet=flags"
    command = [program("ffprobe", "ffmpeg"), "-v", "error", "-rtsp_transport", transport, "-of", "json"]
    done = subprocess.run(
        [*command, "-read_intervals", "%+#8", "-show_entries", entries, url],
        capture_output=True, timeout=40, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["streams"][0]["codec_name"] == "h264"
    assert told["streams"][0]["width"] > 0
    assert len(told["packets"]) == 8
    assert any(packet["flags"].startswith("K") for packet in told["packets"])


@pytest.mark.parametrize("protocols", ["tcp", "udp"])
def test_gstreamer_plays_it(url, protocols):
    """Its depayloader and its parser take what we send; it ends after ten pictures."""
    player = program(
        "gst-launch-1.0", "gstreamer1.0-tools gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
    )
    bare = re.sub("//.*@", "//", url)
    source = [
        "rtspsrc",
        f"location={bare}",
        f"protocols={protocols}",
        "user-id=viewer",
        "user-pw=look",
        "latency=100",
    ]
    chain = ["!", "rtph264depay", "!", "h264parse", "!", "fakesink", "num-buffers=10", "silent=false"]
    done = subprocess.run(
        [player, "-v", *source, *chain], capture_output=True, timeout=40, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "profile" in done.stdout
    assert "EOS" in done.stdout + done.stderr


def test_opencv_reads_it(url):
    """The reader that most users start with gets pictures of the right size."""
    code = (
        "import cv2, sys; capture = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG)\n"
        "shapes = {picture.shape for _ in range(8) for ok, picture in [capture.read()] if ok}\n"
        "print(shapes)"
    )
    environment = {**os.environ, "OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp"}
    done = subprocess.run(
        [sys.executable, "-c", code, url],
        capture_output=True,
        timeout=40,
        check=True,
        text=True,
        env=environment,
    )
    assert re.fullmatch(r"\{\(\d+, \d+, 3\)\}\n", done.stdout)
