# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX Runtime on a CPU, in single precision: where OpenVINO is missing, or slower (docs/adr/0005).

One single-thread session serves all callers. No graph is made for a size: shapes are worked out as pictures come.
"""

import threading
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32
from models.backends.onnx_cut import cut
from models.backends.onnx_external import refuse_external
from models.backends.port import INPUT, PROBE, Uint8, first_line, fixed_of, streams
from models.errors import InferenceError

MOST_SESSIONS = 8  # of the subsets of three outputs there are seven; a session costs some 50 MB
_SILENT = 4  # its log: fatal only; what fails is raised

_Buffers: TypeAlias = dict[tuple[int, int], NDArray[np.float32]]


class OnnxRuntimeEngine:
    """A network on this machine's CPU; one session for each set of outputs, made when it is first asked for."""

    batch = 1
    precision = "f32"

    def __init__(self, library: Any, weights: bytes, *, threads: int) -> None:
        """Wrap the library and the file's bytes; use `open`."""
        self._library, self._weights, self._threads = library, weights, threads
        self._errors = _errors_of(library)
        self.fixed_size: tuple[int, int] | None = None
        self._sessions: dict[tuple[str, ...], Any] = {}
        self._opening = threading.Lock()
        self._local = threading.local()

    @classmethod
    def open(cls, weights: bytes, *, threads: int) -> "OnnxRuntimeEngine":
        """Read an ONNX network from its verified bytes, for `threads` callers at once.

        Raises:
            InferenceError: ONNX Runtime cannot read it, or it would read other files besides.
        """
        import onnxruntime  # noqa: PLC0415  an alternative to OpenVINO: loaded only where it is chosen

        onnxruntime.disable_telemetry_events()
        engine = cls(onnxruntime, weights, threads=threads)
        inputs = engine._open(weights).get_inputs()
        if [(given.name, len(given.shape)) for given in inputs] != [(INPUT, 4)]:
            raise InferenceError(f"ONNX Runtime cannot read the network: its input is not {INPUT!r} alone")
        engine.fixed_size = fixed_of(inputs[0].shape)
        return engine

    @property
    def device(self) -> str:
        """What computes, in how many parts and how exactly."""
        return f"ONNX Runtime {self._library.__version__} on CPU, f32, {streams(self._threads)}"

    def channels(self, output: str) -> int:
        """Return the second side of an output."""
        (answer,) = self.run(np.zeros((1, *(self.fixed_size or PROBE), 3), np.uint8), (output,))
        if answer.ndim < 2:  # noqa: PLR2004  batch and channels
            raise InferenceError(f"the output {output!r} has no second side")
        return int(answer.shape[1])

    def canvas(self, batch: int, height: int, width: int) -> Uint8:
        """Return plain memory."""
        return np.empty((batch, height, width, 3), np.uint8)

    def prepare(self, height: int, width: int, outputs: tuple[str, ...]) -> None:
        """Run once: the first run of a size is slower than those after it."""
        self.run(np.zeros((1, height, width, 3), np.uint8), outputs)

    def run(self, pictures: Uint8, outputs: tuple[str, ...]) -> tuple[Float32, ...]:
        """Run pictures on the calling thread, one after the other: on a CPU a batch is slower."""
        session = self._session(outputs)
        try:
            answers = [session.run(list(outputs), {INPUT: self._planes(picture)}) for picture in pictures]
        except self._errors as error:
            raise InferenceError(f"ONNX Runtime failed: {first_line(error)}") from error
        return (
            tuple(answers[0]) if len(answers) == 1 else tuple(map(np.concatenate, zip(*answers, strict=True)))
        )

    def _planes(self, picture: Uint8) -> NDArray[np.float32]:
        """Return a picture (H, W, 3) as (1, 3, H, W), RGB, 0 to 1, in the calling thread's buffer for that size."""
        buffers: _Buffers = self._local.__dict__.setdefault("buffers", {})
        size = picture.shape[:2]
        if size not in buffers:
            buffers[size] = np.empty((1, 3, *size), np.float32)
        planes = buffers[size]
        for channel in range(3):
            np.multiply(picture[..., 2 - channel], np.float32(1 / 255), out=planes[0, channel])
        return planes

    def _session(self, outputs: tuple[str, ...]) -> Any:
        session = self._sessions.get(outputs)
        if session is not None:
            return session
        with self._opening:
            if outputs not in self._sessions:
                if len(self._sessions) >= MOST_SESSIONS:
                    self._sessions.pop(next(iter(self._sessions)))
                self._sessions[outputs] = self._open(cut(self._weights, outputs))
            return self._sessions[outputs]

    def _open(self, weights: bytes) -> Any:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _SILENT
        try:
            refuse_external(weights)
            return self._library.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise InferenceError(f"ONNX Runtime cannot read the network: {first_line(error)}") from error


def _errors_of(library: Any) -> tuple[type[Exception], ...]:
    """Return what the library raises: some twelve classes without a base of their own."""
    native = vars(library.capi.onnxruntime_pybind11_state).values()
    own = [kind for kind in native if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError)
