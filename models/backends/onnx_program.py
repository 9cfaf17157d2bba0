# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ONNX graph as a list of torch calls for one input size: what the torch back end runs and captures.

Made in two steps. `OnnxGraph` reads the file, computes what depends on nothing (weights stored as float16) and joins
Sigmoid and Mul to SiLU. `OnnxGraph.program` follows the graph for one size with tensors that have shapes but no numbers
(torch's `meta` device): everything that depends on shapes alone, such as anchors, becomes a constant, so that what is
left never asks the device anything and can be captured as a CUDA graph.

With half precision, everything up to the last convolutions is computed in it and what follows them in single precision:
a box's side in pixels needs more than the eleven bits of a half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.backends.onnx_external import refuse_external
from models.backends.onnx_ops import FLOATS, OPS, PARAMETERS, Call, UnsupportedError
from models.backends.port import INPUT, first_line, fixed_of
from models.errors import InferenceError

SIDES = 4  # of the input
MOST_FOLDED = 1 << 26  # numbers; a graph whose constants grow beyond it is none of ours
# What a node that is not as ONNX says makes of torch, numpy and this module.
_BROKEN = (UnsupportedError, RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `exact` ones are computed in single precision whatever the rest is."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a program: which values go in and out, which are needed no longer, and whether inputs become float32."""

    call: Call
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    drop: tuple[str, ...]
    exact: bool


class OnnxGraph:
    """A network read from ONNX. Not safe for several threads while `program` runs; programs are."""

    def __init__(self, torch: Any, nodes: list[Node], known: dict[str, Any], sides: Sequence[object]) -> None:
        """Wrap nodes and the constants they use; `sides` are the input's, numbers where they are fixed. Use `read`."""
        self._torch, self._nodes, self._known = torch, nodes, known
        self.outputs: tuple[str, ...] = ()
        self.fixed_size, self.has_fixed_batch = fixed_of(sides), isinstance(sides[0], int)
        self._placed: dict[tuple[str, Any, Any], Any] = {}

    @classmethod
    def read(cls, weights: bytes) -> "OnnxGraph":
        """Read an ONNX model from its bytes.

        Raises:
            InferenceError: it is none, has another input, or would read other files besides.
        """
        import onnx  # noqa: PLC0415  with the extra `torch` only
        import torch  # noqa: PLC0415
        from google.protobuf.message import DecodeError  # noqa: PLC0415  comes with onnx

        try:
            refuse_external(weights)
            graph = onnx.load_model_from_string(weights).graph
            known = {each.name: _tensor(torch, onnx, each) for each in graph.initializer}
            nodes = [_node(torch, onnx, each) for each in graph.node]
            nodes = _mark_exact(_join_silu(_fold(nodes, known)), known)
        except (DecodeError, *_BROKEN) as error:
            raise InferenceError(f"torch cannot read the network: {first_line(error)}") from error
        inputs = [each for each in graph.input if each.name not in known]
        sides = [_side(each) for given in inputs for each in given.type.tensor_type.shape.dim]
        if [given.name for given in inputs] != [INPUT] or len(sides) != SIDES:
            raise InferenceError(f"torch cannot read the network: its input is not {INPUT!r} alone")
        made = cls(torch, nodes, known, sides)
        made.outputs = tuple(each.name for each in graph.output)
        return made

    def program(
        self, size: tuple[int, int, int], outputs: tuple[str, ...], device: Any, dtype: Any
    ) -> "Program":
        """Return the calls that compute `outputs` of (batch, 3, height, width).

        Raises:
            InferenceError: there is no such output, or an operation that is not known here.
        """
        missing = [name for name in outputs if name not in self.outputs]
        if missing:
            raise InferenceError(f"the network has no output {missing[0]!r}")
        try:
            return _Tracing(self, size, device, dtype).trace(self._needed(outputs), outputs)
        except _BROKEN as error:
            raise InferenceError(f"torch cannot compute the network: {first_line(error)}") from error

    def _needed(self, outputs: tuple[str, ...]) -> list[Node]:
        wanted, kept = set(outputs), []
        for node in reversed(self._nodes):
            if wanted.intersection(node.outputs):
                kept.append(node)
                wanted.update(node.inputs)
        return kept[::-1]

    @property
    def torch(self) -> Any:
        """The library."""
        return self._torch

    @property
    def known(self) -> dict[str, Any]:
        """Constants by name, in host memory."""
        return self._known

    def placed(self, name: str, constant: Any, device: Any, dtype: Any) -> Any:
        """Return a weight on the device, once for all programs."""
        key = (name, device, dtype)
        if key not in self._placed:
            moved = constant.to(device, dtype if constant.is_floating_point() else constant.dtype)
            four = moved.dim() == 4  # noqa: PLR2004  convolutions like their weights as they like pictures
            self._placed[key] = moved.contiguous(memory_format=self._torch.channels_last) if four else moved
        return self._placed[key]


@dataclass(frozen=True, slots=True)
class Program:
    """Calls for one size, in order; `constants` are theirs."""

    torch: Any
    steps: tuple[Step, ...]
    constants: dict[str, Any]
    outputs: tuple[str, ...]
    dtype: Any

    def __call__(self, pictures: Any) -> tuple[Any, ...]:
        """Return the outputs, float32, of pictures (N, H, W, 3) uint8 BGR on the program's device."""
        torch = self.torch
        planes = pictures.permute(0, 3, 1, 2).flip(1).to(self.dtype)
        values = {INPUT: planes.contiguous(memory_format=torch.channels_last).mul_(1 / 255), **self.constants}
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            results = step.call(*(_exactly(torch, inputs) if step.exact else inputs))
            values.update(zip(step.outputs, results, strict=True))
            for name in step.drop:
                del values[name]
        return tuple(values[name].float() for name in self.outputs)


class _Tracing:
    """Follows a graph for one size."""

    def __init__(self, graph: OnnxGraph, size: tuple[int, int, int], device: Any, dtype: Any) -> None:
        torch = graph.torch
        self._graph, self._torch, self._device, self._dtype = graph, torch, device, dtype
        batch, height, width = size
        self._known = dict(graph.known)
        self._shapes = {INPUT: torch.empty((batch, 3, height, width), dtype=dtype, device="meta")}
        self._constants: dict[str, Any] = {}
        self._steps: list[Step] = []

    def trace(self, nodes: Sequence[Node], outputs: tuple[str, ...]) -> Program:
        for node in nodes:
            if node.kind == "Shape" and node.inputs[0] in self._shapes:
                shape = tuple(self._shapes[node.inputs[0]].shape)
                self._known[node.outputs[0]] = OPS["Shape"](node.attributes, [])(
                    self._torch.empty(shape, device="meta")
                )[0]
            elif all(name in self._known for name in node.inputs if name):
                results = _evaluate(node, self._known)
                self._known.update(zip(node.outputs, results, strict=True))
            else:
                self._follow(node)
        for name in self._known.keys() & set(outputs):  # what depends on the size alone
            self._constants[name] = self._moved(name, self._torch.float32)
        return Program(self._torch, _with_drops(self._steps, outputs), self._constants, outputs, self._dtype)

    def _follow(self, node: Node) -> None:
        positions = PARAMETERS.get(node.kind, ())
        parameters = [
            self._known.get(name) if at in positions and name else None for at, name in enumerate(node.inputs)
        ]
        inputs = [
            name if name in self._shapes else self._place(name, exact=node.exact)
            for at, name in enumerate(node.inputs)
            if at not in positions and name
        ]
        shapes = [self._shapes[name] for name in inputs]
        call = self._call(node, parameters, shapes)
        results = call(*(_exactly(self._torch, shapes) if node.exact else shapes))
        self._shapes.update(zip(node.outputs, results, strict=True))
        self._steps.append(Step(call, tuple(inputs), node.outputs, (), node.exact))

    def _call(self, node: Node, parameters: list[Any], shapes: list[Any]) -> Call:
        if node.kind not in OPS:
            raise UnsupportedError(f"the operation {node.kind}")
        if node.kind == "Cast" and node.attributes["to"] in FLOATS and shapes[0].is_floating_point():
            return OPS["Identity"]({}, [])  # what flows is computed in the program's precision
        return OPS[node.kind](node.attributes, parameters)

    def _place(self, name: str, *, exact: bool) -> str:
        """Put a constant on the device and return the name that it has there: it may be wanted in both precisions."""
        dtype = self._torch.float32 if exact else self._dtype
        place = f"{name}:{dtype}"
        if place not in self._constants:
            own = self._graph.known.get(name)
            self._constants[place] = (
                self._moved(name, dtype)
                if own is None
                else self._graph.placed(name, own, self._device, dtype)
            )
            self._shapes[place] = self._constants[place].to("meta")
        return place

    def _moved(self, name: str, dtype: Any) -> Any:
        constant = self._known[name]
        return constant.to(self._device, dtype if constant.is_floating_point() else constant.dtype)


def _exactly(torch: Any, inputs: Sequence[Any]) -> list[Any]:
    return [each.float() if each.dtype is torch.float16 else each for each in inputs]


def _with_drops(steps: list[Step], outputs: tuple[str, ...]) -> tuple[Step, ...]:
    """Have each value dropped after its last use, so that a program needs no more memory than it must."""
    made = {INPUT, *(name for step in steps for name in step.outputs)}
    used: set[str] = set(outputs)
    told = []
    for step in reversed(steps):
        last = made.intersection((*step.inputs, *step.outputs)) - used
        used |= last
        told.append(Step(step.call, step.inputs, step.outputs, tuple(sorted(last)), step.exact))
    return tuple(reversed(told))


def _evaluate(node: Node, known: dict[str, Any]) -> tuple[Any, ...]:
    if node.kind not in OPS:
        raise UnsupportedError(f"the operation {node.kind}")
    positions = PARAMETERS.get(node.kind, ())
    parameters = [known[name] if at in positions and name else None for at, name in enumerate(node.inputs)]
    inputs = [known[name] for at, name in enumerate(node.inputs) if at not in positions and name]
    results = OPS[node.kind](node.attributes, parameters)(*inputs)
    if any(result.numel() > MOST_FOLDED for result in results):
        raise UnsupportedError(f"{node.kind} of so many numbers")
    return results


def _fold(nodes: list[Node], known: dict[str, Any]) -> list[Node]:
    """Compute what depends on constants alone; return the rest. What cannot be computed is told when it is needed."""
    rest = []
    for node in nodes:
        if all(name in known for name in node.inputs if name):
            try:
                known.update(zip(node.outputs, _evaluate(node, known), strict=True))
            except _BROKEN:
                rest.append(node)
        else:
            rest.append(node)
    return rest


def _join_silu(nodes: list[Node]) -> list[Node]:
    uses: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    sigmoids = {
        node.outputs[0]: node for node in nodes if node.kind == "Sigmoid" and uses.get(node.outputs[0]) == 1
    }
    joined, gone = [], set()
    for node in nodes:
        gate = next((name for name in node.inputs if name in sigmoids), None) if node.kind == "Mul" else None
        if gate is not None and sigmoids[gate].inputs[0] in node.inputs:
            gone.add(gate)
            joined.append(Node("Silu", sigmoids[gate].inputs, node.outputs, {}))
        else:
            joined.append(node)
    return [node for node in joined if node.outputs[0] not in gone]


def _mark_exact(nodes: list[Node], known: dict[str, Any]) -> list[Node]:
    """Mark what no convolution with several channels follows."""
    inexact: set[str] = set()
    marked = []
    for node in reversed(nodes):
        weights = (
            known.get(node.inputs[1]) if node.kind in {"Conv", "ConvTranspose", "MatMul", "Gemm"} else None
        )
        is_trunk = node.kind in {"Conv", "ConvTranspose", "MatMul", "Gemm"} and (
            weights is None or weights.shape[0] > 1
        )
        if is_trunk or inexact.intersection(node.outputs):
            inexact.update(node.inputs)
            marked.append(node)
        else:
            marked.append(Node(node.kind, node.inputs, node.outputs, node.attributes, exact=True))
    return marked[::-1]


def _side(side: Any) -> int | None:
    return int(side.dim_value) if side.HasField("dim_value") else None


def _node(torch: Any, onnx: Any, node: Any) -> Node:
    attributes = {each.name: _attribute(torch, onnx, each) for each in node.attribute}
    return Node(node.op_type, tuple(node.input), tuple(node.output), attributes)


def _attribute(torch: Any, onnx: Any, attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _tensor(torch, onnx, value)
    return value.decode() if isinstance(value, bytes) else value


def _tensor(torch: Any, onnx: Any, tensor: Any) -> Any:
    return torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
