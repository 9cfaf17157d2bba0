# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO on a CPU: single precision, one single-thread stream per worker, no batches (docs/adr/0005).

Not the place for other devices: each gets its own module behind the same port.
"""

import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gridwatch.core.geometry import Float32
from models.backends.port import RawAnswer
from models.errors import InferenceError

# A graph of its own makes a size 6 % faster than one graph for any size, and costs 90 MB (two streams). So the first
# sizes get one each (in practice 16:9, 4:3, with and without the counter), and all others share one for any size.
MOST_SIZES = 4
OUTPUTS = ("detections", "density")
ANY = -1

_Key: TypeAlias = tuple[int, int, bool]  # height, width (or ANY), crowd


class _Graph:
    """A compiled network and its idle infer requests (as many as ever ran at once)."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: deque[Any] = deque()

    def run(self, images: Float32, *, crowd: bool) -> RawAnswer:
        request = self._take()
        request.infer({0: images}, share_inputs=True, share_outputs=True)
        detections = request.get_tensor("detections").data[0].copy()
        density = request.get_tensor("density").data[0, 0].copy() if crowd else None
        self._idle.append(request)  # only after success: a request that failed is not used again
        return RawAnswer(detections, density)

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()


class OpenVinoEngine:
    """A network on this machine's CPU. Compiles when a size is first seen; graphs are shared by all threads."""

    def __init__(self, library: Any, core: Any, network: Any, *, threads: int) -> None:
        """Wrap a network that was read; use `open`."""
        self._library = library
        self._core, self._network, self._threads = core, network, threads
        self._graphs: dict[_Key, _Graph] = {}
        self._compiling = threading.Lock()

    @classmethod
    def open(cls, weights: bytes, *, threads: int, cache_dir: Path | None = None) -> "OpenVinoEngine":
        """Read an ONNX network from `weights`, for `threads` callers at once.

        Args:
            weights: the file's verified bytes; nothing else is read from disk.
            threads: callers at once, each computing on one core.
            cache_dir: where OpenVINO may keep compiled graphs between starts; nowhere if None.

        Raises:
            InferenceError: OpenVINO cannot read it.
        """
        library = _without_telemetry()
        _meet_numpy(library)
        try:
            core = library.Core()
            core.set_property("CPU", _properties(threads))
            if cache_dir is not None:
                core.set_property({"CACHE_DIR": str(cache_dir)})
            network = core.read_model(weights)
            for output in OUTPUTS:
                network.output(output)  # raises where there is none
            return cls(library, core, _folded(library, network), threads=threads)
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO cannot read the network: {_first_line(error)}") from error

    @property
    def device(self) -> str:
        """What computes, in how many parts and how exactly."""
        version = self._library.__version__.partition("-")[0]
        streams = "1 single-thread stream" if self._threads == 1 else f"{self._threads} single-thread streams"
        return f"OpenVINO {version} on CPU, f32, {streams}"

    def prepare(self, height: int, width: int, *, crowd: bool) -> None:
        """Compile for this input size unless that is done."""
        self._graph((height, width, crowd))

    def run(self, images: Float32, *, crowd: bool) -> RawAnswer:
        """Run one input (1, 3, H, W) float32 on the calling thread's behalf."""
        graph = self._graph((images.shape[2], images.shape[3], crowd))
        try:
            return graph.run(images, crowd=crowd)
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO failed: {_first_line(error)}") from error

    def _graph(self, key: _Key) -> _Graph:
        # Without the lock: who needs a ready graph never waits for a compilation.
        graph = self._graphs.get(key)
        if graph is not None:
            return graph
        with self._compiling:
            if key not in self._graphs and len(self._graphs) >= MOST_SIZES:
                key = (ANY, ANY, key[2])
            if key not in self._graphs:
                self._graphs[key] = self._compile(*key)
            return self._graphs[key]

    def _compile(self, height: int, width: int, crowd: bool) -> _Graph:
        try:
            network = self._network.clone()
            if not crowd:  # without the counter's layers a look costs less
                network = self._library.Model([network.output("detections")], network.get_parameters())
            network.reshape([1, 3, height, width])
            return _Graph(self._core.compile_model(network, "CPU"))
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO cannot compile the network: {_first_line(error)}") from error


def _without_telemetry() -> Any:
    """Import OpenVINO such that it reports nothing to anybody.

    Its Python package sends an event to its maker at every import, and writes an identifier into the user's home
    to do so, unless the package `openvino_telemetry` is missing. Here it always is. Imported late for that reason.
    """
    modules: dict[str, Any] = sys.modules
    modules["openvino_telemetry"] = None  # makes the import fail, which OpenVINO provides for
    import openvino.passes  # noqa: PLC0415  only after the line above

    return openvino


def _meet_numpy(library: Any) -> None:
    """Have OpenVINO's Python layer set up its access to numpy now, on one thread.

    It does so on first use, behind a lock that it takes while it holds the interpreter's and gives that up inside: two
    threads whose first looks coincided locked up the whole process (one start in twenty on two cores).
    """
    library.Type.f32.to_dtype()
    library.Tensor(np.zeros(1, np.float32)).data.copy()


def _folded(library: Any, network: Any) -> Any:
    """Cast the float16 weights once, so that the graphs of all sizes share them (30 MB and 0.2 s a size)."""
    passes = library.passes.Manager()
    passes.register_pass(library.passes.ConstantFolding())
    passes.run_passes(network)
    return network


def _properties(threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # its default takes bf16 where the CPU has it: other scores elsewhere
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # each graph would pin its streams to the same first cores
    }


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
