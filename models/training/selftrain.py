# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fills labels that nobody drew, where the network is sure; what it is unsure of stays unknown."""

import numpy as np
from ultralytics.nn.tasks import DetectionModel

from models.training.pictures import FIRE, SMOKE, UNSURE, YES, Picture
from models.training.validate import Found, find

SURE, DOUBTFUL, ABSENT = 0.45, 0.15, 0.05
MOST_BOXES = 4  # of a class in a picture
SIZE_PX = 512


def fill_labels(model: DetectionModel, pictures: list[Picture]) -> int:
    """Add sure boxes to pictures whose boxes are not all known; return how many were added."""
    model.eval()
    added = 0
    for picture in pictures:
        if picture.known.all():
            continue
        found = find(model, picture.bgr, SIZE_PX)
        for kind in (FIRE, SMOKE):
            if not picture.known[kind]:
                added += _fill(picture, found, kind)
    return added


def _fill(picture: Picture, found: Found, kind: int) -> int:
    confidence = found.confidence[found.kind == kind]
    boxes = found.xyxy[found.kind == kind]
    if found.best(kind) < ABSENT and picture.present[kind] != YES:
        picture.known[kind], picture.present[kind] = 1, 0
        return 0
    sure = boxes[confidence >= SURE][:MOST_BOXES]
    if len(sure):
        rows = np.insert(sure, 0, kind, axis=1).astype(np.float32)
        picture.boxes = np.concatenate([picture.boxes, rows])
        picture.present[kind] = YES
        doubtful = (confidence > DOUBTFUL) & (confidence < SURE)
        picture.known[kind] = float(not doubtful.any())
    elif picture.present[kind] != YES:
        picture.present[kind] = UNSURE
    return len(sure)
