# SPDX-License-Identifier: AGPL-3.0-or-later
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from models.backends import openvino
from models.backends.openvino import OpenVinoEngine
from models.errors import InferenceError


@pytest.fixture(scope="session")
def weights(catalogue):
    return catalogue.read(catalogue.entry())


@pytest.fixture(scope="session")
def noise():
    return np.random.default_rng(3).random((1, 3, 64, 96), np.float32)


@pytest.fixture(scope="session")
def engine(weights):
    return OpenVinoEngine.open(weights, threads=1)


def test_the_engine_computes_what_the_file_says(engine, weights, noise):
    """Every raw number equals ONNX's reference evaluator: f32, whatever this CPU would rather use."""
    with np.errstate(all="ignore"):
        detections, density = ReferenceEvaluator(weights).run(None, {"images": noise})
    answer = engine.run(noise, crowd=True)
    np.testing.assert_allclose(answer.detections[:4], detections[0, :4], atol=0.05)
    np.testing.assert_allclose(answer.detections[4:], detections[0, 4:], atol=1e-4)
    np.testing.assert_allclose(answer.density, density[0, 0], atol=1e-4)


def test_the_cut_network_gives_the_same_detections(engine, noise):
    """Without the counter nothing else changes."""
    cut = engine.run(noise, crowd=False)
    assert cut.density is None
    np.testing.assert_allclose(cut.detections, engine.run(noise, crowd=True).detections, atol=1e-3)


def test_an_answer_is_not_overwritten_by_the_next(engine, noise):
    """An answer is the caller's own memory."""
    first = engine.run(noise, crowd=True)
    kept = first.detections.copy(), first.density.copy()
    engine.run(1 - noise, crowd=True)
    np.testing.assert_array_equal(first.detections, kept[0])
    np.testing.assert_array_equal(first.density, kept[1])


def test_sizes_beyond_the_bound_share_one_graph_with_the_same_answers(engine, weights, noise, monkeypatch):
    """The number of compiled graphs is bounded, and the shared one says what a size's own says."""
    inputs = noise, np.ascontiguousarray(noise.transpose(0, 1, 3, 2))
    alone = [engine.run(images, crowd=True) for images in inputs]
    monkeypatch.setattr(openvino, "MOST_SIZES", 0)
    shared = OpenVinoEngine.open(weights, threads=1)
    for images, expected in zip(inputs, alone, strict=True):
        answer = shared.run(images, crowd=True)
        np.testing.assert_allclose(answer.detections, expected.detections, atol=1e-3)
        np.testing.assert_allclose(answer.density, expected.density, atol=1e-4)
    assert len(shared._graphs) == 1


def test_an_input_that_the_network_cannot_take_is_an_inference_error(engine):
    """Sides that are no multiple of 32 fail with a reason, and the engine goes on working."""
    with pytest.raises(InferenceError, match="OpenVINO") as raised:
        engine.run(np.zeros((1, 3, 40, 40), np.float32), crowd=False)
    assert "\n" not in raised.value.reason
    assert engine.run(np.zeros((1, 3, 64, 96), np.float32), crowd=False).detections.shape == (12, 252)


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
    engine = OpenVinoEngine.open(weights, threads=1)
    engine.prepare(64, 96, crowd=False)
    graph = engine._graph((64, 96, False))
    graph._compiled = _Failing(graph._compiled)
    with pytest.raises(InferenceError) as raised:
        engine.run(noise, crowd=False)
    assert raised.value.reason == "OpenVINO failed: out of memory"
    assert engine.run(noise, crowd=False).detections.shape == (12, 252)


def test_other_threads_do_not_wait_for_a_compilation(weights, noise):
    """While one size is being compiled, a size that is ready answers."""
    engine = OpenVinoEngine.open(weights, threads=1)
    engine.prepare(64, 96, crowd=False)
    with engine._compiling:
        assert engine.run(noise, crowd=False).detections.shape == (12, 252)


def test_compiled_graphs_may_be_kept_between_starts(weights, noise, tmp_path):
    """With a cache folder a second start gives the same answers and writes nothing new."""
    first = OpenVinoEngine.open(weights, threads=1, cache_dir=tmp_path).run(noise, crowd=False)
    files = sorted(tmp_path.iterdir())
    assert files
    second = OpenVinoEngine.open(weights, threads=1, cache_dir=tmp_path).run(noise, crowd=False)
    np.testing.assert_array_equal(first.detections, second.detections)
    assert sorted(tmp_path.iterdir()) == files


_OPEN_AND_LISTEN = """
import sys
sys.addaudithook(lambda event, args: sys.exit(f"{event} {args}") if event in ("socket.connect", "socket.getaddrinfo",
    "urllib.Request", "subprocess.Popen", "os.fork") else None)
from models.network import Network
network = Network.open(threads=1)
network.prepare(64, 64, crowd=False)
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
    assert done.stdout.startswith("None network gridwatch-start")
    assert list(tmp_path.iterdir()) == []
