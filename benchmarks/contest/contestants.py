# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is measured: uint8 BGR in, boxes out. Each runs in a process of its own (see arena).

Ultralytics is called as its documentation says, once a picture, with this project's threshold, overlap and classes, so
that all do the same work. `bare` engines answer a ready float input and do nothing else: the ceiling.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from contest.agreement import Boxes
from contest.exports import COCO_SLOTS, Forms
from contest.scenes import Picture, Shape

from gridwatch.core.detections import Part
from models.backends.choose import Asked
from models.backends.openvino import load_openvino
from models.catalogue import Catalogue
from models.decode import OVERLAP_SOLID
from models.network import Network, NetworkSettings
from models.pictures import Picture as PictureFrame

CONFIDENCE = 0.25
ONE_THREAD, DEFAULT_PRECISION = "one_thread", "default_precision"


class Contestant(Protocol):
    """One way from a picture to boxes, for one input shape."""

    def run(self, picture: Picture) -> Any:
        """Do the work that is timed."""
        ...

    def boxes(self, picture: Picture) -> Boxes:
        """Return what it finds, for comparison; empty where it is not about boxes."""
        ...

    def input_shape(self, picture: Picture) -> tuple[int, int]:
        """Return the height and width that the network really got for this picture."""
        ...


@dataclass(frozen=True, slots=True)
class Spec:
    """Which contestant.

    Attributes:
        kind: `predict` (Ultralytics), `gridwatch`, `bare`, or `own` (gridwatch's own network as its catalogue has it).
        engine: `pt`, `openvino` or `onnxruntime`.
        precision: `f32` or `int8`.
        parts: what is looked for.
        variant: of `predict`: `one_thread` has it see one core only (by itself it takes all, and pays for that);
            `default_precision` leaves OpenVINO to compute in bf16 what is not 8-bit where the CPU has it.
    """

    kind: str
    engine: str
    precision: str
    parts: frozenset[Part] = frozenset({Part.PEOPLE})
    variant: str = ""

    @property
    def name(self) -> str:
        """One word for tables and JSON."""
        if self.kind == "own":
            return "own_" + ("whole" if self.parts == frozenset(Part) else "_".join(sorted(self.parts)))
        words = (self.kind, self.engine, "" if self.engine == "pt" else self.precision, self.variant)
        return "_".join(word for word in words if word)


def build(spec: Spec, shape: Shape, forms: Forms) -> Contestant:
    """Load a contestant; run inside its own process."""
    match spec.kind:
        case "predict":
            return Predict(spec, shape, forms)
        case "bare":
            return Bare(spec, shape, forms)
        case "own":
            return Own(
                Network.open(threads=1, settings=NetworkSettings(least_confidence=CONFIDENCE)), spec.parts
            )
        case _:
            return Own(_same_network(spec, shape, forms), spec.parts)


def _same_network(spec: Spec, shape: Shape, forms: Forms) -> Network:
    asked = Asked(backend=spec.engine, precision=spec.precision, device="cpu")
    settings = NetworkSettings(least_confidence=CONFIDENCE, asked=asked)
    return Network.open(threads=1, settings=settings, catalogue=Catalogue.load(forms.catalogue(shape)))


class Own:
    """This project's whole way: letterbox, network, decoding, suppression."""

    def __init__(self, network: Network, parts: frozenset[Part]) -> None:
        self._network, self._parts = network, parts

    def run(self, picture: Picture) -> Any:
        """Look at a picture."""
        return self._network.detect(PictureFrame(picture), parts=self._parts)

    def boxes(self, picture: Picture) -> Boxes:
        """Return what was seen."""
        seen = self.run(picture)
        return np.column_stack([seen.xyxy, seen.confidence, seen.class_id]).astype(np.float32)

    def input_shape(self, picture: Picture) -> tuple[int, int]:
        """Ask the network."""
        width, height = self._network.input_size(picture.shape[1], picture.shape[0])
        return height, width


class Predict:
    """`YOLO.predict`, one picture a call."""

    def __init__(self, spec: Spec, shape: Shape, forms: Forms) -> None:
        library = load_openvino()  # before Ultralytics does: it reports to nobody
        if spec.variant != DEFAULT_PRECISION:
            _fix_precision(library)
        from ultralytics import YOLO  # noqa: PLC0415  seconds, and only here

        file = forms.pt(shape) if spec.engine == "pt" else forms.openvino(shape, spec.precision)
        self._yolo = YOLO(file, task="detect")
        self._how = {
            "conf": CONFIDENCE, "iou": OVERLAP_SOLID, "classes": list(COCO_SLOTS), "device": "cpu",
            "imgsz": [shape.height, shape.width], "verbose": False,
        }  # fmt: skip
        self._ours = {slot: at for at, slot in enumerate(COCO_SLOTS)}

    def run(self, picture: Picture) -> Any:
        """Predict."""
        return self._yolo.predict(picture, **self._how)

    def boxes(self, picture: Picture) -> Boxes:
        """Return what it found, with our class ids."""
        found = self.run(picture)[0].boxes
        ids = [self._ours[int(slot)] for slot in found.cls.tolist()]
        xyxyn, confidence = found.xyxyn.numpy(), found.conf.numpy()
        return np.column_stack([xyxyn, confidence, np.array(ids, np.float32)]).astype(np.float32)

    def input_shape(self, picture: Picture) -> tuple[int, int]:
        """Look at what its own preprocessing gives the network."""
        self.run(picture)
        tensor = self._yolo.predictor.preprocess([picture])
        return int(tensor.shape[2]), int(tensor.shape[3])


class Bare:
    """The engine alone: a ready float input, no boxes."""

    def __init__(self, spec: Spec, shape: Shape, forms: Forms) -> None:
        images = np.random.default_rng(1).random((1, 3, shape.height, shape.width), np.float32)
        place = forms.catalogue(shape).parent
        self._shape = (shape.height, shape.width)
        if spec.engine == "onnxruntime":
            self._step = _onnxruntime(str(place / "yolov8n.onnx"), images)
        else:
            self._step = _openvino(
                str(place / ("int8.xml" if spec.precision == "int8" else "yolov8n.onnx")), images
            )

    def run(self, picture: Picture) -> Any:  # noqa: ARG002  the input is ready
        """Infer."""
        return self._step()

    def boxes(self, picture: Picture) -> Boxes:  # noqa: ARG002
        """It has none."""
        return np.zeros((0, 6), np.float32)

    def input_shape(self, picture: Picture) -> tuple[int, int]:  # noqa: ARG002
        """It was built for this one."""
        return self._shape


def _openvino(file: str, images: Any) -> Callable[[], Any]:
    core = load_openvino().Core()
    core.set_property(
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            "ENABLE_CPU_PINNING": False,
        },
    )
    network = core.read_model(file)
    network.reshape(list(images.shape))
    request = core.compile_model(network, "CPU").create_infer_request()
    return lambda: request.infer({0: images}, share_inputs=True, share_outputs=True)


def _onnxruntime(file: str, images: Any) -> Callable[[], Any]:
    import onnxruntime  # noqa: PLC0415  only this contestant needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["output0"], {"images": images})


def _fix_precision(library: Any) -> None:
    """Have every OpenVINO core of this process compute in f32 what is not 8-bit, as this project does.

    By itself it takes bf16 where the CPU has it: a comparison would then be one of precisions, not of programs.
    """

    class Core(library.Core):  # type: ignore[misc]  a class of a native module
        def __init__(self) -> None:
            super().__init__()
            self.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    library.Core = Core
