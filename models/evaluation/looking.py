# SPDX-License-Identifier: AGPL-3.0-or-later
"""The network over the pictures of a split, on two kinds of canvas.

- As the *product* looks: the network's own letterbox, which is how a camera's picture is laid.
- As Ultralytics' *validator* looks: a grey border all around (models/evaluation/pictures.py). Average precision is
  computed on these looks, since figures from elsewhere are; on `firesmoke` the border moves it by up to 0.02.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import numpy as np

from gridwatch.core.detections import Detections, Part
from gridwatch.core.errors import InputError
from gridwatch.core.frame import Frame
from models.errors import InferenceError, PictureError
from models.evaluation.datasets import Sample
from models.evaluation.pictures import PictureFrame, mount_as_validator, read_picture, validator_side_px
from models.network import LEAST_SIDE_PX

Advance = Callable[[], None]
MOST_NAMED = 5  # pictures in one note


class Canvas(StrEnum):
    """How a picture is laid into the network's input."""

    PRODUCT = "product"
    VALIDATOR = "validator"


class Detector(Protocol):
    """What of a network is needed here; `models.network.Network` is one."""

    def detect(self, frame: Frame, *, parts: frozenset[Part]) -> Detections:
        """Look at a frame.

        Raises:
            InferenceError: no answer.
            PictureError: the picture shows nothing.
        """
        ...


Opener = Callable[[int], Detector]  # long side of the input, pixels


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What the network said of one picture.

    Attributes:
        seen: boxes in normalised picture coordinates by falling confidence; without boxes where there was no answer.
        luma: the picture's mean luma, 0 to 255.
        problem: why there was no answer; None where there was one.
    """

    seen: Detections
    luma: float
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class LookSpec:
    """How to look: which canvas, at which size (pixels, a multiple of 32), for which parts, in how many threads."""

    canvas: Canvas
    size_px: int
    parts: frozenset[Part]
    threads: int


def look_at(samples: Sequence[Sample], open_at: Opener, spec: LookSpec, advance: Advance) -> list[Look]:
    """Look at every picture, in order; `advance` is called after each.

    Raises:
        DatasetError: a file is no picture.
    """
    side_px = validator_side_px(spec.size_px) if spec.canvas is Canvas.VALIDATOR else spec.size_px
    network = open_at(side_px)
    looks = []
    with ThreadPoolExecutor(spec.threads, thread_name_prefix="look") as pool:
        for done in _in_order(pool, lambda sample: _look(network, sample, spec), samples, 2 * spec.threads):
            looks.append(done)
            advance()
    return looks


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Sample], Look], samples: Sequence[Sample], ahead: int
) -> Iterator[Look]:
    """Yield results in order with at most `ahead` pictures under way, so that memory does not grow with the split."""
    waiting: deque[Future[Look]] = deque()
    for sample in samples:
        waiting.append(pool.submit(work, sample))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _look(network: Detector, sample: Sample, spec: LookSpec) -> Look:
    pixels = read_picture(sample.file)
    luma = float(np.asarray(pixels, np.float32).mean(axis=(0, 1)) @ [0.114, 0.587, 0.299])
    try:
        if min(pixels.shape[:2]) < LEAST_SIDE_PX:  # the network would be shown the validator's large canvas
            raise PictureError(f"a picture of {pixels.shape[1]} × {pixels.shape[0]} pixels shows nothing")
        if spec.canvas is Canvas.PRODUCT:
            return Look(network.detect(PictureFrame(pixels), parts=spec.parts), luma)
        mounted = mount_as_validator(pixels, spec.size_px)
        seen = network.detect(mounted.frame, parts=spec.parts)
        return Look(replace(seen, xyxy=mounted.to_picture(seen.xyxy)), luma)
    except (InferenceError, PictureError) as error:
        return Look(Detections.none(), luma, str(error))


def told_unanswered(problems: Mapping[str, str], of: int, where: str) -> str:
    """Return a note on the pictures without an answer, at least one.

    Args:
        problems: by the picture's name, why.
        of: how many pictures there are.
        where: which looks these were, as a phrase.

    Raises:
        InputError: there was no answer for any: that is no score but a network that does not work.
    """
    first, why = next(iter(problems.items()))
    if len(problems) == of:
        raise InputError(
            f"the network answered for none of the {of} pictures, {where}; the first: {first}: {why}"
        )
    named = ", ".join(list(problems)[:MOST_NAMED])
    more = f" and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
    return (
        f"no answer for {len(problems)} of {of} pictures, {where}, which count as ones in which nothing was seen: "
        f"{named}{more} (the first: {why})"
    )
