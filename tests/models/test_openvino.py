# SPDX-License-Identifier: AGPL-3.0-or-later
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.backends import openvino
from models.backends.openvino import OpenVinoEngine
from models.errors import InferenceError

ALL = ("people", "fire", "density")


@pytest.fixture(scope="session")
def noise():
    return np.random.default_rng(3).integers(0, 256, (1, 64, 96, 3), np.uint8)


@pytest.fixture(scope="session")
def engine(weights):
    return OpenVinoEngine.open((weights,), threads=1)


def test_sizes_beyond_the_bound_share_one_graph_with_the_same_answers(engine, weights, noise, monkeypatch):
    """The number of compiled graphs is bounded, and the shared one says what a size's own says."""
    inputs = noise, np.ascontiguousarray(noise.transpose(0, 2, 1, 3))
    alone = [engine.run(pictures, ALL) for pictures in inputs]
    monkeypatch.setattr(openvino, "MOST_SIZES", 0)
    shared = OpenVinoEngine.open((weights,), threads=1)
    for pictures, expected in zip(inputs, alone, strict=True):
        for answer, own in zip(shared.run(pictures, ALL), expected, strict=True):
            np.testing.assert_allclose(answer, own, atol=1e-3)
    assert len(shared._graphs) == 1


class _Failing:
    """A compiled network whose first request fails."""

    def __init__(self, compiled):
        self._compiled, self._created = compiled, 0

    def create_infer_request(self):
        self._created += 1
        return self if self._created == 1 else self._compiled.create_infer_request()

    def infer(self, inputs, **_):
        raise RuntimeError("Exception from the device:\nout of memory\n\n")


def test_a_failing_request_is_an_inference_error_and_not_used_again(weights, noise):
    """After a failure the next look gets a fresh request."""
    engine = OpenVinoEngine.open((weights,), threads=1)
    engine.prepare(64, 96, ("fire",))
    graph = engine._graph((64, 96, ("fire",)))
    graph._compiled = _Failing(graph._compiled)
    with pytest.raises(InferenceError) as raised:
        engine.run(noise, ("fire",))
    assert raised.value.reason == "OpenVINO failed: out of memory"
    assert engine.run(noise, ("fire",))[0].shape == (1, 6, 126)


def test_other_threads_do_not_wait_for_a_compilation(weights, noise):
    """While one size is being compiled, a size that is ready answers."""
    engine = OpenVinoEngine.open((weights,), threads=1)
    engine.prepare(64, 96, ("fire",))
    with engine._compiling:
        assert engine.run(noise, ("fire",))[0].shape == (1, 6, 126)


def test_compiled_graphs_may_be_kept_between_starts(weights, noise, tmp_path):
    """With a cache folder a second start gives the same answers and writes nothing new."""
    (first,) = OpenVinoEngine.open((weights,), threads=1, cache_dir=tmp_path).run(noise, ("fire",))
    files = sorted(tmp_path.iterdir())
    assert files
    (second,) = OpenVinoEngine.open((weights,), threads=1, cache_dir=tmp_path).run(noise, ("fire",))
    np.testing.assert_array_equal(first, second)
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_pair_of_files_is_an_inference_error(damaged):
    """OpenVINO's own format, cut off in either file, is told in one line."""
    pair = [
        b"<?xml version='1.0'?><net name='n' version='11'><layers><layer id='0'",
        b"",
    ]
    pair[damaged] = pair[damaged][:20]
    with pytest.raises(InferenceError, match="OpenVINO cannot read the network") as raised:
        OpenVinoEngine.open(tuple(pair), threads=1)
    assert "\n" not in raised.value.reason


_OPEN_AND_LISTEN = """
import sys
sys.addaudithook(lambda event, args: sys.exit(f"{event} {args}") if event in ("socket.connect", "socket.getaddrinfo",
    "urllib.Request", "subprocess.Popen", "os.fork") else None)
from models.network import Network
network = Network.open(threads=1)
network.prepare(64, 64, parts=network.parts)
print(sys.modules["openvino_telemetry"], network.describe())
"""


def test_the_engine_calls_nobody_and_leaves_nothing_in_the_home(tmp_path):
    """Opening a network opens no connection, starts no process and writes no identifier of this machine."""
    # CI=… would hide it: the library is silent there by itself.
    quiet = ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS")
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(Path(openvino.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_AND_LISTEN],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("None network gridwatch")
    assert list(tmp_path.iterdir()) == []
