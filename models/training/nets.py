# SPDX-License-Identifier: AGPL-3.0-or-later
"""The three parts of the project's network as torch modules, and the one that joins them. Trains nothing.

    picture ─ people: COCO's YOLOv8n (six of its classes), unchanged ─ layers 2, 4, 6, 9 ─ crowd: the counter
            └ fire:   a YOLOv8n of its own with a light head (fire, smoke)

The light head costs 8 % of YOLOv8n's multiplications where Ultralytics' own costs 41 %, and told negatives better than
that one on a frozen trunk (docs/adr/0007). A state dict names its parts by prefix: `people.`, `fire.`, `density.`.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from ultralytics.nn.modules import Conv, DWConv
from ultralytics.nn.tasks import DetectionModel

State = Mapping[str, Tensor]

COCO_SLOTS = (0, 1, 2, 3, 5, 7)  # person, bicycle, car, motorcycle, bus, truck among COCO's 80
FIRE_NAMES = ("fire", "smoke")
COUNTED_LAYERS = (2, 4, 6, 9)  # of the people part's trunk; strides 4, 8, 16, 32
PARTS = ("people", "fire", "density")

_BOX_CHANNELS, _CLASS_CHANNELS = 32, 48
_COCO_CLASSES = 80


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict and compute in float32, whatever it was stored as."""
    return {name: _float32(value) for name, value in load_file(str(path)).items()}


def save_state(state: State, path: Path) -> None:
    """Write a state dict with its floating point numbers as float16."""
    save_file({name: _float16(value) for name, value in state.items()}, str(path))


def part_of(state: State, part: str) -> dict[str, Tensor]:
    """Return the tensors of one part, without its prefix."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _float16(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return (value.half() if value.is_floating_point() else value).contiguous()


def coco_detector(state: State) -> DetectionModel:
    """Return YOLOv8n with COCO's 80 classes."""
    model = DetectionModel("yolov8n.yaml", ch=3, nc=_COCO_CLASSES, verbose=False)
    model.load_state_dict(dict(state))
    return model.eval()


def people_detector(state: State) -> DetectionModel:
    """Return the people part from either COCO's 80 classes (cut to six) or six."""
    slots = state["model.22.cv3.0.2.weight"].shape[0]
    model = DetectionModel("yolov8n.yaml", ch=3, nc=_COCO_CLASSES, verbose=False)
    if slots == _COCO_CLASSES:
        model.load_state_dict(dict(state))
    _keep_classes(model, COCO_SLOTS)
    if slots != _COCO_CLASSES:
        model.load_state_dict(dict(state))
    return model.eval()


def fire_detector(state: State | None = None) -> DetectionModel:
    """Return the fire part: YOLOv8n's trunk and neck with a light head for two classes.

    Args:
        state: its own tensors; or COCO's, of which trunk and neck are taken and the head starts anew; None for neither.
    """
    model = DetectionModel("yolov8n.yaml", ch=3, nc=_COCO_CLASSES, verbose=False)
    _give_light_head(model, len(FIRE_NAMES))
    if state is not None:
        mine = state["model.22.cv3.0.2.weight"].shape[0] == len(FIRE_NAMES)
        model.load_state_dict(dict(state) if mine else _without_head(state, model.state_dict()), strict=True)
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)  # Ultralytics' weights of the three losses
    model.names = dict(enumerate(FIRE_NAMES))
    return model


