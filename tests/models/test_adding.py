# SPDX-License-Identifier: AGPL-3.0-or-later
"""A user's own detector on its way into a catalogue of the user's own, and everything that keeps it out."""

import fcntl
import hashlib
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gridwatch.core.detections import ObjectClass, Part
from models.adding import AddRequest, add
from models.backends.choose import Asked
from models.catalogue import OWN, Catalogue
from models.errors import WeightsError
from models.network import Network, NetworkSettings
from models.pictures import Picture

NAMES = ("person", "auto", "cat", "van")
GREY = np.full((90, 160, 3), 114, np.uint8)


def notes_of(classes, **changes):
    """Return what Ultralytics writes into a file's notes."""
    notes = {
        "description": "Ultralytics YOLOv8n model trained on yard.yaml",
        "version": "8.4.190",
        "license": "AGPL-3.0 License",
        "stride": "32",
        "task": "detect",
        "imgsz": "[160, 160]",
        "names": str(dict(enumerate(classes))),
    }
    return {key: value for key, value in {**notes, **changes}.items() if value is not None}


def detector(
    classes=NAMES, *, sides=("batch", 3, "height", "width"), scale=100.0, sharp=True, spoil=None, **notes
):
    """Return an ONNX file with an Ultralytics detector's input, output and notes; every cell of 32 px is an anchor.

    Its boxes grow with the picture's brightness, and so do all scores.

    Args:
        classes: its classes.
        sides: of the input.
        scale: of the boxes; 100 makes pixels of them.
        sharp: whether scores go through a sigmoid.
        spoil: what the answer is divided by, to make it infinite.
        notes: changes to the notes; None leaves one out.
    """
    count = len(classes)
    weights = np.full((4 + count, 3, 32, 32), 1e-3, np.float32)
    constants = {
        "weights": weights,
        "flat": np.array([0, 0, notes.pop("anchors", -1)]),
        "parts": np.array([4, count]),
        "scale": np.float32(scale),
        "spoil": np.float32(1 if spoil is None else spoil),
    }
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["cells"], strides=[32, 32]),
        helper.make_node("Reshape", ["cells", "flat"], ["rows"]),
        helper.make_node("Split", ["rows", "parts"], ["sides", "raw"], axis=1),
        helper.make_node("Mul", ["sides", "scale"], ["boxes"]),
        helper.make_node("Sigmoid" if sharp else "Exp", ["raw"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["both"], axis=1),
        helper.make_node("Div", ["both", "spoil"], ["output0"]),
    ]
    element = notes.pop("element", TensorProto.FLOAT)
    out_sides = notes.pop("out_sides", ("batch", 4 + count, "anchors"))
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, out_sides)]
    if notes.pop("two", False):
        outputs.append(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info(notes.pop("given", "images"), element, sides)],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in notes_of(classes, **notes).items():
        model.metadata_props.add(key=key, value=value)
    return model.SerializeToString()


@pytest.fixture
def given(tmp_path):
    """Return a function that makes the request for a file of these bytes."""

    def make(content=None, file="yard.onnx", **changes):
        path = tmp_path / file
        path.write_bytes(detector() if content is None else content)
        changes.setdefault("classes", {"auto": "car"})
        return AddRequest(path, tmp_path / "own/catalogue.yaml", **changes)

    return make


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} | {
        path: None for path in folder.rglob("*") if path.is_dir()
    }


