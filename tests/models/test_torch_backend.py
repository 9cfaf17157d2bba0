# SPDX-License-Identifier: AGPL-3.0-or-later
"""What only the torch back end does: ONNX operations as torch calls, half precision, programs for sizes."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models.backends.torch import TorchEngine
from models.errors import InferenceError
from models.network import Network, NetworkSettings
from models.pictures import Picture

pytestmark = pytest.mark.torch
STREET = Path(__file__).parents[2] / ".venv" / "scenes" / "ultralytics" / "assets" / "bus.jpg"
PICTURE = np.random.default_rng(5).integers(0, 256, (1, 32, 64, 3), np.uint8)
IMAGES = np.ascontiguousarray(PICTURE[..., ::-1].transpose(0, 3, 1, 2)) / np.float32(255)

F, I = np.float32, np.int64  # noqa: E741
WEIGHTS = np.random.default_rng(6).normal(size=(4, 3, 3, 3)).astype(F)


def node(kind, *constants, x="images", y="y", **attributes):
    """Return an operation from `x` and constants to `y`, with its constants."""
    names = [f"{kind}{at}" if value is not None else "" for at, value in enumerate(constants)]
    tensors = [
        numpy_helper.from_array(np.asarray(v), n)
        for n, v in zip(names, constants, strict=True)
        if v is not None
    ]
    return helper.make_node(kind, [x, *names], [y] if isinstance(y, str) else y, **attributes), tensors


def network(*nodes, outputs=("y",)):
    told = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])
    graph = helper.make_graph(
        [each[0] for each in nodes], "g", [image], told, [t for each in nodes for t in each[1]]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def two(kind, first, second, **attributes):
    """Return an operation on two values that depend on the picture."""
    return helper.make_node(kind, [first, second], ["y"], **attributes), []


# An operation on constants alone, of a type that is not known.
OF_CONSTANTS = (
    helper.make_node("Cast", ["one"], ["c"], to=TensorProto.UINT8),
    [numpy_helper.from_array(F([1]), "one")],
)

CASES = {
    "Add": [node("Add", F(0.5))],
    "AddMixed": [node("Sigmoid", y="s"), two("Add", "images", "s")],
    "BatchNormalization": [node("BatchNormalization", *(F([0.5, 1, 2]) for _ in range(4)), epsilon=1e-3)],
    "Cast": [node("Cast", y="c", to=TensorProto.INT64), node("Cast", x="c", to=TensorProto.FLOAT)],
    "Clip": [node("Clip", F(0.2), F(0.7))],
    "ClipBelow": [node("Clip", F(0.2))],
    "Concat": [node("Relu", y="r"), two("Concat", "images", "r", axis=-1)],
    "Conv": [node("Conv", WEIGHTS, F([1, 2, 3, 4]), pads=[2, 1, 2, 1], strides=[2, 1], dilations=[2, 1])],
    "ConvGroups": [node("Conv", WEIGHTS[:3, :1], group=3)],
    "ConvTranspose": [
        node(
            "ConvTranspose",
            WEIGHTS.transpose(1, 0, 2, 3)[:, :2],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            output_padding=[1, 1],
        )
    ],
    "Div": [node("Div", F(3))],
    "DivWhole": [
        node("Shape", y="s"),
        node("Div", I(3), x="s", y="d"),
        node("Cast", x="d", to=TensorProto.FLOAT),
    ],
    "Exp": [node("Exp")],
    "Expand": [node("Unsqueeze", I([0]), y="u"), node("Expand", I([2, 1, 1, 1, 1]), x="u")],
    "Flatten": [node("Flatten", axis=2)],
    "Gather": [node("Gather", I([[0, -1], [5, 2]]), axis=3)],
    "GatherOne": [node("Gather", I(1), axis=1)],
    "HardSwish": [node("HardSwish")],
    "LeakyRelu": [node("Sub", F(0.5), y="s"), node("LeakyRelu", x="s", alpha=0.2)],
    "MatMul": [node("Transpose", y="t", perm=[0, 1, 3, 2]), two("MatMul", "images", "t")],
    "MaxPool": [node("MaxPool", kernel_shape=[5, 3], pads=[2, 1, 2, 1], strides=[1, 2])],
    "MaxPoolCeil": [node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
    "Neg": [node("Neg")],
    "Pow": [node("Pow", F(2))],
    "Reshape": [node("Reshape", I([0, -1, 16]))],
    "ResizeNearest": [
        node(
            "Resize",
            None,
            F([1, 1, 2, 2]),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    ],
    "ResizeLinear": [
        node(
            "Resize",
            None,
            None,
            I([1, 3, 48, 80]),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
    ],
    "Slice": [node("Slice", I([1, 2]), I([3, 2**62]), I([1, -1]), I([1, 3]))],
    "SliceAll": [node("Slice", I([0, 1]), I([1, 2]))],
    "Silu": [node("Sigmoid", y="s"), two("Mul", "images", "s")],
    "SiluOther": [node("Sigmoid", y="s"), two("Mul", "s", "images")],
    "NoSilu": [node("Relu", y="r"), node("Sigmoid", x="r", y="s"), two("Mul", "images", "s")],
    "Softmax": [node("Softmax", axis=1)],
    "Softplus": [node("Softplus")],
    "Sqrt": [node("Sqrt")],
    "Squeeze": [node("Slice", I([1]), I([2]), I([1]), y="s"), node("Squeeze", I([1]), x="s")],
    "Sub": [node("Sub", F([[[0.1]], [[0.2]], [[0.3]]]))],
    "Tanh": [node("Tanh")],
    "Transpose": [node("Transpose", perm=[0, 2, 3, 1])],
    "TransposeAll": [node("Transpose")],
    "Unsqueeze": [node("Unsqueeze", I([-1, 0]))],
    "Where": [
        node("Equal", F(0), y="e"),
        (
            helper.make_node("Where", ["e", "minus", "images"], ["y"]),
            [numpy_helper.from_array(F(-1), "minus")],
        ),
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_an_operation_computes_what_onnx_says(case):
    """Each operation that the table knows equals ONNX's reference evaluator."""
    content = network(*CASES[case])
    with np.errstate(all="ignore"):
        (expected,) = ReferenceEvaluator(content).run(["y"], {"images": IMAGES})
    (answer,) = TorchEngine.open(content, device="cpu", precision="f32", threads=1).run(PICTURE, ("y",))
    np.testing.assert_allclose(answer, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [None, I([1, 2])])
