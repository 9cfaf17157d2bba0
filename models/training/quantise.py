# SPDX-License-Identifier: AGPL-3.0-or-later
"""The INT8 form of the network for OpenVINO, calibrated on training pictures (NNCF, which needs no torch).

Made small for a repository: as text, OpenVINO's own form takes 2.5 MB for names, white space and shapes that its reader
works out again, beside 5.9 MB of numbers.
"""

import io
import logging
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gridwatch.core.geometry import Float32
from models.backends.openvino import load_openvino
from models.letterbox import GREY, fit, scale_into

CALIBRATION_PICTURES = 300
LONG_SIDE_PX = 640
OUTPUTS = ("people", "fire", "density")
# Arithmetic that turns raw numbers into boxes and scores: in eight bits a box would move by pixels. Ultralytics numbers a
# network's modules; the head is the last, and cv2 and cv3 are its convolutions.
HEAD_ARITHMETIC = r".*model\.{head}/(?!(one2one_)?cv[23]).*"
DENSITY_ARITHMETIC = r".*/density/(o/.*|Softplus.*)"


def quantise(
    onnx: Path,
    xml: Path,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    outputs: Sequence[str] = OUTPUTS,
    long_side_px: int = LONG_SIDE_PX,
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write `xml` and its `.bin` beside it: the ONNX network in eight bits.

    Args:
        onnx: the network; its modules are named as Ultralytics names them.
        xml: where to.
        pictures: (h, w, 3) BGR; ranges are taken from them.
        outputs: those that the new form has.
        long_side_px: of the input.
        advance: called whenever a picture is taken.
    """
    openvino = load_openvino()
    import nncf  # noqa: PLC0415  an extra; after OpenVINO's door, because it imports OpenVINO

    def given(picture: NDArray[np.uint8]) -> Float32:
        advance()
        return letterboxed(picture, long_side_px)

    core = openvino.Core()
    network = core.read_model(str(onnx))
    network = openvino.Model(
        [network.output(name) for name in outputs], network.get_parameters(), "gridwatch"
    )
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(io.StringIO()):  # its own bar, which would be drawn through the caller's
        quantised = nncf.quantize(
            network,
            nncf.Dataset(pictures, given),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pictures),
            ignored_scope=nncf.IgnoredScope(patterns=_ignored(network), validate=False),
        )
    _simplify(openvino, quantised, {"images", *outputs})
    openvino.save_model(quantised, str(xml), compress_to_fp16=True)
    xml.write_text(_squeezed(xml.read_text(encoding="utf-8")), encoding="utf-8")


def _ignored(network: Any) -> list[str]:
    names = [operation.get_friendly_name() for operation in network.get_ordered_ops()]
    modules = [int(number) for name in names for number in re.findall(r"model\.(\d+)/", name)]
    head = [HEAD_ARITHMETIC.replace("{head}", str(max(modules)))] if modules else []
    return [*head, DENSITY_ARITHMETIC]


def _simplify(openvino: Any, network: Any, named: Collection[str]) -> None:
    """Fold what is constant, share the ranges that a quantiser reads and writes, forget names that nobody asks for."""
    openvino._offline_transformations.apply_moc_transformations(network, False, True)  # noqa: SLF001  no public door
    for number, operation in enumerate(network.get_ordered_ops()):
        if operation.get_type_name() == "FakeQuantize":
            _share_ranges(operation)
        if operation.get_type_name() not in {"Parameter", "Result"}:
            operation.set_friendly_name(str(number))
        for output in operation.outputs():
            if output.names.isdisjoint(named):
                output.set_names(set())


def _share_ranges(quantiser: Any) -> None:
    for read, written in ((1, 3), (2, 4)):
        source = quantiser.input_value(read)
        theirs = quantiser.input_value(written)
        constant = all(one.get_node().get_type_name() == "Constant" for one in (source, theirs))
        if constant and np.array_equal(source.get_node().data, theirs.get_node().data):
            quantiser.input(written).replace_source_output(source)


def _squeezed(xml: str) -> str:
    """Drop white space and the shapes of ports; constants state theirs, and the reader infers the others."""
    xml = re.sub(r">\s+<", "><", xml)
    xml = re.sub(r"(<dim>[^<]*</dim>)+", "", xml)
    return re.sub(r"(<port [^>]*[^/])></port>", r"\1/>", xml)


def letterboxed(bgr: NDArray[np.uint8], long_side_px: int = LONG_SIDE_PX) -> Float32:
    """Return a picture as the product gives it to the network: (1, 3, H, W), RGB, 0 to 1."""
    where = fit(bgr.shape[1], bgr.shape[0], long_side_px)
    canvas = np.full((where.height, where.width, 3), GREY, np.uint8)
    scale_into(bgr, canvas[: where.picture_height, : where.picture_width])
    return np.ascontiguousarray(canvas[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32) / np.float32(255)