def test_an_added_detector_is_a_network_like_any_other(given):
    """It is listed, verified and opened from its catalogue, and tells the classes that it was said to tell."""
    added = add(given())
    catalogue = Catalogue.load(given().catalogue)
    entry = catalogue.entry()
    assert entry == added.entry
    assert entry.name == catalogue.default == "yard"
    catalogue.verify(entry)
    assert entry.heads[0].classes == ["person", "car", None, None]
    assert added.taken == {"person": "person", "auto": "car"}
    assert added.unused == ("cat", "van")
    assert entry.input.long_side_px == 160
    assert entry.licence == "AGPL-3.0 License"
    for backend in ("openvino", "onnxruntime"):
        settings = NetworkSettings(asked=Asked(backend, "f32"))
        network = Network.open(threads=1, settings=settings, catalogue=catalogue)
        assert network.parts == {Part.PEOPLE}
        seen = network.detect(Picture(GREY), parts=frozenset({Part.PEOPLE}))
        assert set(seen.class_id.tolist()) == {ObjectClass.PERSON}  # the first of two equal scores
        assert seen.confidence[0] == pytest.approx(1 / (1 + np.exp(-114 / 255 * 3.072)), abs=1e-3)


def test_its_card_says_what_is_known_and_that_nothing_was_measured(given, tmp_path):
    """The card names file, hash, licence and classes; a stranger's text cannot leave its line or its cell."""
    evil = detector(("person", "a|b\n# c\x1b[2J"), description="x\x1b]0;owned\x07\n\n# heading | <b>")
    added = add(given(evil, classes={}, licence="bought", source="our yard"))
    text = (tmp_path / "own" / added.entry.card).read_text("utf-8")
    assert "Nothing was measured" in text
    assert hashlib.sha256(evil).hexdigest() in text
    assert "| licence | bought |" in text
    assert "| source | our yard |" in text
    assert "\x1b" not in text
    assert "\n# heading" not in text
    assert text.count("\n# ") == 0
    assert added.unused == ("a|b # c [2J",)


def test_equal_names_are_taken_whatever_their_case(given):
    """A class with one of our names is that class; one that should not be taken can be left out."""
    names = ("Person", "BUS", "truck", "dog")
    added = add(given(detector(names), classes={"truck": None}))
    assert added.entry.heads[0].classes == ["person", "bus", None, None]


@pytest.mark.parametrize("side_px", [64, 96])
def test_a_network_for_small_pictures_can_be_added(given, side_px):
    """That its own input is no larger than the one it is first tried on is no fault of its."""
    added = add(given(detector(imgsz=f"[{side_px}, {side_px}]")))
    assert added.entry.input.long_side_px == side_px


def test_the_hash_is_compared_and_recorded(given, tmp_path):
    """The right hash passes in either case of letters; a wrong one is said with the one found, and nothing is made."""
    content = detector()
    sha256 = hashlib.sha256(content).hexdigest()
    with pytest.raises(WeightsError, match=f"its SHA-256 is {sha256}, expected {'0' * 64}"):
        add(given(content, sha256="0" * 64))
    assert not (tmp_path / "own").exists()
    added = add(given(content, sha256=sha256.upper()))
    assert added.sha256 == added.entry.forms.onnx.sha256 == sha256


