# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO on a CPU: one single-thread stream per worker, no batches (docs/adr/0005).

Single precision, or a network whose layers were made 8-bit when it was trained; what is not 8-bit in it is still single
precision. Not the place for other devices: each gets its own module behind the same port.
"""

import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gridwatch.core.geometry import Float32
from models.backends.onnx_external import refuse_external
from models.backends.port import INPUT, PROBE, Uint8, first_line, fixed_of, streams
from models.errors import InferenceError

# A graph of its own makes a size 6 % faster than one graph for any size, and costs 90 MB (two streams). So the first
# sizes get one each (in practice 16:9, 4:3, with and without the counter), and all others share one for any size.
MOST_SIZES = 4
ANY = -1

_Key: TypeAlias = tuple[int, int, tuple[str, ...]]  # height, width (or ANY), outputs


class _Graph:
    """A compiled network and its idle infer requests (as many as ever ran at once)."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: deque[Any] = deque()

    def run(self, pictures: Uint8, outputs: tuple[str, ...]) -> tuple[Float32, ...]:
        request = self._take()
        request.infer({0: pictures}, share_inputs=True, share_outputs=True)
        answers = tuple(request.get_tensor(output).data.copy() for output in outputs)
        self._idle.append(request)  # only after success: a request that failed is not used again
        return answers

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()


class OpenVinoEngine:
    """A network on this machine's CPU. Compiles when a size is first seen; graphs are shared by all threads."""

    batch = 1

    def __init__(self, library: Any, core: Any, network: Any, *, threads: int, precision: str) -> None:
        """Wrap a network that was read; use `open`."""
        self._library, self._core, self._network = library, core, network
        self._threads, self.precision = threads, precision
        sides = network.input(INPUT).partial_shape
        self.fixed_size = fixed_of([side.get_length() if side.is_static else None for side in sides])
        self._graphs: dict[_Key, _Graph] = {}
        self._compiling = threading.Lock()

    @classmethod
    def open(
        cls, weights: tuple[bytes, ...], *, threads: int, cache_dir: Path | None = None
    ) -> "OpenVinoEngine":
        """Read a network, for `threads` callers at once.

        Args:
            weights: the verified bytes of an ONNX file, or of OpenVINO's own graph and weights, which are taken for
                8-bit; nothing else is read from disk.
            threads: callers at once, each computing on one core.
            cache_dir: where OpenVINO may keep compiled graphs between starts; nowhere if None.

        Raises:
            InferenceError: OpenVINO cannot read it, or it would read other files besides.
        """
        library = load_openvino()
        _meet_numpy(library)
        precision = "f32" if len(weights) == 1 else "int8"
        try:
            if len(weights) == 1:
                refuse_external(weights[0])
            core = library.Core()
            core.set_property("CPU", _properties(threads))
            if cache_dir is not None:
                core.set_property({"CACHE_DIR": str(cache_dir)})
            network = core.read_model(*weights)
            network.input(INPUT)  # raises where there is none
            if precision == "f32":
                _fold(library, network)
            return cls(library, core, network, threads=threads, precision=precision)
        except (RuntimeError, ValueError) as error:
            raise InferenceError(f"OpenVINO cannot read the network: {first_line(error)}") from error

    @property
    def device(self) -> str:
        """What computes, in how many parts and how exactly."""
        version = self._library.__version__.partition("-")[0]
        return f"OpenVINO {version} on CPU, {self.precision}, {streams(self._threads)}"

    def channels(self, output: str) -> int:
        """Return the second side of an output."""
        try:
            network = self._cut((output,))
            network.reshape([1, 3, *(self.fixed_size or PROBE)])
            return int(network.output(output).shape[1])
        except (RuntimeError, IndexError) as error:
            raise InferenceError(
                f"OpenVINO cannot tell the output {output!r}: {first_line(error)}"
            ) from error

    def canvas(self, batch: int, height: int, width: int) -> Uint8:
        """Return plain memory: OpenVINO reads from any."""
        return np.empty((batch, height, width, 3), np.uint8)

    def prepare(self, height: int, width: int, outputs: tuple[str, ...]) -> None:
        """Compile for this input size unless that is done."""
        self._graph((height, width, outputs))

    def run(self, pictures: Uint8, outputs: tuple[str, ...]) -> tuple[Float32, ...]:
        """Run pictures on the calling thread's behalf, one after the other: on a CPU a batch is slower."""
        graph = self._graph((pictures.shape[1], pictures.shape[2], outputs))
        try:
            answers = [graph.run(pictures[at : at + 1], outputs) for at in range(len(pictures))]
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO failed: {first_line(error)}") from error
        return answers[0] if len(answers) == 1 else tuple(map(np.concatenate, zip(*answers, strict=True)))

    def _graph(self, key: _Key) -> _Graph:
        # Without the lock: who needs a ready graph never waits for a compilation.
        graph = self._graphs.get(key)
        if graph is not None:
            return graph
        with self._compiling:
            if key not in self._graphs and len(self._graphs) >= MOST_SIZES and self.fixed_size is None:
                key = (ANY, ANY, key[2])
            if key not in self._graphs:
                self._graphs[key] = self._compile(*key)
            return self._graphs[key]

    def _compile(self, height: int, width: int, outputs: tuple[str, ...]) -> _Graph:
        try:
            network = self._cut(outputs)
            network.reshape([1, 3, height, width])
            return _Graph(self._core.compile_model(self._from_bytes(network), "CPU"))
        except RuntimeError as error:
            raise InferenceError(f"OpenVINO cannot compile the network: {first_line(error)}") from error

    def _cut(self, outputs: tuple[str, ...]) -> Any:
        """Return a copy of the network without the layers that none of `outputs` needs."""
        network = self._network.clone()
        return self._library.Model([network.output(name) for name in outputs], network.get_parameters())

    def _from_bytes(self, network: Any) -> Any:
        """Have the graph itself take (1, H, W, 3) uint8 BGR: a millisecond cheaper than turning pictures before it."""
        from openvino import preprocess  # noqa: PLC0415  behind the door: see `load_openvino`

        steps = preprocess.PrePostProcessor(network)
        picture = steps.input(INPUT)
        tensor = picture.tensor()
        tensor.set_element_type(self._library.Type.u8)
        tensor.set_layout(self._library.Layout("NHWC"))
        tensor.set_color_format(preprocess.ColorFormat.BGR)
        picture.model().set_layout(self._library.Layout("NCHW"))
        as_floats = picture.preprocess().convert_element_type(self._library.Type.f32)
        as_floats.convert_color(preprocess.ColorFormat.RGB).scale(255.0)
        return steps.build()


