# SPDX-License-Identifier: AGPL-3.0-or-later
"""torch: half precision on a GPU, with CUDA graphs; single precision on a CPU, where tests compare its numbers.

It runs the very ONNX file that the other back ends run (`onnx_program`): no pickle, no second copy of the weights, no
Ultralytics. On a GPU everything between two copies is one recorded graph for each input size, set of outputs and batch;
batches are filled up to the next power of two. Two lanes, each with a stream and buffers of its own, let one batch be
copied while another is computed.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np

from gridwatch.core.geometry import Float32
from models.backends.onnx_program import OnnxGraph, Program
from models.backends.port import PROBE, Uint8, first_line, streams
from models.errors import InferenceError

CUDA_BATCH = 32  # gives 85 % of what 256 give (measured); a larger one only makes looks older
LANES = 2
MOST_PROGRAMS = (
    64  # sizes × batches × sets of outputs in one lane; beyond it the oldest is recorded again when needed
)
WARM_UPS = 3  # before a graph is recorded: torch chooses its kernels in the first runs

_Key: TypeAlias = tuple[int, int, int, tuple[str, ...]]  # batch, height, width, outputs


def has_gpu() -> bool:
    """Tell whether torch is there and finds a GPU."""
    if find_spec("torch") is None:
        return False
    try:
        import torch  # noqa: PLC0415  with the extra only
    except (ImportError, OSError):
        return False
    return bool(torch.cuda.is_available())


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A CUDA graph with the device memory that it reads and writes; the program's constants are part of it."""

    program: Program
    graph: Any
    pictures: Any
    outputs: tuple[Any, ...]


class _Lane:
    """What one look (or batch) at a time may use: a stream, and programs whose memory is shared between them."""

    def __init__(self) -> None:
        self.stream: Any = None
        self.pool: Any = None
        self.programs: dict[_Key, Any] = {}

    def keep(self, key: _Key, made: Any) -> Any:
        if len(self.programs) >= MOST_PROGRAMS:
            self.programs.pop(next(iter(self.programs)))
        self.programs[key] = made
        return made


