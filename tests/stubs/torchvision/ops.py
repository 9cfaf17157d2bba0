# SPDX-License-Identifier: AGPL-3.0-or-later
"""Non-maximum suppression as torchvision's, by OpenCV. Nothing else of `torchvision.ops`."""

import cv2
import numpy as np
import torch
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of the boxes (N, 4: x1 y1 x2 y2) that stay, by falling score, on the boxes' device."""
    if len(boxes) == 0:
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    xywh = boxes.detach().cpu().double().numpy().copy()
    xywh[:, 2:] -= xywh[:, :2]
    above_zero = (
        scores.detach().cpu().float() - scores.min().cpu() + 1
    ).numpy()  # OpenCV drops scores of 0 and less
    kept = cv2.dnn.NMSBoxes(xywh, above_zero, 0.0, float(iou_threshold))
    return torch.from_numpy(np.asarray(kept, np.int64).reshape(-1)).to(boxes.device)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Return the same where boxes of different groups (`idxs`, N) never suppress each other."""
    if len(boxes) == 0:
        return nms(boxes, scores, iou_threshold)
    apart = idxs.to(boxes) * (boxes.max() - boxes.min() + 1)
    return nms(boxes + apart[:, None], scores, iou_threshold)
