# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every back end must do, and that all of them see the same."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from gridwatch.core.detections import Part
from models.backends.choose import Asked
from models.backends.onnxruntime import OnnxRuntimeEngine
from models.backends.openvino import OpenVinoEngine
from models.backends.torch import TorchEngine, has_gpu
from models.catalogue import Form
from models.errors import InferenceError
from models.network import Network, NetworkSettings
from models.pictures import Picture

ASSETS = Path(__file__).parents[2] / ".venv" / "scenes" / "ultralytics" / "assets"
ALL = ("people", "fire", "density")
SUBSETS = [
    ("people",),
    ("fire",),
    ("density",),
    ("people", "fire"),
    ("fire", "density"),
    ("density", "people"),
]
NOISE = np.random.default_rng(3).integers(0, 256, (3, 64, 96, 3), np.uint8)
ENGINES = [
    "openvino f32",
    "openvino int8",
    "onnxruntime f32",
    pytest.param("torch f32", marks=pytest.mark.torch),
    pytest.param("torch f16", marks=pytest.mark.torch),
]
LEAST_IOU = 0.98  # mean over matched boxes at the same precision


def opened(name, content):
    """Return an engine over an ONNX file's bytes."""
    if name.startswith("onnxruntime"):
        pytest.importorskip("onnxruntime", reason="needs the extra onnxruntime")
        return OnnxRuntimeEngine.open(content, threads=2)
    if name.startswith("torch"):
        # Half precision is a GPU's; where there is none its arithmetic is computed, slowly, on the CPU.
        device = "cuda" if name.endswith("f16") and has_gpu() else "cpu"
        return TorchEngine.open(content, device=device, precision=name.partition(" ")[2], threads=2)
    return OpenVinoEngine.open((content,), threads=2)