def test_a_split_gives_all_its_parts(sizes):
    """The outputs of one operation come each to its place."""
    constants = [] if sizes is None else [sizes]
    if sizes is None:
        content = network(node("Split", I([1, 1, 1]), y=["a", "b", "y"], axis=1), outputs=("y", "a"))
    else:
        content = network(node("Split", *constants, y=["a", "y"], axis=1), outputs=("y", "a"))
    expected = ReferenceEvaluator(content).run(["y", "a"], {"images": IMAGES})
    answers = TorchEngine.open(content, device="cpu", precision="f32", threads=1).run(PICTURE, ("y", "a"))
    for answer, other in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer, other, atol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([node("Conv", WEIGHTS, pads=[1, 1, 0, 0])], "padded on one side"),
        ([node("Conv", WEIGHTS, auto_pad="SAME_UPPER")], "auto_pad"),
        ([node("Resize", None, F([1, 1, 2, 2]), mode="cubic")], "resizing by cubic, half_pixel"),
        ([node("Slice", I([5]), I([0]), I([3]), I([-1]))], "slicing backwards"),
        ([node("Cast", to=TensorProto.UINT8)], "a cast to this type"),
        ([node("Det")], "the operation Det"),
        ([node("Det", y="t"), node("Relu", x="t")], "the operation Det"),
        ([OF_CONSTANTS, two("Add", "images", "c")], "a cast to this type"),
    ],
)
def test_what_is_not_known_is_refused_by_name_when_it_is_opened(nodes, says):
    """A network that would be computed wrongly is not computed; `auto` learns it in time to take the next back end."""
    with pytest.raises(InferenceError, match=f"torch cannot compute the network: .*{says} is not known here"):
        TorchEngine.open(network(*nodes), device="cpu", precision="f32", threads=1)


