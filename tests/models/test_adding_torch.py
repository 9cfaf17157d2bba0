# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real `.pt`, made here by Ultralytics: converted, added, and made 8-bit."""

import os

import cv2
import numpy as np
import pytest

from gridwatch.core.detections import Part
from models.adding import AddRequest, add
from models.backends.choose import Asked
from models.catalogue import Catalogue
from models.errors import WeightsError
from models.exporting import export
from models.network import Network, NetworkSettings
from models.pictures import Picture

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]
NAMES = {0: "person", 1: "auto", 2: "cat"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a detector and a classifier as Ultralytics saves them."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("pickles")
    for config, file in (("yolov8n.yaml", "yard.pt"), ("yolov8n-cls.yaml", "kind.pt")):
        made = YOLO(config, verbose=False)
        if file == "yard.pt":
            from ultralytics.nn.tasks import DetectionModel

            made.model = DetectionModel("yolov8n.yaml", nc=len(NAMES), verbose=False)
            made.model.names = NAMES
            made.ckpt = {"train_args": {"imgsz": 160, "task": "detect"}}
        made.save(folder / file)
    return folder


@pytest.fixture(scope="module")
def added(folder):
    return add(
        AddRequest(
            folder / "yard.pt", folder / "own/catalogue.yaml", classes={"auto": "car"}, allow_pickle=True
        )
    )


def test_a_pickle_becomes_a_network(folder, added):
    """The detector runs on every back end and gives the same numbers; the pickle itself is not kept."""
    catalogue = Catalogue.load(folder / "own/catalogue.yaml")
    assert added.entry.heads[0].classes == ["person", "car", None]
    assert added.entry.input.long_side_px == 160
    assert sorted(file.suffix for file in (folder / "own").iterdir()) == [".md", ".onnx", ".yaml"]
    picture = Picture(np.random.default_rng(1).integers(0, 256, (90, 160, 3), np.uint8))
    seen = []
    for asked in (Asked("openvino", "f32"), Asked("onnxruntime", "f32"), Asked("torch", "f32", "cpu")):
        settings = NetworkSettings(least_confidence=0, overlap=1, asked=asked)
        network = Network.open(threads=1, settings=settings, catalogue=catalogue)
        seen.append(network.detect(picture, parts=frozenset({Part.PEOPLE})))
    assert len(seen[0].confidence) == 300
    for other in seen[1:]:
        assert np.abs(other.confidence - seen[0].confidence).max() < 1e-4


def test_a_pickle_that_is_no_detector_is_refused(folder, tmp_path):
    """A classifier, and a file that was cut short, end in one sentence without a trace."""
    (tmp_path / "cut.pt").write_bytes((folder / "yard.pt").read_bytes()[:5000])
    for file, said in (
        (folder / "kind.pt", "its task is 'classify'"),
        (tmp_path / "cut.pt", "cannot convert it"),
    ):
        with pytest.raises(WeightsError, match=said) as raised:
            add(AddRequest(file, tmp_path / "own/catalogue.yaml", allow_pickle=True))
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "own").exists()


class _Nosy:
    """A pickle whose loading writes down what it can see of the environment."""

    def __init__(self, out):
        self.out = str(out)

    def __reduce__(self):
        code = f"open({self.out!r}, 'w').write(repr(dict(__import__('os').environ)))"
        return eval, (code,)


def test_a_pickle_does_not_see_the_environment(tmp_path, monkeypatch):
    """Its code runs (hence the flag), in a process that has none of the passwords that stand in the environment."""
    import torch

    monkeypatch.setenv("CAM_PASSWORD", "secret-of-the-yard")
    torch.save({"model": _Nosy(tmp_path / "seen")}, tmp_path / "nosy.pt")
    with pytest.raises(WeightsError, match="cannot convert it"):
        add(AddRequest(tmp_path / "nosy.pt", tmp_path / "own/catalogue.yaml", allow_pickle=True))
    seen = (tmp_path / "seen").read_text("utf-8")
    assert "YOLO_OFFLINE" in seen
    assert "secret-of-the-yard" not in seen
    assert os.environ["CAM_PASSWORD"] == "secret-of-the-yard"


def test_an_added_network_is_made_eight_bit_on_own_pictures(folder, added, tmp_path):
    """The exported folder holds the 8-bit form, runs it by default, and its card says how well it agrees."""
    rng = np.random.default_rng(5)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for at in range(20):
        small = rng.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(pictures / f"{at}.jpg"), cv2.resize(small, (160, 120)))
    steps = []
    done = export(
        Catalogue.load(folder / "own/catalogue.yaml"),
        added.entry,
        tmp_path / "out",
        pictures=pictures,
        advance=lambda step, parts: steps.append((step, parts)),
    )
    catalogue = Catalogue.load(tmp_path / "out/catalogue.yaml")
    entry = catalogue.entry()
    catalogue.verify(entry)
    assert entry.precision == "int8"
    assert done.agreement.pictures == 4
    assert "## The 8-bit form" in (tmp_path / "out" / entry.card).read_text("utf-8")
    assert (
        steps.count(("calibrating", 0)) == dict(steps[:0] + [s for s in steps if s[1]])["calibrating"] == 16
    )
    picture = Picture(cv2.imread(str(pictures / "4.jpg")))
    seen = []
    for precision in ("f32", "int8"):
        settings = NetworkSettings(least_confidence=0, overlap=1, asked=Asked("openvino", precision, "cpu"))
        network = Network.open(threads=1, settings=settings, catalogue=catalogue)
        assert precision in network.device
        seen.append(network.detect(picture, parts=frozenset({Part.PEOPLE})))
    f32, int8 = (np.sort(each.confidence) for each in seen)
    assert np.abs(f32 - int8).max() < 0.1 * f32.max()
    assert np.abs(f32 - int8).max() > 0
    assert len(list((tmp_path / "out").iterdir())) == 5
