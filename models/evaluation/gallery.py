# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures that went wrong, with what is labelled and what the network saw drawn into them.

They may be of any licence and show persons: they go where the caller says, which by default git ignores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import ObjectClass
from gridwatch.core.errors import InputError
from gridwatch.core.geometry import Float32
from models.evaluation.pictures import read_picture
from models.evaluation.scoring import Failure

FOLDER = "pictures"
MOST_OF_A_KIND = 12
MOST_BOXES_DRAWN = 6
LEAST_DRAWN = 0.02
LONG_SIDE_PX = 480
_QUALITY = 82
_LABELLED = (80, 200, 60)  # BGR
_SEEN = (0, 140, 255)


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the page: the class that was missed ("" for a claimed negative), its file and what to say of it."""

    what: str
    picture: str
    caption: str


def draw_failures(failures: Sequence[Failure], page_folder: Path) -> list[Shown]:
    """Write at most twelve pictures of each kind of failure under `page_folder`; return them in order.

    Raises:
        InputError: they cannot be written.
    """
    shown = []
    folder = page_folder / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for what, some in groupby(failures, key=lambda failure: failure.what):
            for number, failure in enumerate(list(some)[:MOST_OF_A_KIND], start=1):
                name = f"{f'missed-{what}' if what else 'claimed'}-{number:02}.jpg"
                (folder / name).write_bytes(_drawn(failure))
                shown.append(Shown(what, f"{FOLDER}/{name}", _caption(failure)))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=folder) from error
    return shown


def _caption(failure: Failure) -> str:
    score = f"best score {failure.score:.3f}" if failure.what else f"{failure.score:.1f} × the threshold"
    note = f"; {failure.sample.note}" if failure.sample.note else ""
    return f"{failure.sample.file.name}: {score}{note}"


def _drawn(failure: Failure) -> bytes:
    pixels = read_picture(failure.sample.file)
    scale = LONG_SIDE_PX / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    canvas = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    for box, kind in zip(failure.sample.xyxy, failure.sample.class_id, strict=True):
        _box(canvas, box, ObjectClass(kind).name.lower(), _LABELLED)
    seen = failure.look.seen
    strong = seen.where(seen.confidence >= LEAST_DRAWN)
    for at in range(min(len(strong), MOST_BOXES_DRAWN)):
        name = ObjectClass(strong.class_id[at]).name.lower()
        _box(canvas, strong.xyxy[at], f"{name} {strong.confidence[at]:.2f}", _SEEN)
    _, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(data)


def _box(canvas: NDArray[np.uint8], xyxy: Float32, text: str, colour: tuple[int, int, int]) -> None:
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = (round(float(value)) for value in np.clip(xyxy, 0, 1) * [width, height, width, height])
    cv2.rectangle(canvas, (x0, y0), (x1, y1), colour, 2)
    place = (x0 + 3, min(max(y0 + 13, 13), height - 4))
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