@pytest.fixture(scope="module", params=ENGINES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def engine(name, catalogue, weights):
    if name == "openvino int8":
        return OpenVinoEngine.open(catalogue.read(catalogue.entry(), Form.OPENVINO_INT8), threads=2)
    return opened(name, weights)


@pytest.fixture(scope="module")
def float_name(name):
    if name.endswith("int8"):
        pytest.skip("reads files of its own")
    return name


def close(answers, expected):
    """Compare outputs in single precision: boxes in pixels, scores, persons per cell."""
    for answer, other in zip(answers, expected, strict=True):
        assert answer.dtype == np.float32
        is_head = answer.ndim == 3
        np.testing.assert_allclose(answer, other, atol=0.05 if is_head else 1e-4, rtol=1e-4)
        if is_head:
            np.testing.assert_allclose(answer[:, 4:], other[:, 4:], atol=1e-4)


def mostly_close(answers, expected):
    """Compare outputs of 8-bit layers or half precision, where another order of sums may round a number the other way."""
    for answer, other in zip(answers, expected, strict=True):
        assert (answer.dtype, answer.shape) == (np.float32, other.shape)
        assert np.isclose(answer, other, atol=0.05, rtol=1e-3).mean() >= 0.9


def compared(name):
    return close if name.endswith("f32") else mostly_close


def test_it_computes_what_the_file_says(name, engine, weights):
    """Every raw number equals ONNX's reference evaluator; with 8-bit layers the shapes do and all is finite."""
    images = NOISE[:1, ..., ::-1].transpose(0, 3, 1, 2) / np.float32(255)
    with np.errstate(all="ignore"):
        expected = ReferenceEvaluator(weights).run(list(ALL), {"images": np.ascontiguousarray(images)})
    answers = engine.run(NOISE[:1], ALL)
    if name.endswith("int8"):
        assert [answer.shape for answer in answers] == [each.shape for each in expected]
        assert all(np.isfinite(answer).all() for answer in answers)
    else:
        compared(name)(answers, expected)


@pytest.mark.parametrize("outputs", SUBSETS)
def test_a_part_alone_is_the_part_of_the_whole(name, engine, outputs):
    """Whatever is left out, the rest does not change, and comes in the order asked for."""
    whole = dict(zip(ALL, engine.run(NOISE[:1], ALL), strict=True))
    compared(name)(engine.run(NOISE[:1], outputs), [whole[output] for output in outputs])


def test_it_tells_the_channels_of_its_outputs(engine):
    """A head has four numbers of a box and a score a class; the density one."""
    assert [engine.channels(name) for name in ALL] == [10, 6, 1]
    with pytest.raises(InferenceError, match="'other'"):
        engine.channels("other")


def test_an_output_that_is_not_there_is_an_inference_error(engine):
    """It fails with a reason, and the engine goes on working."""
    with pytest.raises(InferenceError) as raised:
        engine.run(NOISE[:1], ("people", "other"))
    assert "\n" not in raised.value.reason
    assert engine.run(NOISE[:1], ("fire",))[0].shape == (1, 6, 126)


def test_sides_that_the_network_cannot_take_are_an_inference_error(engine):
    """Sides that are no multiple of 32 fail with a reason, and the engine goes on working."""
    with pytest.raises(InferenceError) as raised:
        engine.run(np.zeros((1, 40, 40, 3), np.uint8), ("people",))
    assert "\n" not in raised.value.reason
    assert engine.run(NOISE[:1], ("fire",))[0].shape == (1, 6, 126)


def test_several_pictures_answer_as_each_alone(name, engine):
    """The first side of an answer is the pictures', in their order."""
    together = engine.run(NOISE, ALL)
    for at in range(len(NOISE)):
        compared(name)([answer[at : at + 1] for answer in together], engine.run(NOISE[at : at + 1], ALL))


def test_an_answer_is_the_callers_own(engine):
    """The next look overwrites nothing."""
    first = engine.run(NOISE[:1], ALL)
    kept = [answer.copy() for answer in first]
    engine.run(255 - NOISE[:1], ALL)
    for answer, before in zip(first, kept, strict=True):
        np.testing.assert_array_equal(answer, before)
        assert answer.flags.writeable


def test_its_canvas_takes_pictures(engine):
    """Memory of the right shape, to be written to, which it then reads."""
    canvas = engine.canvas(1, 64, 96)
    assert (canvas.shape, canvas.dtype) == ((1, 64, 96, 3), np.uint8)
    canvas[:] = NOISE[:1]
    close(engine.run(canvas, ("fire",)), engine.run(NOISE[:1], ("fire",)))


def test_threads_at_once_get_what_one_gets(engine):
    """Four threads with two sizes and different parts do not mix."""
    jobs = [
        (NOISE[:1], ALL),
        (NOISE[1:2], ("fire",)),
        (np.ascontiguousarray(NOISE[2:].transpose(0, 2, 1, 3)), ALL),
        (NOISE[2:], ("people", "density")),
    ]
    alone = [engine.run(*job) for job in jobs]
    wrong = []

    def look(at):
        for _ in range(4):
            try:
                close(engine.run(*jobs[at]), alone[at])
            except (AssertionError, InferenceError) as error:
                wrong.append(error)

    threads = [threading.Thread(target=look, args=(at,)) for at in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not wrong


def test_its_phrases_say_what_it_is(name, engine):
    """Device, precision and batch are told; a batch is no gain on a CPU."""
    assert engine.precision == name.partition(" ")[2]
    if "CPU" in engine.device:
        assert engine.batch == 1
        assert f"on CPU, {engine.precision}, 2 single-thread streams" in engine.device
    else:
        assert f"f16, batches of up to {engine.batch}" in engine.device


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x08\x12\x09gridwatch"])
def test_what_is_no_network_is_an_inference_error(float_name, content):
    """Rubbish is told in one line."""
    with pytest.raises(InferenceError) as raised:
        opened(float_name, content).channels("people")
    assert "\n" not in raised.value.reason


def test_a_truncated_network_is_an_inference_error(float_name, weights):
    """A file that ends too early never answers."""
    with pytest.raises(InferenceError) as raised:
        opened(float_name, weights[: len(weights) // 2]).channels("people")
    assert "\n" not in raised.value.reason


def test_a_network_of_another_input_is_an_inference_error(float_name, small_network):
    """What takes something else than `images` is not ours."""
    with pytest.raises(InferenceError):
        opened(float_name, small_network(given="pixels"))


def test_a_file_that_allows_one_size_only_says_so(float_name, small_network):
    """Such a network tells its channels and answers at its own size."""
    engine = opened(float_name, small_network(batch=1, size=(64, 128)))
    assert engine.fixed_size == (64, 128)
    assert [engine.channels(name) for name in ("people", "fire")] == [10, 6]
    (answer,) = engine.run(np.zeros((1, 64, 128, 3), np.uint8), ("fire",))
    assert answer.shape[:2] == (1, 6)
    assert opened(float_name, small_network()).fixed_size is None


def test_an_operation_that_nobody_knows_is_an_inference_error(float_name, small_network):
    """A network of the future is told in one line, at the latest when its outputs are compared."""
    with pytest.raises(InferenceError) as raised:
        opened(float_name, small_network(kind="Divination")).channels("people")
    assert "\n" not in raised.value.reason


def overlap(a, b):
    """Return IoU of boxes (N, 4) with (M, 4)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return both / (sizes[0][:, None] + sizes[1][None] - both)


def scenes(yard):
    """Return pictures with something in them: flames, smoke, a street with people, and the same upright and small."""
    street = cv2.imread(str(ASSETS / "bus.jpg"))
    assert street is not None
    return [
        yard,
        np.ascontiguousarray(yard[:, ::-1]),
        street,
        street[200:680],
        cv2.resize(street, (240, 320)),
    ]


@pytest.fixture(scope="module")
def seen_by_openvino(catalogue, yard):
    network = Network.open(
        threads=1, settings=NetworkSettings(asked=Asked("openvino", "f32")), catalogue=catalogue
    )
    return [network.detect(Picture(scene)) for scene in scenes(yard)]


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("torch", marks=pytest.mark.torch)])
def test_all_back_ends_see_the_same_boxes(backend, catalogue, yard, seen_by_openvino):
    """At the same precision boxes match one to one: mean IoU at least 0.98, the same classes, scores and persons."""
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="needs the extra onnxruntime")
    settings = NetworkSettings(asked=Asked(backend, "f32", "cpu"))
    network = Network.open(threads=1, settings=settings, catalogue=catalogue)
    overlaps = []
    for scene, expected in zip(scenes(yard), seen_by_openvino, strict=True):
        seen = network.detect(Picture(scene))
        sure = expected.where(expected.confidence >= 0.11)  # at the threshold itself a rounding may decide
        ious = overlap(sure.xyxy, seen.xyxy) * (sure.class_id[:, None] == seen.class_id[None])
        assert abs(len(seen) - len(expected)) <= 1
        overlaps += ious.max(axis=1).tolist()
        np.testing.assert_allclose(seen.confidence[ious.argmax(axis=1)], sure.confidence, atol=1e-3)
        assert seen.density.sum() == pytest.approx(expected.density.sum(), rel=1e-3, abs=1e-2)
    assert len(overlaps) >= 10
    assert np.mean(overlaps) >= LEAST_IOU


def test_eight_bits_see_most_of_what_single_precision_sees(catalogue, yard, seen_by_openvino):
    """What is seen surely is seen with 8-bit layers too, at nearly the same place."""
    settings = NetworkSettings(asked=Asked("openvino", "int8"))
    network = Network.open(threads=1, settings=settings, catalogue=catalogue)
    found = []
    for scene, expected in zip(scenes(yard), seen_by_openvino, strict=True):
        seen, sure = (
            network.detect(Picture(scene), parts=frozenset({Part.PEOPLE})),
            expected.where((expected.confidence >= 0.6) & (expected.class_id < 6)),
        )
        ious = overlap(sure.xyxy, seen.xyxy) * (sure.class_id[:, None] == seen.class_id[None])
        found += ious.max(axis=1, initial=0).tolist()
    assert len(found) >= 3
    assert np.mean(np.array(found) >= 0.8) >= 0.8
