# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the fire part is trained for: Ultralytics' detection loss where boxes are known, and the order of pictures.

An alarm lives by the best box of a picture, not by the mean over boxes. So beside the boxes a second term compares
pictures of one batch: of each class, a picture that holds it has to score above every picture that does not (a logistic
ranking loss, C. Burges et al., "Learning to Rank using Gradient Descent", ICML 2005). It moves no score towards 1 as a
cross-entropy of pictures would, it orders them; and it uses pictures of which only the label is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  torch's own usage
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import v8DetectionLoss

from models.training.compose import Sample

STRONGEST = 4  # anchors whose mean logit stands for a picture: one alone is a noisy gradient
RANKING_WEIGHT = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Samples as tensors: `images` (B, 3, H, W) 0 to 1; `boxes` as Ultralytics wants them; `known`, `present` (B, 2)."""

    images: Tensor
    boxes: dict[str, Tensor]
    known: Tensor
    present: Tensor


def collate(samples: Sequence[Sample], device: torch.device) -> Batch:
    """Stack samples of one size."""
    pictures = torch.from_numpy(np.stack([sample.bgr for sample in samples])).to(device)
    images = (
        pictures.flip(3).permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
    )
    height, width = images.shape[2:]
    rows = np.concatenate(
        [np.insert(sample.boxes, 0, at, axis=1) for at, sample in enumerate(samples)], dtype=np.float32
    )
    corners = rows[:, 2:] / np.array([width, height] * 2, np.float32)
    centred = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    boxes = {"batch_idx": rows[:, 0], "cls": rows[:, 1], "bboxes": centred}
    return Batch(
        images,
        {name: torch.from_numpy(value).to(device) for name, value in boxes.items()},
        torch.from_numpy(np.stack([sample.known for sample in samples])).to(device),
        torch.from_numpy(np.stack([sample.present for sample in samples])).to(device),
    )


class Objective:
    """The loss of one batch, in four parts: boxes, classes, box distribution, ranking."""

    names = ("box", "class", "dfl", "ranking")

    def __init__(self, model: DetectionModel) -> None:
        self._known = torch.ones(1, 1, 2)
        self.strongest = torch.zeros(0, 2)
        """(B, 2) logits that stood for the pictures of the last batch."""
        self._boxes = v8DetectionLoss(model)
        self._boxes.bce = self._where_known

    def __call__(self, model: DetectionModel, batch: Batch) -> Tensor:
        """Return the four parts (4,), each a mean over the batch."""
        self._known = batch.known[:, None, :]
        answer = model(batch.images)
        raw = {name: answer[name].float() for name in ("boxes", "scores")}
        parts, _ = self._boxes({**raw, "feats": answer["feats"]}, batch.boxes)
        strongest = raw["scores"].topk(STRONGEST, dim=2).values.mean(2)
        self.strongest = strongest.detach()
        ranking = RANKING_WEIGHT * rank(strongest, batch.present)
        return torch.cat([parts / len(batch.images), ranking[None]])

    def _where_known(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy that says nothing about classes whose boxes are not all known, but for those that are."""
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return loss * torch.maximum(self._known, (targets > 0).float())


def rank(strongest: Tensor, present: Tensor) -> Tensor:
    """Return the mean ranking loss over the classes.

    Args:
        strongest: (B, classes), the logit that stands for each picture.
        present: (B, classes), 1, 0, or NaN for pictures that take no part.
    """
    losses = []
    for kind in range(strongest.shape[1]):
        with_it = strongest[present[:, kind] == 1, kind]
        without = strongest[present[:, kind] == 0, kind]
        if len(with_it) and len(without):
            losses.append(F.softplus(without[None, :] - with_it[:, None] + 1).mean())
    return torch.stack(losses).mean() if losses else strongest.sum() * 0