BROKEN = {
    "a gather beyond the end": (
        helper.make_node("Gather", ["three", "nine"], ["c"]),
        [numpy_helper.from_array(F([1, 2, 3]), "three"), numpy_helper.from_array(I(9), "nine")],
    ),
    "a cast to nothing": (
        helper.make_node("Cast", ["one"], ["c"]),
        [numpy_helper.from_array(F([1]), "one")],
    ),
    "a convolution without weights": (helper.make_node("Conv", ["images"], ["c"]), []),
    "a reshape to nothing": (
        helper.make_node("Reshape", ["one"], ["c"]),
        [numpy_helper.from_array(F([1]), "one")],
    ),
    "a sum without outputs": (helper.make_node("Add", ["images", "images"], []), []),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_operation_is_no_crash(name):
    """Whatever torch, numpy or this code make of it, it is told as a network that cannot be computed."""
    content = network(BROKEN[name], two("Add", "images", "c"))
    with pytest.raises(InferenceError, match=r"torch cannot (read|compute) the network: ."):
        TorchEngine.open(content, device="cpu", precision="f32", threads=1)


def test_what_nobody_needs_may_be_unknown():
    """A constant that cannot be computed does no harm where no output depends on it."""
    engine = TorchEngine.open(network(OF_CONSTANTS, node("Relu")), device="cpu", precision="f32", threads=1)
    assert engine.run(PICTURE, ("y",))[0].shape == (1, 3, 32, 64)


def test_half_precision_sees_the_same_boxes(catalogue, weights, yard):
    """The layers after the last convolutions are computed exactly, so that sides of boxes keep their places."""
    boxes = []
    for precision in ("f32", "f16"):
        engine = TorchEngine.open(weights, device="cpu", precision=precision, threads=1)
        network = Network(catalogue.entry(), engine, NetworkSettings())
        boxes.append([network.detect(Picture(each)) for each in (yard, cv2.imread(str(STREET)))])
    found = []
    for exact, half in zip(*boxes, strict=True):
        for box, score, kind in zip(exact.xyxy, exact.confidence, exact.class_id, strict=True):
            if score < 0.3:
                continue
            low, high = np.maximum(half.xyxy[:, :2], box[:2]), np.minimum(half.xyxy[:, 2:], box[2:])
            both = np.clip(high - low, 0, None).prod(axis=1) * (half.class_id == kind)
            union = (half.xyxy[:, 2:] - half.xyxy[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - both
            found.append((both / union).max())
    assert len(found) >= 4
    assert np.mean(found) >= 0.98
    assert min(found) >= 0.95


def test_half_precision_keeps_sides_of_boxes_to_a_fifth_of_a_pixel(weights):
    """A half has eleven bits, half a pixel at 600: what follows the last convolutions must be exact."""
    street = cv2.resize(cv2.imread(str(STREET)), (480, 640))[None]
    exact, half = (
        TorchEngine.open(weights, device="cpu", precision=precision, threads=1).run(street, ("people",))[0]
        for precision in ("f32", "f16")
    )
    sure = exact[0, 4:].max(axis=0) >= 0.25
    assert sure.sum() >= 10
    assert np.abs(exact - half)[0, :4, sure].max() < 0.2


def test_two_lanes_and_a_preparation_at_once_do_not_wait_for_each_other(small_network):
    """Callers that prepare and callers that run all come to an end."""
    engine = TorchEngine.open(small_network(), device="cpu", precision="f32", threads=2)
    threads = [
        threading.Thread(target=engine.prepare, args=(64, 32 * n, ("fire",)), daemon=True)
        for n in range(1, 7)
    ]
    threads += [
        threading.Thread(target=engine.run, args=(PICTURE, ("people",)), daemon=True) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert len(engine._free) == 2


def test_what_is_made_for_sizes_is_bounded(small_network, monkeypatch):
    """A machine whose cameras send any size does not grow without end."""
    monkeypatch.setattr("models.backends.torch.MOST_PROGRAMS", 3)
    engine = TorchEngine.open(small_network(), device="cpu", precision="f32", threads=1)
    for width in range(32, 320, 32):
        engine.run(np.zeros((1, 32, width, 3), np.uint8), ("fire",))
    assert len(engine._free[0].programs) == 3


def test_a_program_keeps_nothing_that_it_needs_no_longer(weights):
    """Every value is dropped after its last use, so that a batch on a GPU needs little memory."""
    engine = TorchEngine.open(weights, device="cpu", precision="f32", threads=1)
    program = engine._program((1, 64, 64, ("fire",)), engine._on)
    made = {"images", *(name for step in program.steps for name in step.outputs)}
    dropped = [name for step in program.steps for name in step.drop]
    assert sorted(dropped) == sorted(made - {"fire"})
