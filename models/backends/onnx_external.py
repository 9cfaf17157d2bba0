# SPDX-License-Identifier: AGPL-3.0-or-later
"""Refuses an ONNX file whose weights lie in other files: those are not covered by its SHA-256 (docs/adr/0004).

Engines would read them from a path that the file names, relative to whatever folder the process runs in. Every engine
that opens ONNX bytes asks here first, so that no caller can forget it.

Field numbers: onnx.proto3, `ModelProto.graph` 7, `.training_info` 20, `.functions` 25; `TrainingInfoProto.initialization`
1, `.algorithm` 2; `FunctionProto.node` 7, `.attribute_proto` 11; `GraphProto.node` 1, `.initializer` 5,
`.sparse_initializer` 15; `NodeProto.attribute` 5; `AttributeProto.t` 5, `.g` 6, `.tensors` 10, `.graphs` 11,
`.sparse_tensor` 22, `.sparse_tensors` 23; `SparseTensorProto.values` 1, `.indices` 2; `TensorProto.external_data` 13,
`.data_location` 14.
"""

from collections.abc import Mapping
from enum import Enum, auto

from models.backends.protobuf import NoMessageError, contents, fields, numbers

MOST_LEVELS = 64  # of messages in messages; protobuf's own readers stop at 100
_GRAPH, _EXTERNAL_DATA, _LOCATION = 7, 13, 14


class NotWholeError(ValueError):
    """The numbers of an ONNX model lie elsewhere, or it cannot be told whether they do."""


class _Kind(Enum):
    MODEL = auto()
    TRAINING = auto()
    FUNCTION = auto()
    GRAPH = auto()
    NODE = auto()
    ATTRIBUTE = auto()
    SPARSE = auto()
    TENSOR = auto()


_INSIDE: Mapping[_Kind, Mapping[int, _Kind]] = {
    _Kind.MODEL: {7: _Kind.GRAPH, 20: _Kind.TRAINING, 25: _Kind.FUNCTION},
    _Kind.TRAINING: {1: _Kind.GRAPH, 2: _Kind.GRAPH},
    _Kind.FUNCTION: {7: _Kind.NODE, 11: _Kind.ATTRIBUTE},
    _Kind.GRAPH: {1: _Kind.NODE, 5: _Kind.TENSOR, 15: _Kind.SPARSE},
    _Kind.NODE: {5: _Kind.ATTRIBUTE},
    _Kind.ATTRIBUTE: {
        5: _Kind.TENSOR,
        6: _Kind.GRAPH,
        10: _Kind.TENSOR,
        11: _Kind.GRAPH,
        22: _Kind.SPARSE,
        23: _Kind.SPARSE,
    },
    _Kind.SPARSE: {1: _Kind.TENSOR, 2: _Kind.TENSOR},
}


def refuse_external(model: bytes) -> None:
    """Return if everything that the ONNX model computes with lies in these bytes.

    Raises:
        NotWholeError: a tensor's numbers lie in another file; or the bytes are no ONNX model that can be searched whole.
    """
    try:
        if not contents(memoryview(model), _GRAPH):
            raise NotWholeError("it holds no ONNX graph")
        waiting = [(_Kind.MODEL, memoryview(model), 0)]
        while waiting:
            kind, message, level = waiting.pop()
            if kind is _Kind.TENSOR:
                _refuse_tensor(message)
                continue
            if level > MOST_LEVELS:
                raise NoMessageError
            inside = _INSIDE[kind]
            waiting += [
                (inside[number], body, level + 1) for number, _, body in fields(message) if number in inside
            ]
    except NoMessageError as error:
        raise NotWholeError("it is no ONNX model, or was cut short") from error


def _refuse_tensor(tensor: memoryview) -> None:
    if contents(tensor, _EXTERNAL_DATA) or any(numbers(tensor, _LOCATION)):
        raise NotWholeError(
            "its weights lie in another file, which its SHA-256 does not cover; save it as one file"
        )