def load_openvino() -> Any:
    """Import OpenVINO such that it reports nothing to anybody. The only way in this project to get it.

    Its Python package sends an event to its maker at every import, and writes an identifier into the user's home
    to do so, unless the package `openvino_telemetry` is missing. Here it always is. Imported late for that reason.
    """
    modules: dict[str, Any] = sys.modules
    modules["openvino_telemetry"] = None  # makes the import fail, which OpenVINO provides for
    import openvino._offline_transformations  # noqa: PLC0415  as below; training simplifies with it
    import openvino.passes  # noqa: PLC0415  only after the line above

    return openvino


def _meet_numpy(library: Any) -> None:
    """Have OpenVINO's Python layer set up its access to numpy now, on one thread.

    It does so on first use, behind a lock that it takes while it holds the interpreter's and gives that up inside: two
    threads whose first looks coincided locked up the whole process (one start in twenty on two cores).
    """
    library.Type.f32.to_dtype()
    library.Type.u8.to_dtype()
    library.Tensor(np.zeros(1, np.float32)).data.copy()


def _fold(library: Any, network: Any) -> None:
    """Cast the float16 weights once, so that the graphs of all sizes share them (30 MB and 0.2 s a size)."""
    passes = library.passes.Manager()
    passes.register_pass(library.passes.ConstantFolding())
    passes.run_passes(network)


def _properties(threads: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # its default takes bf16 where the CPU has it: other scores elsewhere
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # each graph would pin its streams to the same first cores
    }
