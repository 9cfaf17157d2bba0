# SPDX-License-Identifier: AGPL-3.0-or-later
import threading

import numpy as np
import pytest

from gridwatch.core.detections import Part, Unknown
from gridwatch.core.errors import GridwatchError, InputError
from models.backends.choose import Asked
from models.catalogue import DensitySpec, HeadSpec
from models.errors import InferenceError, PictureError, WeightsError
from models.network import EVERYTHING, Network, NetworkSettings
from models.pictures import Picture as ArrayPicture

PEOPLE, FIRE = frozenset({Part.PEOPLE}), frozenset({Part.FIRE})


def same(a, b, tolerance=0.0):
    np.testing.assert_allclose(a.xyxy, b.xyxy, atol=tolerance)
    np.testing.assert_allclose(a.confidence, b.confidence, atol=tolerance)
    np.testing.assert_array_equal(a.class_id, b.class_id)


def test_the_burning_yard_is_seen_as_the_reference_sees_it(catalogue, golden, yard, as_frame):
    """Boxes, scores and persons are those of ONNX's reference evaluator and plain loops (make_golden.py)."""
    network = Network.open(threads=1, settings=NetworkSettings(asked=Asked("openvino", "f32")))
    assert golden["weights"] == catalogue.entry().forms.onnx.sha256, "run tests/models/make_golden.py"
    seen = network.detect(as_frame(yard))
    strong = seen.where(seen.confidence >= 0.3)
    np.testing.assert_array_equal(strong.class_id, golden["class_id"])
    np.testing.assert_allclose(strong.confidence, golden["confidence"], atol=1e-3)
    np.testing.assert_allclose(strong.xyxy, golden["xyxy"], atol=1e-3)
    assert seen.density.sum() == pytest.approx(golden["persons"], abs=5e-3)


def test_an_answer_has_the_shapes_that_core_promises(network, yard, as_frame):
    """Arrays are typed, sorted and normalised; change is unknown; the density covers exactly the picture."""
    seen = network.detect(as_frame(yard))
    assert len(seen) > 0
    assert (seen.xyxy.dtype, seen.confidence.dtype, seen.class_id.dtype) == (np.float32, np.float32, np.int64)
    assert (np.diff(seen.confidence) <= 0).all()
    assert ((seen.xyxy >= 0) & (seen.xyxy <= 1)).all()
    assert np.isnan(seen.change).all()
    assert seen.change.shape == seen.confidence.shape
    assert seen.density.shape == (45, 80)
    assert seen.density.dtype == np.float32


def test_each_part_alone_says_what_the_whole_says_of_it(network, yard, as_frame):
    """What is not asked for is not answered, and nothing else changes."""
    whole = network.detect(as_frame(yard))
    for parts in (PEOPLE, FIRE, PEOPLE | FIRE):
        cut = network.detect(as_frame(yard), parts=parts)
        asked = np.isin(
            whole.class_id, [kind for kind in range(8) if (Part.FIRE if kind > 5 else Part.PEOPLE) in parts]
        )
        assert cut.density is None
        same(cut, whole.where(asked), 1e-5)
    crowd = network.detect(as_frame(yard), parts=frozenset({Part.CROWD}))
    assert len(crowd) == 0
    np.testing.assert_allclose(crowd.density, whole.density, atol=1e-5)


def test_who_asks_for_nothing_costs_nothing(catalogue, yard, as_frame):
    """A camera without zones does not run the network."""
    network = Network(catalogue.entry(), _Engine({}), NetworkSettings())
    seen = network.detect(as_frame(yard), parts=frozenset())
    assert (len(seen), seen.density) == (0, None)


def test_the_same_pixels_at_another_size_are_seen_the_same(network, yard, as_frame):
    """A picture three times as large, of the same pixels, gives the same normalised boxes, however it is scaled."""
    large = yard.repeat(3, axis=0).repeat(3, axis=1)
    expected = network.detect(as_frame(yard))
    same(network.detect(as_frame(large)), expected, 1e-3)
    same(network.detect(ArrayPicture(large)), expected, 1e-3)


