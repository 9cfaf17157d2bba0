# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX files whose weights lie in other files: no door lets one in, wherever in the file the reference stands."""

import hashlib

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from models.backends.onnx_external import NotWholeError, refuse_external
from models.backends.onnxruntime import OnnxRuntimeEngine
from models.backends.openvino import OpenVinoEngine
from models.backends.protobuf import field
from models.backends.torch import TorchEngine
from models.catalogue import Catalogue
from models.detector_onnx import read_detector
from models.errors import InferenceError, WeightsError
from models.listing import verify_networks

SAID = "weights lie in another file"
VALUE = numpy_helper.from_array(np.ones(3, np.float32), "value")


def elsewhere(name="value"):
    """Return a tensor whose numbers lie in weights.bin."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def only_a_path():
    tensor = elsewhere()
    tensor.ClearField("data_location")
    return tensor


def only_a_place():
    tensor = elsewhere()
    tensor.ClearField("external_data")
    return tensor


def graph(*nodes, weights=()):
    return helper.make_graph(list(nodes), "g", [], [], list(weights))


def constant(**attributes):
    node = helper.make_node("Constant", [], ["y"])
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node


def model(made, **more):
    return helper.make_model(made, **more)


def sparse(values, indices):
    made = onnx.SparseTensorProto(dims=[3])
    made.values.CopyFrom(values)
    made.indices.CopyFrom(indices)
    return made


def with_sparse_weights():
    made = graph()
    made.sparse_initializer.add().CopyFrom(sparse(VALUE, elsewhere()))
    return model(made)


def with_a_function():
    function = helper.make_function("own", "f", [], ["y"], [constant(value=elsewhere())], [])
    return model(graph(), functions=[function])


def with_training():
    made = model(graph())
    made.training_info.add().algorithm.CopyFrom(graph(weights=[elsewhere()]))
    return made


INSIDE = graph(constant(value=elsewhere()))
HIDDEN = {
    "a weight": model(graph(weights=[VALUE, elsewhere()])),
    "only a path": model(graph(weights=[only_a_path()])),
    "only a place": model(graph(weights=[only_a_place()])),
    "a constant": model(graph(constant(value=elsewhere()))),
    "a list of constants": model(graph(constant(values=[VALUE, elsewhere()]))),
    "a sparse constant": model(graph(constant(sparse_value=sparse(elsewhere(), VALUE)))),
    "a sparse weight": with_sparse_weights(),
    "a branch": model(graph(constant(then_branch=INSIDE))),
    "a branch in a branch": model(graph(constant(then_branch=graph(constant(bodies=[INSIDE]))))),
    "a function": with_a_function(),
    "training": with_training(),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_reference_to_another_file_is_found_anywhere(name):
    """Initializers, tensors in attributes, subgraphs, functions: each is a place where an engine would follow it."""
    with pytest.raises(NotWholeError, match=SAID):
        refuse_external(HIDDEN[name].SerializeToString())


def test_a_second_graph_is_searched_as_well():
    """Protobuf's readers join a message that stands twice."""
    doubled = model(graph()).SerializeToString() + HIDDEN["a weight"].SerializeToString()
    with pytest.raises(NotWholeError, match=SAID):
        refuse_external(doubled)


def test_a_nest_without_end_is_refused():
    """A file deeper than any network is refused, not searched until the interpreter gives up."""
    inner = b""
    for _ in range(10_000):
        inner = field(1, field(5, field(6, inner)))  # graph.node.attribute.g
    content = field(7, inner)
    with pytest.raises(NotWholeError, match="no ONNX model"):
        refuse_external(content)


def test_a_whole_file_passes(weights, small_network):
    """The network that ships, and a small one, hold all their numbers."""
    refuse_external(weights)
    refuse_external(small_network())


@pytest.fixture
def split(small_network, tmp_path, monkeypatch):
    """Return an ONNX file whose weights lie in the current folder, where an engine would find them."""
    monkeypatch.chdir(tmp_path)
    network = onnx.load_model_from_string(small_network({"output0": 10}))
    onnx.save_model(
        network, "split.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64
    )
    assert (tmp_path / "weights.bin").stat().st_size > 1000
    return (tmp_path / "split.onnx").read_bytes()


@pytest.mark.parametrize(
    "open_engine",
    [
        lambda content: OpenVinoEngine.open((content,), threads=1),
        lambda content: OnnxRuntimeEngine.open(content, threads=1),
        pytest.param(
            lambda content: TorchEngine.open(content, device="cpu", precision="f32", threads=1),
            marks=pytest.mark.torch,
        ),
    ],
    ids=["openvino", "onnxruntime", "torch"],
)
def test_no_engine_follows_the_reference(split, open_engine):
    """Even where the other file is there, nothing outside the hashed bytes is read."""
    with pytest.raises(InferenceError, match=SAID):
        open_engine(split)


def test_it_cannot_be_added(split):
    """`models add` refuses it with the remedy before anything runs it."""
    with pytest.raises(WeightsError, match=f"{SAID}.*save it as one file"):
        read_detector(split)


def test_verifying_a_catalogue_finds_it(split, catalogue, tmp_path):
    """A file with the right hash whose weights are elsewhere is not what the catalogue says."""
    fields = yaml.safe_load(catalogue.file.read_text("utf-8"))
    (network,) = fields["networks"]
    network["forms"] = {"onnx": {"file": "split.onnx", "sha256": hashlib.sha256(split).hexdigest()}}
    network["precision"] = "f32"
    (tmp_path / "catalogue.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    (row,) = verify_networks(Catalogue.load(tmp_path / "catalogue.yaml"))
    assert row.problem is not None
    assert SAID in row.problem
