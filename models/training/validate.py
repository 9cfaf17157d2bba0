# SPDX-License-Identifier: AGPL-3.0-or-later
"""Scores a network while it trains, on val: what checkpoints are chosen by. `models evaluate` scores what ships."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.nn.tasks import DetectionModel

from gridwatch.core.geometry import Float32
from models.evaluation.matching import match
from models.evaluation.precision import ap50
from models.training.pictures import FIRE, SMOKE, Picture

SIZE_PX = 512
CONFIDENCE, OVERLAP, MOST_CANDIDATES, MOST_BOXES = 0.001, 0.7, 3000, 300
CLAIMED = (1, 2, 3)  # of val's hundred negatives; the mean over three is steadier than any one


@dataclass(frozen=True, slots=True)
class Score:
    """What a network scores, fire and smoke: AP50, and the share of pictures found while few negatives are claimed."""

    ap50: tuple[float, float]
    recall: tuple[float, float]

    @property
    def merit(self) -> float:
        """One number to choose by: alarms live by recall at few false claims, so it counts twice."""
        return float(np.nanmean(self.ap50) + 2 * np.nanmean(self.recall)) / 3

    def __str__(self) -> str:
        ap, recall = (" ".join(f"{value:.3f}" for value in pair) for pair in (self.ap50, self.recall))
        return f"AP50 {ap}, recall {recall}, merit {self.merit:.4f}"


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Boxes of one picture by falling confidence: (N, 4) pixels of the picture, (N,), (N,)."""

    xyxy: Float32
    confidence: Float32
    kind: NDArray[np.int64]

    def best(self, kind: int) -> float:
        """Return the highest confidence of a class; 0 where there is none."""
        return float(self.confidence[self.kind == kind].max(initial=0))


def find(model: DetectionModel, picture: NDArray[np.uint8], size_px: int = SIZE_PX) -> Found:
    """Run one picture (h, w, 3) BGR with its long side scaled to `size_px`."""
    height, width = picture.shape[:2]
    scale = size_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.full((-(-size[1] // 32) * 32, -(-size[0] // 32) * 32, 3), 114, np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=method)
    device = next(model.parameters()).device
    images = torch.from_numpy(canvas[None]).to(device).flip(3).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        raw = model(images)[0][0].float().cpu().numpy()
    return _suppressed(raw, np.float32(scale))


def _suppressed(raw: Float32, scale: np.float32) -> Found:
    kind, at = np.nonzero(raw[4:] > CONFIDENCE)
    confidence = raw[4:][kind, at]
    order = np.argsort(-confidence, kind="stable")[:MOST_CANDIDATES]
    kind, at, confidence = kind[order], at[order], confidence[order]
    centre, half = raw[:2, at].T, raw[2:4, at].T / 2
    xyxy = np.concatenate([centre - half, centre + half], 1)
    xywh = np.concatenate([xyxy[:, :2], 2 * half], 1).astype(np.float64)
    suppress: Any = cv2.dnn.NMSBoxesBatched
    kept = suppress(xywh, confidence, kind.astype(np.int32), 0.0, OVERLAP) if len(xywh) else ()
    keep = np.asarray(kept, np.int64).reshape(-1)[:MOST_BOXES]
    return Found((xyxy[keep] / scale).astype(np.float32), confidence[keep], kind[keep])


def score(model: DetectionModel, pictures: list[Picture], size_px: int = SIZE_PX) -> Score:
    """Score a network on labelled pictures."""
    model.eval()
    found = [find(model, picture.bgr, size_px) for picture in pictures]
    ap50 = tuple(average_precision(found, pictures, kind) for kind in (FIRE, SMOKE))
    recall = tuple(recall_at_few(found, pictures, kind) for kind in (FIRE, SMOKE))
    return Score((ap50[0], ap50[1]), (recall[0], recall[1]))


def recall_at_few(found: list[Found], pictures: list[Picture], kind: int) -> float:
    """Return the mean share of pictures with the class found while 1, 2 or 3 % of those without anything are claimed.

    NaN where there are no such pictures.
    """
    best = np.array([one.best(kind) for one in found])
    clean = np.array([picture.is_clean for picture in pictures])
    there = np.array([picture.present[kind] == 1 for picture in pictures])
    if not there.any() or not clean.any():
        return float("nan")
    negatives = np.sort(best[clean])[::-1]
    shares = []
    for percent in CLAIMED:
        at = min(round(percent * len(negatives) / 100), len(negatives) - 1)
        shares.append(float((best[there] > negatives[at]).mean()))
    return float(np.mean(shares))


def average_precision(found: list[Found], pictures: list[Picture], kind: int) -> float:
    """Return AP50 of a class, as `models evaluate` computes it."""
    mine = [one.kind == kind for one in found]
    return ap50(
        match(
            [picture.boxes[picture.boxes[:, 0] == kind, 1:] for picture in pictures],
            [one.xyxy[which] for one, which in zip(found, mine, strict=True)],
            [one.confidence[which] for one, which in zip(found, mine, strict=True)],
        )
    )
