# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a state dict to the files that ship: ONNX with float16 weights."""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.training.nets import Joined, State, build_joined

OPSET = 17
SMALLEST_STORED_HALF = 256  # numbers; smaller tensors (biases, shapes, scales) stay as they are
METADATA = {
    "names": "person,bicycle,car,motorcycle,bus,truck,fire,smoke",
    "stride": "32",
    "input": "RGB, 0..1, sides multiples of 32, grey (114) padding",
    "people": "cx cy w h in input pixels, then person, bicycle, car, motorcycle, bus, truck",
    "fire": "cx cy w h in input pixels, then fire, smoke",
    "density": "persons per cell of 8x8 input pixels (the sum over a region is its count)",
    "detections": "people and fire one after the other: cx cy w h, then all eight scores, 0 where a half does not tell",
    "license": "AGPL-3.0-or-later",
    "start": "Ultralytics YOLOv8n, COCO (AGPL-3.0)",
}


class _Exported(nn.Module):
    """Adds `detections`, the two halves as one table, for programs that read the whole."""

    def __init__(self, joined: Joined) -> None:
        super().__init__()
        self.joined = joined

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        people, fire, density = self.joined(images)
        none = torch.zeros_like(fire[:, :1])
        first = torch.cat([people, none.expand(-1, 2, -1)], 1)
        second = torch.cat([fire[:, :4], none.expand(-1, 6, -1), fire[:, 4:]], 1)
        return torch.cat([first, second], 2), people, fire, density


def export_onnx(state: State, path: Path) -> None:
    """Write the network as ONNX: outputs `detections`, `people`, `fire`, `density`; any batch, any size of stride 32."""
    joined = build_joined(state)
    for model in (joined.people, joined.fire):
        model.fuse(verbose=False)
        detect = model.model[-1]
        detect.export, detect.format, detect.dynamic, detect.shape = True, "onnx", True, None
    axes = {
        "images": {0: "batch", 2: "height", 3: "width"},
        "density": {0: "batch", 2: "rows", 3: "columns"},
        "detections": {0: "batch", 2: "all_anchors"},
        "people": {0: "batch", 2: "anchors"},
        "fire": {0: "batch", 2: "anchors"},
    }
    torch.onnx.export(
        _Exported(joined).eval(),
        (torch.rand(1, 3, 384, 640),),
        str(path),
        opset_version=OPSET,
        input_names=["images"],
        output_names=["detections", "people", "fire", "density"],
        dynamo=False,  # the newer exporter needs onnxscript and unrolls other shapes into the graph
        dynamic_axes=axes,
    )
    _store_half(path)


def _store_half(path: Path) -> None:
    """Store weights as float16 and cast them when loaded; the network computes in float32."""
    model = onnx.load(str(path))
    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        numbers = numpy_helper.to_array(tensor)
        if numbers.dtype != np.float32 or numbers.size < SMALLEST_STORED_HALF:
            continue
        stored = f"{tensor.name}_f16"
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(numbers.astype(np.float16), stored))
        casts.append(
            helper.make_node(
                "Cast", [stored], [tensor.name], name=f"cast_{tensor.name}", to=TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del model.metadata_props[:]
    for key, value in METADATA.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name = "gridwatch"
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