def _without_head(state: State, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    head = ("model.22.cv2.", "model.22.cv3.")
    return {name: value if name.startswith(head) else state[name] for name, value in own.items()}


def _keep_classes(model: DetectionModel, slots: tuple[int, ...]) -> None:
    for branch in model.model[-1].cv3:
        old = branch[-1]
        new = nn.Conv2d(old.in_channels, len(slots), 1)
        with torch.no_grad():
            new.weight.copy_(old.weight[list(slots)])
            new.bias.copy_(old.bias[list(slots)])
        branch[-1] = new
    _tell_classes(model, len(slots))


def _give_light_head(model: DetectionModel, classes: int) -> None:
    detect = model.model[-1]
    channels = [branch[0].conv.in_channels for branch in detect.cv2]
    detect.cv2 = nn.ModuleList(_light_boxes(width, 4 * detect.reg_max) for width in channels)
    detect.cv3 = nn.ModuleList(_light_classes(width, classes) for width in channels)
    for boxes, scores, stride in zip(detect.cv2, detect.cv3, detect.stride, strict=True):
        # Ultralytics' start: about five objects in a picture of 640 px.
        boxes[-1].bias.data[:] = 1.0
        scores[-1].bias.data[:] = math.log(5 / classes / (640 / float(stride)) ** 2)
    for module in (*detect.cv2.modules(), *detect.cv3.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.03  # as everywhere else in Ultralytics' networks
    _tell_classes(model, classes)


def _light_boxes(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        Conv(width, _BOX_CHANNELS, 3), Conv(_BOX_CHANNELS, _BOX_CHANNELS, 3), nn.Conv2d(_BOX_CHANNELS, out, 1)
    )


def _light_classes(width: int, classes: int) -> nn.Sequential:
    inner = _CLASS_CHANNELS
    return nn.Sequential(
        nn.Sequential(DWConv(width, width, 3), Conv(width, inner, 1)),
        nn.Sequential(DWConv(inner, inner, 3), Conv(inner, inner, 1)),
        nn.Conv2d(inner, classes, 1),
    )


def _tell_classes(model: DetectionModel, classes: int) -> None:
    detect = model.model[-1]
    detect.nc, detect.no, model.nc = classes, classes + 4 * detect.reg_max, classes


class Counter(nn.Module):
    """Persons per cell of 8×8 input pixels from the people part's trunk; the sum over a region is its count."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Conv(32, 32, 3, 2), Conv(64, 48, 1)
        self.c, self.d = Conv(128, 48, 1), Conv(256, 48, 1)
        self.e, self.f, self.g = Conv(176, 64, 3), Conv(64, 64, 3, d=2), Conv(64, 32, 3)
        self.o = nn.Conv2d(32, 1, 1)
        nn.init.constant_(self.o.bias, -3)

    def forward(self, layers: Mapping[int, Tensor]) -> Tensor:
        """Return (B, 1, H/8, W/8) from the trunk's layers 2, 4, 6 and 9."""
        size = layers[4].shape[2:]

        def up(layer: Tensor) -> Tensor:
            return nn.functional.interpolate(layer, size=size, mode="bilinear")

        mixed = torch.cat(
            [self.a(layers[2]), self.b(layers[4]), up(self.c(layers[6])), up(self.d(layers[9]))], 1
        )
        return nn.functional.softplus(self.o(self.g(self.f(self.e(mixed)))))


def counter(state: State | None = None) -> Counter:
    """Return the counter, from its own tensors where given."""
    model = Counter()
    if state is not None:
        model.load_state_dict(dict(state))
    return model


def run_layers(
    model: DetectionModel, images: Tensor, keep: tuple[int, ...] = (), until: int | None = None
) -> tuple[Any, dict[int, Tensor]]:
    """Run an Ultralytics network layer by layer; return its answer and the outputs of the layers in `keep`.

    `until`: the last layer to run; all if None.
    """
    outputs: list[Any] = []
    kept: dict[int, Tensor] = {}
    last: Any = images
    for layer in model.model:
        source = layer.f
        if source != -1:
            last = (
                outputs[source]
                if isinstance(source, int)
                else [last if at == -1 else outputs[at] for at in source]
            )
        last = layer(last)
        outputs.append(last if layer.i in model.save else None)
        if layer.i in keep:
            kept[layer.i] = last
        if layer.i == until:
            break
    return last, kept


class Joined(nn.Module):
    """All parts in one pass: (people (B, 10, N), fire (B, 6, N), density (B, 1, H/8, W/8))."""

    def __init__(self, people: DetectionModel, fire: DetectionModel, density: Counter) -> None:
        super().__init__()
        self.people, self.fire, self.density = people.eval(), fire.eval(), density.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take (B, 3, H, W), RGB, 0 to 1, sides multiples of 32."""
        people, layers = run_layers(self.people, images, COUNTED_LAYERS)
        fire, _ = run_layers(self.fire, images)
        return _first(people), _first(fire), self.density(layers)


def _first(answer: Any) -> Tensor:
    boxes: Tensor = answer[0] if isinstance(answer, tuple | list) else answer
    return boxes


def build_joined(state: State) -> Joined:
    """Return the whole network from a state dict with the prefixes of `PARTS`."""
    return Joined(
        people_detector(part_of(state, "people")),
        fire_detector(part_of(state, "fire")),
        counter(part_of(state, "density")),
    )


def joined_state(people: State, fire: State, density: State) -> dict[str, Tensor]:
    """Return one state dict of three; the people part with its six classes only."""
    cut = people_detector(people).state_dict()
    parts = zip(PARTS, (cut, fire, density), strict=True)
    return {f"{part}.{name}": value for part, state in parts for name, value in state.items()}
