# SPDX-License-Identifier: AGPL-3.0-or-later
"""One YOLOv8n in all the forms that the contestants read, made once and kept under `out/`.

Ultralytics makes its own exports (ONNX, OpenVINO f32 and INT8) with its own exporter. This project's catalogue then
names that ONNX file, and the INT8 export of free size: same numbers, same pictures to calibrate with, same exporter. So
only the programs around the network differ.
"""

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from contest.scenes import SHAPES, Shape, cut, make_pictures

OWN = Path(__file__).resolve().parents[2] / "models" / "weights" / "gridwatch.onnx"
COCO_SLOTS = {0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
COCO_CLASSES = 80
CALIBRATION_PICTURES, CALIBRATION_SEED = 24, 101
NEVER = -100.0  # the logit of a class that no picture shows
_PEOPLE = "joined.people."


@dataclass(frozen=True, slots=True)
class Forms:
    """Where everything lies, and what the network is.

    Attributes:
        folder: one subfolder per shape; see the properties' names for what is in it.
        weights: in words, where the numbers come from.
        finds_things: whether boxes can be expected (False for random numbers).
        openvino_default: the precision that OpenVINO takes by itself on this CPU for what is not 8-bit.
    """

    folder: Path
    weights: str
    finds_things: bool
    openvino_default: str

    def pt(self, shape: Shape) -> Path:
        """Ultralytics' checkpoint."""
        return self.folder / shape.name / "yolov8n.pt"

    def openvino(self, shape: Shape, precision: str) -> Path:
        """The folder of Ultralytics' own OpenVINO export."""
        return self.folder / shape.name / f"yolov8n_{'int8_' if precision == 'int8' else ''}openvino_model"

    def catalogue(self, shape: Shape) -> Path:
        """This project's catalogue with the same network."""
        return self.folder / shape.name / "catalogue.yaml"


def prepare(weights: Path | None, out: Path) -> Forms:
    """Make all forms of the network unless they are there. Needs torch, Ultralytics, NNCF, OpenVINO.

    Args:
        weights: `.safetensors` (Ultralytics' state dict of YOLOv8n with COCO's 80 classes) or `.pt` (a pickle: loading it
            runs its code); None takes this project's people part: six classes of COCO's network in their old places.
        out: a folder that is this benchmark's own; it keeps the forms of one network.
    """
    folder = out / _key(weights or OWN)
    note = folder / "forms.json"
    if not note.exists():
        shutil.rmtree(out, ignore_errors=True)  # of another network or other versions, or half made
        said = _make(weights, folder)
        note.write_text(json.dumps(said), "utf-8")
    return Forms(folder, **json.loads(note.read_text("utf-8")))


def _key(weights: Path) -> str:
    digest = hashlib.sha256(weights.read_bytes())
    for source in (Path(__file__), Path(__file__).with_name("scenes.py")):
        digest.update(source.read_bytes())
    for name in ("torch", "ultralytics-opencv-headless", "openvino", "nncf"):
        digest.update(version(name).encode())
    return digest.hexdigest()[:16]


def _make(weights: Path | None, folder: Path) -> dict[str, Any]:
    from models.backends.openvino import load_openvino  # noqa: PLC0415  before Ultralytics: it reports to nobody

    library = load_openvino()
    import nncf  # noqa: PLC0415  after the line above

    nncf.set_log_level(logging.ERROR)
    pictures = make_pictures(CALIBRATION_PICTURES, CALIBRATION_SEED)
    said: dict[str, Any] = {}
    for shape in SHAPES:
        place = folder / shape.name
        place.mkdir(parents=True)
        said = _save_pt(weights, place / "yolov8n.pt")
        data = _calibration(cut(pictures, shape.picture_width), place / "calibration")
        _export(place / "yolov8n.pt", shape, data)
        _name_ports(library, place)
        _write_catalogue(place)
    return {**said, "openvino_default": _default_precision(library)}


def _save_pt(weights: Path | None, target: Path) -> dict[str, Any]:
    """Write a checkpoint that Ultralytics reads; return what it is in words and whether it finds things."""
    from ultralytics import YOLO  # noqa: PLC0415  seconds, and only here

    if weights is not None and weights.suffix == ".pt":
        shutil.copy(weights, target)
        return {"weights": f"{weights.name}, as given", "finds_things": True}
    network = YOLO("yolov8n.yaml", verbose=False)
    if weights is not None:
        from safetensors.torch import load_file  # noqa: PLC0415

        state = {name: value.float() for name, value in load_file(str(weights)).items()}
        network.model.load_state_dict(state)
        said = {"weights": f"{weights.name}, as given", "finds_things": True}
    else:
        said = _load_own(network)
    network.save(str(target))
    return said


def _load_own(network: Any) -> dict[str, Any]:
    """Fill YOLOv8n with the people part of this project's network; the other 74 classes never answer."""
    import torch  # noqa: PLC0415

    network.model.fuse(verbose=False)
    wanted = network.model.state_dict()
    state = {
        name: torch.from_numpy(_widened(name, numbers, wanted)) for name, numbers in _own_numbers().items()
    }
    try:
        network.model.load_state_dict(state)
    except RuntimeError:  # people are seen by another network by now
        return {"weights": "random numbers (the times do not depend on them)", "finds_things": False}
    return {
        "weights": "the people part of models/weights/gridwatch.onnx in COCO's shape",
        "finds_things": True,
    }


def _own_numbers() -> dict[str, Any]:
    import onnx  # noqa: PLC0415
    from onnx import numpy_helper  # noqa: PLC0415

    tensors = onnx.load(str(OWN)).graph.initializer
    named = {tensor.name.removesuffix("_f16"): tensor for tensor in tensors}
    return {
        name.removeprefix(_PEOPLE): numpy_helper.to_array(tensor).astype(np.float32)
        for name, tensor in named.items()
        if name.startswith(_PEOPLE)
    }


def _widened(name: str, numbers: Any, wanted: Any) -> Any:
    """Return the last layer of a class branch with its six rows in COCO's 80 places; all others unchanged."""
    full = wanted.get(name)
    if full is None or full.shape == numbers.shape or len(numbers) != len(COCO_SLOTS):
        return numbers
    rows = np.zeros(full.shape, np.float32)
    if numbers.ndim == 1:
        rows[:] = NEVER
    rows[list(COCO_SLOTS)] = numbers
    return rows


def _calibration(pictures: Any, folder: Path) -> Path:
    """Write pictures and the description of a data set that Ultralytics' INT8 export asks for."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(images / f"{number:03}.jpg"), picture)
    data = folder / "data.yaml"
    names = {number: str(number) for number in range(COCO_CLASSES)}
    data.write_text(
        yaml.safe_dump({"path": str(folder), "train": "images", "val": "images", "names": names}), "utf-8"
    )
    return data


def _export(pt: Path, shape: Shape, data: Path) -> None:
    from ultralytics import YOLO  # noqa: PLC0415

    size = [shape.height, shape.width]
    # Each export changes the network in memory, so each reads it anew.
    YOLO(pt).export(format="onnx", imgsz=size, dynamic=True, simplify=False, opset=17)
    YOLO(pt).export(format="openvino", imgsz=size)
    YOLO(pt).export(format="openvino", imgsz=size, quantize=8, data=str(data), batch=1)
    free = pt.with_name("free.pt")
    shutil.copy(pt, free)
    YOLO(free).export(format="openvino", imgsz=size, quantize=8, data=str(data), batch=1, dynamic=True)


def _name_ports(library: Any, place: Path) -> None:
    """Write Ultralytics' INT8 network of free size again, with names at its input and output; nothing else changes."""
    (graph,) = (place / "free_int8_openvino_model").glob("*.xml")
    network = library.Core().read_model(str(graph))
    network.inputs[0].get_tensor().set_names({"images"})
    network.outputs[0].get_tensor().set_names({"output0"})
    library.save_model(network, str(place / "int8.xml"), compress_to_fp16=False)


def _write_catalogue(place: Path) -> None:
    classes = [COCO_SLOTS.get(slot) for slot in range(COCO_CLASSES)]
    entry = {
        "name": "yolov8n",
        "title": "The network of the benchmark",
        "card": "none.md",
        "source": "Ultralytics YOLOv8n",
        "licence": "AGPL-3.0-or-later",
        "input": {
            "name": "images", "long_side_px": 640, "side_multiple_px": 32, "colour": "RGB", "range": [0, 1],
            "padding_grey": 114,
        },
        "heads": [{"output": "output0", "classes": classes}],
        "precision": "int8",
        "forms": {
            "onnx": _stored(place / "yolov8n.onnx"),
            "openvino_int8": {"files": [_stored(place / "int8.xml"), _stored(place / "int8.bin")]},
        },
    }  # fmt: skip
    document = {"default": "yolov8n", "networks": [entry]}
    (place / "catalogue.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def _stored(file: Path) -> dict[str, str]:
    return {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def _default_precision(library: Any) -> str:
    return str(library.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string())
