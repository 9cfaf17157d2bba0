# SPDX-License-Identifier: AGPL-3.0-or-later
import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from models.backends.onnx_cut import cut
from models.errors import InferenceError


@pytest.mark.parametrize("outputs", [("people",), ("fire",), ("density",), ("fire", "density")])
def test_what_is_left_is_a_valid_network_of_only_what_is_needed(weights, outputs):
    """Outputs, metadata and weights stay; nodes go unless an output depends on them."""
    whole, left = onnx.load_model_from_string(weights), onnx.load_model_from_string(cut(weights, outputs))
    onnx.checker.check_model(left)
    assert {each.name for each in left.graph.output} == set(outputs)
    assert left.metadata_props == whole.metadata_props
    assert list(left.graph.initializer) == list(whole.graph.initializer)
    wanted, needed = set(outputs), []
    for node in reversed(whole.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            needed.append(node)
    assert list(left.graph.node) == needed[::-1]
    assert len(left.graph.node) < len(whole.graph.node)


def test_an_output_that_is_not_there_is_told(weights):
    """The name is in the sentence."""
    with pytest.raises(InferenceError, match="no output 'output0'"):
        cut(weights, ("fire", "output0"))


def test_a_network_with_a_branch_keeps_all_its_nodes():
    """The body of an If may name any value outside it: nothing is taken away."""
    told = helper.make_tensor_value_info
    outer = helper.make_node("Add", ["x", "x"], ["twice"])
    bodies = {
        name: helper.make_graph(
            [helper.make_node("Identity", ["twice"], [f"{name}_out"])],
            name,
            [],
            [told(f"{name}_out", TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    branch = helper.make_node("If", ["yes"], ["y"], then_branch=bodies["then"], else_branch=bodies["else"])
    graph = helper.make_graph(
        [outer, branch, helper.make_node("Neg", ["x"], ["z"])],
        "branching",
        [told("x", TensorProto.FLOAT, [1])],
        [told("y", TensorProto.FLOAT, None), told("z", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    left = onnx.load_model_from_string(cut(model.SerializeToString(), ("y",)))
    assert [node.op_type for node in left.graph.node] == ["Add", "If", "Neg"]
    assert [each.name for each in left.graph.output] == ["y"]


@given(st.binary(max_size=200))
def test_rubbish_is_an_inference_error(content):
    """Whatever the bytes, the answer is a sentence."""
    with pytest.raises(InferenceError):
        cut(content, ("fire",))


@given(st.data())
def test_a_damaged_network_is_an_inference_error_or_a_message(small_network, data):
    """A flipped bit or a missing end never ends in another exception than the engine's."""
    content = bytearray(small_network({"fire": 6}))
    content[data.draw(st.integers(0, 400))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(InferenceError):
        assert isinstance(cut(bytes(content[: data.draw(st.integers(0, len(content)))]), ("fire",)), bytes)