WHOLE = detector()
END_TO_END = detector(out_sides=("batch", 300, 6))
BAD_FILES = {
    "nothing in it": (b"", "holds no ONNX graph"),
    "a text": (b"weights, honestly\n" * 40, "no ONNX model, or was cut short"),
    "cut short": (WHOLE[: len(WHOLE) // 2], "no ONNX model, or was cut short"),
    "a classifier": (detector(task="classify"), "its task is 'classify', not 'detect'"),
    "a segmenter": (detector(two=True), "2 outputs"),
    "no notes": (detector(task=None), "does not say its task and classes"),
    "a fixed size": (detector(sides=(1, 3, 640, 640)), r"fixed size \(1 × 3 × 640 × 640\).*dynamic=True"),
    "a fixed batch": (detector(sides=(1, 3, "h", "w")), "fixed size"),
    "grey pictures": (detector(sides=("n", 1, "h", "w")), "not a colour picture"),
    "another input": (detector(given="input"), "its input is not 'images' alone"),
    "half precision": (detector(element=TensorProto.FLOAT16), "not single precision.*half=False"),
    "chosen boxes": (END_TO_END, "boxes that were chosen already.*nms=None"),
    "chosen boxes, said": (detector(end2end="True"), "boxes that were chosen already"),
    "rows for other classes": (detector(names=str({0: "person"})), "its output has 8 rows where 1 classes"),
    "other rows than it says": (
        detector(names=str({0: "person"}), out_sides=("batch", "rows", "anchors")),
        r"has the shape \(1, 8, 6\), expected \(1, 5, any\)",
    ),
    "a coarser grid": (detector(stride="64"), "its stride is 64"),
    "an endless stride": (detector(stride="9" * 5000), "its stride is 999"),
    "no stride": (detector(stride="0"), "its stride is 0"),
    "endless class numbers": (detector(names=f"{{0x{'f' * 5000}: 'person'}}"), "no numbered list"),
    "endless class names": (detector(names=f"{{0: 0x{'f' * 5000}}}"), "names that are no text"),
    "a nested size": (detector(imgsz="[" * 64), r"imgsz\) cannot be read"),
    "unreadable classes": (detector(names="__import__('os')"), "list of classes cannot be read"),
    "unnumbered classes": (detector(names="{1: 'person'}"), "no numbered list"),
    "an unreadable size": (detector(imgsz="[a]"), r"imgsz\) cannot be read"),
    "an odd size": (detector(imgsz="[100, 100]"), r"imgsz\) is 100"),
    "none of our classes": (detector(("cat", "face")), "none of its classes is one of ours.*'cat', 'face'"),
    "answers that are no numbers": (detector(spoil=0), "not finite"),
    "raw scores": (detector(sharp=False), "not between 0 and 1"),
    "anchors of one size": (detector(anchors=15), "does not work as it should"),
    "boxes as shares": (detector(scale=0.1), "not in pixels"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_is_no_detector_of_ours_is_refused(given, tmp_path, name):
    """Each kind of wrong file is named in one sentence, and no file and no folder stays behind."""
    content, said = BAD_FILES[name]
    request = given(content, classes={})
    before = everything(tmp_path)
    with pytest.raises(WeightsError, match=said) as raised:
        add(request)
    assert str(raised.value).startswith(str(request.file))
    assert "\n" not in str(raised.value)
    assert everything(tmp_path) == before


WRONG_CLASSES = {
    "unknown to the file": (
        {"lorry": "truck"},
        "has no class 'lorry'; it has 'person', 'auto', 'cat', 'van'",
    ),
    "unknown to us": ({"cat": "animal"}, "'animal' is none of person"),
    "two columns for one": ({"auto": "car", "van": "car"}, "'auto', 'van' would all be 'car'.*van=none"),
    "nothing left": ({"person": None}, "none of its classes"),
}


@pytest.mark.parametrize("name", WRONG_CLASSES)
def test_a_wrong_meaning_of_classes_is_refused(given, tmp_path, name):
    """What is said of the classes must fit the file and ours, each of ours once."""
    classes, said = WRONG_CLASSES[name]
    with pytest.raises(WeightsError, match=said):
        add(given(classes=classes))
    assert not (tmp_path / "own").exists()


WRONG_REQUESTS = {
    "a pickle": ({"file": "yard.pt"}, "a .pt file is a pickle"),
    "another kind of file": ({"file": "yard.zip"}, "must be an .onnx or a .pt file"),
    "a name with a slash": ({"name": "../yard"}, "cannot be called '../yard'"),
    "a name in capitals": ({"name": "Yard"}, "cannot be called 'Yard'"),
    "a name of Chinese": ({"file": "院子.onnx"}, "cannot be called '院子'.*--name"),
}


@pytest.mark.parametrize("name", WRONG_REQUESTS)
def test_a_wrong_request_is_refused(given, tmp_path, name):
    """Pickles without the flag, other files and impossible names end before anything is read."""
    changes, said = WRONG_REQUESTS[name]
    with pytest.raises(WeightsError, match=said):
        add(given(**changes))
    assert not (tmp_path / "own").exists()


def test_a_pickle_needs_torch(given, tmp_path, monkeypatch):
    """On the light installation even the flag does not help; it says what to install."""
    monkeypatch.setattr("models.converting.find_spec", lambda _: None)
    with pytest.raises(
        WeightsError, match="needs torch, ultralytics, onnx: install gridwatch with the extra"
    ):
        add(given(file="yard.pt", allow_pickle=True))
    assert not (tmp_path / "own").exists()


def test_missing_files_and_wrong_catalogues_are_named(given, tmp_path):
    """A missing file, a folder that cannot be made, a damaged catalogue and the committed one are each refused."""
    good = given()
    with pytest.raises(WeightsError, match="No such file"):
        add(AddRequest(tmp_path / "none.onnx", good.catalogue))
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(WeightsError, match="folder cannot be written: Not a directory"):
        add(AddRequest(good.file, tmp_path / "file/catalogue.yaml", classes=good.classes))
    with pytest.raises(WeightsError, match="comes with gridwatch is not changed"):
        add(AddRequest(good.file, OWN))
    with pytest.raises(WeightsError, match=r"a catalogue is a \.yaml file"):
        add(AddRequest(good.file, tmp_path / "own"))
    damaged = tmp_path / "damaged.yaml"
    damaged.write_text("networks: [", "utf-8")
    with pytest.raises(WeightsError, match="not valid YAML"):
        add(AddRequest(good.file, damaged))
    assert damaged.read_text("utf-8") == "networks: ["


def test_a_name_is_given_twice_only_on_purpose(given, tmp_path):
    """A second network of a name is refused; with `replace` it takes the first one's place, whose files go."""
    first = add(given())
    add(given(file="gate.onnx"))
    assert Catalogue.load(given().catalogue).default == "yard"
    before = everything(tmp_path / "own")
    other = detector(("person", "auto"))
    with pytest.raises(WeightsError, match="'yard' is there already; --replace"):
        add(given(other))
    assert everything(tmp_path / "own") == before
    second = add(given(other, replace=True))
    catalogue = Catalogue.load(given().catalogue)
    assert [entry.name for entry in catalogue.entries] == ["yard", "gate"]
    assert catalogue.entry("yard") == second.entry
    for entry in catalogue.entries:
        catalogue.verify(entry)
    assert not (tmp_path / "own" / first.entry.forms.onnx.file).exists()
    assert len(list((tmp_path / "own").iterdir())) == 5


def test_a_failure_while_writing_leaves_the_old_catalogue(given, tmp_path):
    """When a file cannot be put into its place, the old catalogue holds and what was new is taken away."""
    add(given(file="gate.onnx"))
    stem = f"yard-{hashlib.sha256(detector()).hexdigest()[:12]}"
    (tmp_path / "own" / f"{stem}.md").mkdir()
    before = everything(tmp_path / "own")
    with pytest.raises(WeightsError, match="cannot be written: Is a directory"):
        add(given())
    assert everything(tmp_path / "own") == before


def test_who_is_interrupted_leaves_nothing(given, tmp_path):
    """Ctrl-C just before the files are moved leaves neither files nor a folder."""

    def interrupt(step):
        if step == "writing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(given(), interrupt)
    assert not (tmp_path / "own").exists()


def test_two_at_once_do_not_lose_a_network(given, tmp_path):
    """While one process writes a catalogue another is told to wait; what a killed one left is taken away."""
    add(given(file="gate.onnx"))
    left = tmp_path / "own/.gridwatch-adding-killed"
    left.mkdir()
    (left / "half.onnx").write_bytes(b"half")
    number = os.open(tmp_path / "own", os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        with pytest.raises(WeightsError, match="another command is writing here"):
            add(given())
    finally:
        os.close(number)
    add(given())
    assert not left.exists()
    assert [entry.name for entry in Catalogue.load(given().catalogue).entries] == ["gate", "yard"]


def test_the_file_built_here_is_valid():
    """The detector of these tests is an ONNX model by the reference checker."""
    onnx.checker.check_model(onnx.load_model_from_string(detector()))
