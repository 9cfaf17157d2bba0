# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an ONNX file says of itself: inputs, outputs, notes. No engine and no `onnx` package is needed to read it.

Field numbers: onnx.proto3, `ModelProto.graph` 7, `.metadata_props` 14; `GraphProto.node` 1, `.initializer` 5,
`.input` 11, `.output` 12; `NodeProto.output` 2, `.name` 3; `TensorProto.name` 8; `ValueInfoProto.name` 1, `.type` 2; `TypeProto.tensor_type` 1; `Tensor.elem_type` 1,
`.shape` 2; `TensorShapeProto.dim` 1; `Dimension.dim_value` 1; `StringStringEntryProto.key` 1, `.value` 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.backends.protobuf import NoMessageError, contents, numbers, text
from models.errors import InferenceError

FLOAT = 1  # TensorProto.FLOAT
_GRAPH, _NOTES, _INITIALIZER, _INPUT, _OUTPUT, _TENSOR_NAME = 7, 14, 5, 11, 12, 8
_KEY, _VALUE = 1, 2
_NODE, _NODE_OUTPUT, _NODE_NAME = 1, 2, 3
_NAME, _TYPE, _TENSOR, _ELEMENT, _SHAPE, _DIM, _DIM_VALUE = 1, 2, 1, 1, 2, 1, 1


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output: its name, ONNX's number of its element type, its sides (None where a side is free)."""

    name: str
    element: int
    sides: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """Inputs that are no weights, outputs, and the notes (`metadata_props`) of an ONNX file."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    notes: Mapping[str, str]


def read_facts(model: bytes) -> OnnxFacts:
    """Read them; the nodes and weights are not looked at.

    Raises:
        InferenceError: it is no ONNX model, or was cut short.
    """
    try:
        whole = memoryview(model)
        graphs = contents(whole, _GRAPH)
        if len(graphs) != 1:
            raise InferenceError("it holds no ONNX graph")
        weights = {
            name for tensor in contents(graphs[0], _INITIALIZER) for name in text(tensor, _TENSOR_NAME)
        }
        inputs = [_value(body) for body in contents(graphs[0], _INPUT)]
        outputs = [_value(body) for body in contents(graphs[0], _OUTPUT)]
        notes = {text(note, _KEY)[0]: "".join(text(note, _VALUE)) for note in contents(whole, _NOTES)}
    except (NoMessageError, UnicodeDecodeError, IndexError) as error:
        raise InferenceError("it is no ONNX model, or was cut short") from error
    return OnnxFacts(tuple(each for each in inputs if each.name not in weights), tuple(outputs), notes)


def read_node_names(model: bytes) -> list[str]:
    """Return the name of every node of the graph; of one without a name that of its first output.

    Raises:
        InferenceError: it is no ONNX model, or was cut short.
    """
    try:
        nodes = [node for graph in contents(memoryview(model), _GRAPH) for node in contents(graph, _NODE)]
        return [next(iter(text(node, _NODE_NAME) + text(node, _NODE_OUTPUT)), "") for node in nodes]
    except (NoMessageError, UnicodeDecodeError) as error:
        raise InferenceError("it is no ONNX model, or was cut short") from error


def _value(body: memoryview) -> Value:
    element = 0
    sides: tuple[int | None, ...] = ()
    for kind in contents(body, _TYPE):
        for tensor in contents(kind, _TENSOR):
            element = next(iter(numbers(tensor, _ELEMENT)), 0)
            sides = tuple(_side(dim) for shape in contents(tensor, _SHAPE) for dim in contents(shape, _DIM))
    return Value(text(body, _NAME)[0], element, sides)


def _side(dim: memoryview) -> int | None:
    return next(iter(numbers(dim, _DIM_VALUE)), None) or None