class TorchEngine:
    """A network on one GPU, or on this machine's CPU."""

    def __init__(self, graph: OnnxGraph, *, device: str, precision: str, lanes: int) -> None:
        """Wrap a graph that was read; use `open`."""
        self._graph, self._torch, self.precision = graph, graph.torch, precision
        self._on = graph.torch.device(device)
        self._dtype = graph.torch.float16 if precision == "f16" else graph.torch.float32
        self._lanes = lanes
        self._free: deque[_Lane] = deque(_Lane() for _ in range(lanes))
        self._is_free = threading.Semaphore(lanes)
        self._making, self._preparing = threading.Lock(), threading.Lock()

    @classmethod
    def open(cls, weights: bytes, *, device: str, precision: str, threads: int) -> "TorchEngine":
        """Read an ONNX network from its verified bytes.

        Args:
            weights: of the file.
            device: `cpu` or `cuda`.
            precision: `f32`, or `f16` on a GPU.
            threads: callers at once, on a CPU each computing on one core; this holds for the whole process.

        Raises:
            InferenceError: torch cannot read it, or cannot compute one of its outputs: told now, not at the first look.
        """
        graph = OnnxGraph.read(weights)
        size = graph.fixed_size or PROBE
        graph.program((1, *size), graph.outputs, graph.torch.device("meta"), graph.torch.float32)
        if device == "cpu":
            graph.torch.set_num_threads(1)
        return cls(graph, device=device, precision=precision, lanes=threads if device == "cpu" else LANES)

    @property
    def batch(self) -> int:
        """The most pictures that are worth giving at once."""
        return 1 if self._on.type == "cpu" or self._graph.has_fixed_batch else CUDA_BATCH

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only input that the file allows, if it has one."""
        return self._graph.fixed_size

    @property
    def device(self) -> str:
        """What computes, in how many parts and how exactly."""
        version = self._torch.__version__.partition("+")[0]
        if self._on.type == "cpu":
            return f"torch {version} on CPU, {self.precision}, {streams(self._lanes)}"
        name = self._torch.cuda.get_device_name(self._on)
        return f"torch {version} on {name}, {self.precision}, batches of up to {self.batch}"

    def channels(self, output: str) -> int:
        """Return the second side of an output."""
        size = self.fixed_size or PROBE
        program = self._program((1, *size, (output,)), self._torch.device("meta"))
        (answer,) = program(self._torch.empty((1, *size, 3), dtype=self._torch.uint8, device="meta"))
        if answer.dim() < 2:  # noqa: PLR2004  batch and channels
            raise InferenceError(f"the output {output!r} has no second side")
        return int(answer.shape[1])

    def canvas(self, batch: int, height: int, width: int) -> Uint8:
        """Return memory from which the GPU copies by itself, or plain memory for a CPU."""
        shape = (batch, height, width, 3)
        if self._on.type == "cpu":
            return np.empty(shape, np.uint8)
        pinned: Uint8 = self._torch.empty(shape, dtype=self._torch.uint8, pin_memory=True).numpy()
        return pinned

    def prepare(self, height: int, width: int, outputs: tuple[str, ...]) -> None:
        """Record a graph for every batch up to the largest, in every lane."""
        with self._preparing:  # two callers that each held some of the lanes would wait for each other
            lanes = [self._take() for _ in range(self._lanes)]
            try:
                with self._translated():
                    for lane in lanes:
                        self._make_all(lane, height, width, outputs)
            finally:
                for lane in lanes:
                    self._give(lane)

    def _make_all(self, lane: _Lane, height: int, width: int, outputs: tuple[str, ...]) -> None:
        batch = 1
        while batch <= self.batch:
            self._made(lane, (batch, height, width, outputs))
            batch *= 2

    def run(self, pictures: Uint8, outputs: tuple[str, ...]) -> tuple[Float32, ...]:
        """Run pictures as one batch."""
        lane = self._take()
        try:
            with self._translated():
                return self._run(lane, pictures, outputs)
        finally:
            self._give(lane)

    def _run(self, lane: _Lane, pictures: Uint8, outputs: tuple[str, ...]) -> tuple[Float32, ...]:
        torch, count = self._torch, len(pictures)
        _, height, width, _ = pictures.shape
        if self._on.type == "cpu":
            program: Program = self._made(lane, (count, height, width, outputs))
            with torch.inference_mode():
                return tuple(answer.numpy().copy() for answer in program(torch.from_numpy(pictures)))
        batch = 1 << (count - 1).bit_length()
        recorded: _Recorded = self._made(lane, (batch, height, width, outputs))
        with torch.cuda.stream(lane.stream), torch.inference_mode():
            recorded.pictures[:count].copy_(torch.from_numpy(pictures), non_blocking=True)
            recorded.graph.replay()
            answers = [self._to_host(each[:count]) for each in recorded.outputs]
            lane.stream.synchronize()
        return tuple(answer.numpy() for answer in answers)

    def _to_host(self, answer: Any) -> Any:
        # Memory of its own: torch keeps pinned memory that is free and gives it out again, so this allocates nothing.
        host = self._torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
        return host.copy_(answer, non_blocking=True)

    def _made(self, lane: _Lane, key: _Key) -> Any:
        made = lane.programs.get(key)
        if made is not None:
            return made
        with (
            self._making
        ):  # the graph's own cache of weights is shared, and so is the device while it records
            program = self._program(key, self._on)
            return lane.keep(key, program if self._on.type == "cpu" else self._record(lane, key, program))

    def _program(self, key: _Key, device: Any) -> Program:
        batch, height, width, outputs = key
        return self._graph.program((batch, height, width), outputs, device, self._dtype)

    def _record(self, lane: _Lane, key: _Key, program: Program) -> _Recorded:
        torch = self._torch
        if lane.stream is None:
            lane.stream, lane.pool = torch.cuda.Stream(self._on), torch.cuda.graph_pool_handle()
        pictures = torch.zeros((*key[:3], 3), dtype=torch.uint8, device=self._on)
        lane.stream.wait_stream(torch.cuda.current_stream(self._on))
        with torch.inference_mode(), _kernels(torch):
            with torch.cuda.stream(lane.stream):
                for _ in range(WARM_UPS):
                    program(pictures)
            lane.stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # The other lane may be at work meanwhile: only this thread's calls are recorded.
            with torch.cuda.graph(
                graph, pool=lane.pool, stream=lane.stream, capture_error_mode="thread_local"
            ):
                outputs = program(pictures)
        return _Recorded(program, graph, pictures, outputs)

    def _take(self) -> _Lane:
        self._is_free.acquire()
        return self._free.popleft()

    def _give(self, lane: _Lane) -> None:
        self._free.append(lane)
        self._is_free.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (
            RuntimeError
        ) as error:  # torch's own are all of this class: out of memory, a lost device, wrong sides
            raise InferenceError(f"torch failed: {first_line(error)}") from error


def _kernels(torch: Any) -> Any:
    """Let cuDNN measure which kernel is fastest, and compute single precision as such: TF32 has ten bits for a box's side."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=False)