def test_two_threads_at_once_get_what_one_gets(network, yard, as_frame):
    """Looks of two threads do not mix, in sizes and parts."""
    frames = [as_frame(yard), as_frame(np.ascontiguousarray(yard[:, ::-1]))]
    alone = [network.detect(frame) for frame in frames]
    answers = {0: [], 1: []}

    def look(mine):
        for _ in range(6):
            answers[mine].append(network.detect(frames[mine]))

    threads = [threading.Thread(target=look, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for mine, seen in answers.items():
        assert len(seen) == 6
        for each in seen:
            same(each, alone[mine])
            np.testing.assert_array_equal(each.density, alone[mine].density)


def test_several_frames_at_once_get_what_each_gets_alone(network, yard, as_frame):
    """A batch of different pictures and formats of one input size answers in order."""
    frames = [as_frame(yard), as_frame(yard[40:224]), as_frame(np.ascontiguousarray(yard[::-1]))]
    assert len({network.input_size(frame.width, frame.height) for frame in frames}) == 1
    network._canvases._batch = len(frames)  # as for an engine that likes batches
    network._canvases._local.__dict__.clear()
    for seen, frame in zip(network.detect_all(frames), frames, strict=True):
        same(seen, network.detect(frame), 1e-6)


def test_the_threshold_is_a_setting(network, catalogue, yard, as_frame):
    """Boxes below the least confidence are dropped, the others stay."""
    seen = network.detect(as_frame(yard))
    least = float(seen.confidence[0]) - 1e-4
    strict = Network.open(
        threads=1,
        settings=NetworkSettings(least_confidence=least, asked=Asked("openvino", "f32")),
        catalogue=catalogue,
    )
    same(strict.detect(as_frame(yard)), seen.where(seen.confidence >= least), 1e-6)


def test_the_start_line_says_what_runs_where_and_why(network):
    """One line names network, weights, device, precision, threads, size and the reason."""
    line = network.describe()
    assert line.startswith(f"network gridwatch ({network.sha256[:12]}) on OpenVINO ")
    assert "CPU, " in line
    assert line.endswith("2 single-thread streams, 640 px (the first that fits)")
    assert "\n" not in line


class _Engine:
    device, precision, batch, fixed_size = "a test", "f32", 1, None

    def __init__(self, answers):
        self._answers, self.asked = answers, []

    def canvas(self, batch, height, width):
        return np.empty((batch, height, width, 3), np.uint8)

    def prepare(self, height, width, outputs):
        self.asked.append((height, width, outputs))

    def run(self, pictures, outputs):
        return tuple(self._answers[name][None] for name in outputs)


def answers(**changed):
    people = np.zeros((10, 20), np.float32)
    people[:4] = np.float32([100, 100, 40, 20])[:, None]
    fire = np.zeros((6, 20), np.float32)
    return {"people": people, "fire": fire, "density": np.zeros((1, 48, 80), np.float32)} | changed


@pytest.mark.parametrize("broken", ["people", "fire", "density"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_is_no_answer(catalogue, yard, as_frame, broken, value):
    """Numbers that are none make the look unknown; they are never "nothing there"."""
    given = answers()
    given[broken][..., -1] = value
    network = Network(catalogue.entry(), _Engine(given), NetworkSettings())
    with pytest.raises(InferenceError, match="not finite") as raised:
        network.detect(as_frame(yard))
    assert isinstance(raised.value, GridwatchError)
    (seen,) = network.detect_all([as_frame(yard)])
    assert seen == Unknown(raised.value.reason)


@pytest.mark.parametrize("shape", [(9, 20), (84, 20), (10,)])
def test_an_answer_of_another_shape_is_no_answer(catalogue, yard, as_frame, shape):
    """Columns are never taken for classes that they are not."""
    network = Network(
        catalogue.entry(), _Engine(answers(people=np.zeros(shape, np.float32))), NetworkSettings()
    )
    with pytest.raises(InferenceError, match="another shape"):
        network.detect(as_frame(yard))


def test_what_lies_in_the_padding_is_no_detection(catalogue, yard, as_frame):
    """A box below the picture's lower edge is dropped."""
    given = answers()
    given["people"][:4, 0] = 100, 375, 40, 20
    given["people"][:4, 1] = 300, 100, 40, 20
    given["people"][4, :2] = 0.9
    network = Network(catalogue.entry(), _Engine(given), NetworkSettings())
    seen = network.detect(as_frame(yard))
    np.testing.assert_allclose(seen.xyxy, [[280 / 640, 90 / 360, 320 / 640, 110 / 360]], rtol=1e-6)


def test_boxes_of_a_portrait_picture_lie_where_they_were_found(catalogue, as_frame):
    """An upright picture lies upright in its input, and boxes come back in its own coordinates."""
    given = answers(density=np.zeros((1, 80, 48), np.float32))
    given["people"][:4, 0] = 180, 320, 36, 64
    given["people"][4, 0] = 0.9
    network = Network(catalogue.entry(), _Engine(given), NetworkSettings())
    seen = network.detect(as_frame(np.zeros((1280, 720, 3), np.uint8)))
    np.testing.assert_allclose(seen.xyxy, [[0.45, 0.45, 0.55, 0.55]], rtol=1e-6)
    assert seen.density.shape == (80, 45)
    assert network.input_size(720, 1280) == (384, 640)


def test_preparing_asks_the_engine_for_the_very_outputs_and_size(catalogue):
    """What is made ready is what will run."""
    engine = _Engine({})
    network = Network(catalogue.entry(), engine, NetworkSettings())
    network.prepare(1920, 1080, parts=FIRE)
    network.prepare(2048, 1536, parts=PEOPLE | {Part.CROWD})
    network.prepare(1920, 1080, parts=frozenset())
    assert engine.asked == [(384, 640, ("fire",)), (480, 640, ("people", "density"))]


def test_a_users_network_answers_with_its_own_columns(catalogue, yard, as_frame):
    """Eighty columns of which six are ours: those are read, the others mean nothing, and no fire is claimed to be absent."""
    names = [None] * 80
    names[0], names[2], names[7] = "person", "car", "truck"
    head = HeadSpec(output="output0", classes=names)
    entry = catalogue.entry().model_copy(update={"heads": [head], "density": None})
    raw = np.zeros((84, 5), np.float32)
    raw[:4] = np.float32([[100, 300, 500, 100, 300], [100] * 5, [40] * 5, [20] * 5])
    raw[4 + 7, 0], raw[4 + 2, 1], raw[4 + 16, 2] = 0.9, 0.8, 0.99
    network = Network(entry, _Engine({"output0": raw}), NetworkSettings())
    assert network.parts == PEOPLE
    assert network.detect(as_frame(yard), parts=PEOPLE | {Part.CROWD}).class_id.tolist() == [5, 2]
    with pytest.raises(InferenceError, match="does not tell fire"):
        network.detect(as_frame(yard), parts=EVERYTHING)


def test_a_network_of_one_size_gets_every_picture_in_it(catalogue, as_frame):
    """Users' files often allow one input only: pictures of all formats are laid into it, and boxes come back right."""
    given = answers(density=np.ones((1, 40, 80), np.float32))
    given["people"][:4, 0] = 40, 160, 16, 64
    given["people"][4, 0] = 0.9
    engine = _Engine(given)
    engine.fixed_size = 320, 640
    network = Network(catalogue.entry(), engine, NetworkSettings())
    seen = network.detect(as_frame(np.zeros((1280, 320, 3), np.uint8)))
    np.testing.assert_allclose(seen.xyxy, [[0.4, 0.4, 0.6, 0.6]], atol=1e-6)
    assert seen.density.shape == (40, 10)
    assert network.input_size(320, 1280) == network.input_size(1920, 1080) == (640, 320)
    assert "640×320 px only" in network.describe()


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"people": 10}, "output 'fire'"),
        ({"people": 84, "fire": 6}, "'people' has 84 channels where the catalogue says 10"),
        ({"people": 10, "fire": 9}, "'fire' has 9 channels where the catalogue says 6"),
        ({"people": 10, "fire": 6, "density": 2}, "'density' has 2 channels where the catalogue says 1"),
    ],
)
@pytest.mark.parametrize(
    "backend", ["openvino", "onnxruntime", pytest.param("torch", marks=pytest.mark.torch)]
)
def test_weights_of_another_network_are_wrong_input(
    tmp_path, catalogue, small_network, outputs, says, backend
):
    """A file with the right hash but other outputs or other classes is named at the start, not at the first look."""
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    own = catalogue.entry()
    content = small_network(outputs)
    changed = own.model_copy(update={"forms": _forms(own, tmp_path, content)})
    if "density" not in outputs:
        changed = changed.model_copy(update={"density": None})
    with pytest.raises(WeightsError, match=says) as raised:
        Network.open(
            threads=1, settings=NetworkSettings(asked=Asked(backend)), catalogue=_Catalogue(tmp_path, changed)
        )
    assert isinstance(raised.value, InputError)
    assert raised.value.file == tmp_path / "small.onnx"


