# SPDX-License-Identifier: AGPL-3.0-or-later
"""From an Ultralytics `.pt` to ONNX. A program of its own: it runs whatever code the pickle holds (models/converting.py).

    python -m models.training.convert MODEL.pt OUT.onnx

Its last line on standard error says what went wrong; it ends with 1 then.
"""

import sys
from pathlib import Path

OPSET = 17
_ARGUMENTS = 3


def convert(model: Path, out: Path) -> None:
    """Write a detector as ONNX with its raw head: any batch and size, no suppression, single precision.

    Raises:
        ValueError: it is no detector.
    """
    import torch  # noqa: PLC0415  with the extra only
    from ultralytics import YOLO  # noqa: PLC0415

    torch.set_num_threads(1)
    network = YOLO(str(model))
    if network.task != "detect":
        raise ValueError(
            f"its task is {network.task!r}, not 'detect': only a network that gives boxes can be added"
        )
    written = network.export(
        format="onnx",
        dynamic=True,
        nms=None,  # the raw head; False would be the end-to-end one where a network has it
        half=False,
        simplify=False,
        opset=OPSET,
        device="cpu",
    )
    Path(written).replace(out)


def main() -> int:
    """Convert, or say in one line why not."""
    if len(sys.argv) != _ARGUMENTS:
        sys.stderr.write("MODEL.pt OUT.onnx\n")
        return 2
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:  # noqa: BLE001  a stranger's code may raise anything; this is the process's top
        said = " ".join(str(error).split()).partition(" (RuntimeError:")[0]
        sys.stderr.write(f"\n{said or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
