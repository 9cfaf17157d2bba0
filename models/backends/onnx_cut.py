# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ONNX file without the layers that nobody asks for. Reads and writes protobuf's wire format, only as far as needed.

ONNX Runtime computes every node of a graph, whatever outputs are fetched (`only_execute_path_to_fetches` changes
nothing in 1.32), and cannot cut a graph itself. The `onnx` package could, but is not needed for anything else at run
time. Field numbers: onnx.proto3, `ModelProto.graph` 7; `GraphProto.node` 1, `.output` 12; `NodeProto.input` 1,
`.output` 2, `.attribute` 5; `AttributeProto.g` 6, `.graphs` 11; `ValueInfoProto.name` 1.
"""

from models.backends.protobuf import NoMessageError, field, fields, text
from models.errors import InferenceError

_GRAPH, _NODE, _OUTPUT = 7, 1, 12
_IN, _OUT, _ATTRIBUTE = 1, 2, 5
_SUBGRAPHS = {6, 11}
_NAME = 1


def cut(model: bytes, outputs: tuple[str, ...]) -> bytes:
    """Return the ONNX model with these outputs only, and the nodes that they need.

    Raises:
        InferenceError: it is no ONNX model, or has no such output.
    """
    try:
        parts = [
            (number, raw, _cut_graph(body, outputs) if number == _GRAPH else None)
            for number, raw, body in fields(memoryview(model))
        ]
    except (NoMessageError, UnicodeDecodeError) as error:
        raise InferenceError("the file is no ONNX model") from error
    if not any(graph is not None for _, _, graph in parts):
        raise InferenceError("the file holds no ONNX graph")
    return b"".join(bytes(raw) if graph is None else field(number, graph) for number, raw, graph in parts)


def _cut_graph(graph: memoryview, outputs: tuple[str, ...]) -> bytes:
    there = list(fields(graph))
    named = {text(body, _NAME)[0] for number, _, body in there if number == _OUTPUT}
    missing = [name for name in outputs if name not in named]
    if missing:
        raise InferenceError(f"the network has no output {missing[0]!r}")
    kept = _needed([body for number, _, body in there if number == _NODE], set(outputs))
    parts, node = [], -1
    for number, raw, body in there:
        node += number == _NODE
        if number == _OUTPUT and text(body, _NAME)[0] not in outputs:
            continue
        if number == _NODE and not kept[node]:
            continue
        parts.append(bytes(raw))
    return b"".join(parts)


def _needed(nodes: list[memoryview], wanted: set[str]) -> list[bool]:
    """Tell for each node whether `wanted` depends on it. ONNX keeps nodes in an order in which they can be computed."""
    if any(_has_subgraph(node) for node in nodes):
        return [True] * len(nodes)  # its body may name any value of the graph around it
    kept = [False] * len(nodes)
    for at in range(len(nodes) - 1, -1, -1):
        if wanted.intersection(text(nodes[at], _OUT)):
            kept[at] = True
            wanted.update(text(nodes[at], _IN))
    return kept


def _has_subgraph(node: memoryview) -> bool:
    attributes = (body for number, _, body in fields(node) if number == _ATTRIBUTE)
    return any(number in _SUBGRAPHS for attribute in attributes for number, _, _ in fields(attribute))