def _forms(own, folder, content):
    import hashlib

    (folder / "small.onnx").write_bytes(content)
    onnx = own.forms.onnx.model_copy(
        update={"file": "small.onnx", "sha256": hashlib.sha256(content).hexdigest()}
    )
    return own.forms.model_copy(update={"onnx": onnx, "openvino_int8": None})


def _Catalogue(folder, entry):
    from models.catalogue import OWN, Catalogue

    catalogue = Catalogue.load(OWN)
    catalogue.file = folder / "catalogue.yaml"
    catalogue.entries = (entry,)
    return catalogue


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((0, 0), np.uint8),
        ((4, 4, 2), np.uint8),
        ((4, 4, 3), np.float32),
        ((4, 4, 3), np.uint16),
        ((4, 4, 3, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(network, shape, dtype):
    """Neither a guess nor a crash."""
    with pytest.raises(PictureError):
        network.detect(_Odd(np.zeros(shape, dtype)))


class _Odd:
    """A frame whose view is not what a frame promises."""

    width, height = 640, 360

    def __init__(self, pixels):
        self._pixels = pixels

    def view(self, _width, _height):
        return self._pixels


def test_grey_and_alpha_pictures_are_seen_as_their_colours(network, yard):
    """A grey picture is one whose planes are equal; alpha says nothing."""
    grey = yard[..., 1]
    expected = network.detect(ArrayPicture(np.repeat(grey[..., None], 3, axis=2)))
    same(network.detect(ArrayPicture(grey)), expected)
    same(network.detect(ArrayPicture(grey[..., None])), expected)
    with_alpha = np.dstack([yard, np.zeros(yard.shape[:2], np.uint8)])
    same(network.detect(ArrayPicture(with_alpha)), network.detect(ArrayPicture(yard)))


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (15, 16)])
def test_a_picture_of_a_pixel_shows_nothing(network, size):
    """What is too small to show anything is refused: enlarged it is an even surface, in which this network saw smoke."""
    with pytest.raises(PictureError, match="shows nothing"):
        network.detect(ArrayPicture(np.full((*size, 3), 255, np.uint8)))
    assert network.detect(ArrayPicture(np.full((16, 28, 3), 90, np.uint8))).density.shape[1] == 80


def test_a_density_of_another_name_is_read(catalogue, yard, as_frame):
    """Names of outputs come from the catalogue alone."""
    entry = catalogue.entry().model_copy(update={"density": DensitySpec(output="heads", cell_px=8)})
    given = answers(heads=np.ones((1, 48, 80), np.float32))
    seen = Network(entry, _Engine(given), NetworkSettings()).detect(as_frame(yard))
    assert seen.density.sum() == 45 * 80
