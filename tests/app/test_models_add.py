# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models add` and `export` as commands: what they print, how they end, and that the result runs."""

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gridwatch.app.cli import main
from gridwatch.app.engine import open_network
from gridwatch.app.models_add import parse_classes
from gridwatch.app.settings import load_settings
from gridwatch.core.errors import InputError
from models.pictures import Picture


@pytest.fixture
def file(tmp_path):
    """Return an Ultralytics detector's ONNX file with one class, `man`, that it sees in every cell."""
    constants = {
        "weights": np.full((5, 3, 32, 32), 1e-3, np.float32),
        "flat": np.array([0, 0, -1]),
        "parts": np.array([4, 1]),
        "scale": np.float32(100),
    }
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["cells"], strides=[32, 32]),
        helper.make_node("Reshape", ["cells", "flat"], ["rows"]),
        helper.make_node("Split", ["rows", "parts"], ["sides", "raw"], axis=1),
        helper.make_node("Mul", ["sides", "scale"], ["boxes"]),
        helper.make_node("Sigmoid", ["raw"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["b", 5, "n"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for key, value in {"task": "detect", "names": "{0: 'man'}", "imgsz": "[160, 160]"}.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(tmp_path / "gate.onnx"))
    return tmp_path / "gate.onnx"


@pytest.fixture
def gridwatch(tmp_path, monkeypatch, capsys):
    """Return a function that runs `gridwatch models …` in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gridwatch", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_a_detector_is_added_listed_verified_exported_and_run(gridwatch, file, tmp_path):
    """From one file to a network that the settings name, with the commands alone."""
    code, out, _ = gridwatch("add", file, "--classes", "man=person", "--licence", "ours")
    assert code == 0
    assert "classes: man as person" in out
    lines = next(line.strip() for line in out.splitlines() if line.strip().startswith("models: {"))
    config = tmp_path / "gridwatch.yaml"
    config.write_text(lines + "\n", "utf-8")
    assert gridwatch("verify", "-c", config)[:2] == (
        0,
        "gate: is what the catalogue says (" + next((tmp_path / "models-own").glob("*.onnx")).name + ")\n",
    )
    code, out, _ = gridwatch("list", "-c", config)
    assert code == 0
    assert "gate *" in out
    assert "person" in out
    assert "openvino f32 on cpu *" in out
    code, out, _ = gridwatch("export", "--catalogue", "models-own/catalogue.yaml", "--to", "other")
    assert code == 0
    config.write_text("models: {catalogue: other/catalogue.yaml, network: gate}\n", "utf-8")
    network = open_network(load_settings(config)[0].models)
    assert len(network.detect(Picture(np.full((90, 160, 3), 114, np.uint8)), parts=network.parts).class_id)


WRONG = {
    "no such file": (["none.onnx"], "none.onnx: cannot be read: No such file or directory\n"),
    "other classes": (["gate.onnx"], "none of its classes is one of ours"),
    "a wrong hash": (
        ["gate.onnx", "--classes", "man=person", "--sha256", "0" * 64],
        "is another file than the one meant",
    ),
    "a pickle": (["gate.pt"], "gate.pt: a .pt file is a pickle"),
    "a bad name": (["gate.onnx", "--name", "Gate"], "cannot be called 'Gate'"),
    "bad classes": (["gate.onnx", "--classes", "man"], "--classes: 'man' is not THEIRS=OURS"),
    "a folder that cannot be made": (
        ["gate.onnx", "--classes", "man=person", "--catalogue", "gate.onnx/catalogue.yaml"],
        "the folder cannot be written: Not a directory",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_ends_in_one_sentence(gridwatch, file, tmp_path, name):
    """Exit code 2, one sentence, and nothing left behind."""
    arguments, said = WRONG[name]
    code, out, err = gridwatch("add", *arguments)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_export_ends_in_one_sentence_too(gridwatch, file, tmp_path):
    """An unknown network and a folder in use are each named."""
    code, _, err = gridwatch("export", "none", "--to", "out")
    assert (code, err.count("\n")) == (2, 1)
    assert "no network is called 'none'" in err
    code, _, err = gridwatch("export", "--to", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert "the folder is not empty" in err
    assert list(tmp_path.iterdir()) == [file]


def test_meanings_are_pairs():
    """`--classes` is a list of THEIRS=OURS; `none` leaves a class out; a class may hold an equals sign."""
    assert parse_classes(None) == {}
    assert parse_classes("auto=car, bike = Bicycle,van=none,a=b=bus") == {
        "auto": "car",
        "bike": "bicycle",
        "van": None,
        "a=b": "bus",
    }
    for text, said in (
        ("auto", "THEIRS=OURS"),
        ("=car", "THEIRS=OURS"),
        ("auto=", "THEIRS=OURS"),
        ("a=car,a=bus", "twice"),
    ):
        with pytest.raises(InputError, match=said):
            parse_classes(text)
