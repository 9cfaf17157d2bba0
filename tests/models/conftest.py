# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures drawn from numbers, the one network that these tests open, and small networks that are wrong on purpose."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.backends.choose import Asked
from models.catalogue import Catalogue, Form
from models.network import Network, NetworkSettings

GOLDEN = Path(__file__).with_name("golden.npz")


class Picture:
    """A frame that is an array (height, width, 3) uint8 BGR."""

    def __init__(self, bgr):
        self._bgr = bgr
        self.height, self.width = bgr.shape[:2]

    def luma(self):
        return cv2.cvtColor(self._bgr, cv2.COLOR_BGR2GRAY)

    def view(self, width, height):
        if (width, height) == (self.width, self.height):
            return self._bgr
        return cv2.resize(self._bgr, (width, height), interpolation=cv2.INTER_AREA)


def burning_yard(flame, smoke):
    """Return a picture (360, 640, 3) uint8: a plain wall, a flame before it and smoke beside it.

    `flame` and `smoke` are simulated fields (128, 96) uint8; the picture is arithmetic only, the same everywhere.
    """
    picture = np.empty((360, 640, 3))
    picture[:] = np.linspace(175, 140, 360)[:, None, None]
    picture[230:] = (95, 100, 105)
    heat = flame / 255 * 1.6
    colour = np.clip(np.stack([2.4 * heat - 1.5, 2.2 * heat - 0.45, 3.2 * heat], -1), 0, 1) * 255
    _lay(picture[130:258, 120:216], colour, np.clip(np.clip(4 * (heat - 0.06), 0, None) ** 0.8, 0, 1))
    veil = (1 - np.exp(smoke / 255 * -3.5)).repeat(2, 0).repeat(2, 1)
    _lay(picture[10:266, 380:572], 140.0, veil)
    return picture.round().astype(np.uint8)


def _lay(ground, colour, alpha):
    ground[:] = ground * (1 - alpha[..., None]) + colour * alpha[..., None]


@pytest.fixture(scope="session")
def catalogue():
    return Catalogue.load()


@pytest.fixture(scope="session")
def network():
    """Return the default network in single precision, whatever the catalogue's default is."""
    return Network.open(threads=2, settings=NetworkSettings(asked=Asked("openvino", "f32")))


@pytest.fixture(scope="session")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="session")
def weights(catalogue):
    """Return the default network's ONNX file."""
    (content,) = catalogue.read(catalogue.entry(), Form.ONNX)
    return content


@pytest.fixture(scope="session")
def yard(golden):
    return burning_yard(golden["flame"], golden["smoke"])


@pytest.fixture(scope="session")
def as_frame():
    return Picture


def one_convolution(outputs=None, *, given="images", batch="batch", size=("height", "width"), kind="Conv"):
    """Return the bytes of an ONNX network of one convolution of stride 32.

    Args:
        outputs: name of each output and its channels; the cells of the picture one after the other are its anchors.
        given: name of the input.
        batch, size: its first side and its last two; numbers where they are fixed.
        kind: of operation in the convolution's place.
    """
    nodes, tensors, told = [], [numpy_helper.from_array(np.array([0, 0, -1]), "flat")], []
    for name, channels in (outputs or {"people": 10, "fire": 6}).items():
        weights = np.full((channels, 3, 32, 32), 1e-3, np.float32)
        tensors.append(numpy_helper.from_array(weights, f"{name}_weights"))
        more = {"strides": [32, 32]} if kind == "Conv" else {}
        nodes.append(helper.make_node(kind, [given, f"{name}_weights"], [f"{name}_cells"], **more))
        nodes.append(helper.make_node("Reshape", [f"{name}_cells", "flat"], [name]))
        told.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, channels, "anchors"]))
    image = helper.make_tensor_value_info(given, TensorProto.FLOAT, [batch, 3, *size])
    graph = helper.make_graph(nodes, "small", [image], told, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if kind == "Conv":
        onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def small_network():
    return one_convolution
