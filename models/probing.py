# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a network computes what its catalogue entry says: two grey pictures, and the shape and range of the answers."""

import numpy as np

from gridwatch.core.geometry import Float32
from models.backends.choose import Asked, choose
from models.catalogue import Catalogue, Entry, HeadSpec
from models.errors import InferenceError, WeightsError
from models.letterbox import GREY, fit

SMALL_PX, LARGER_PX = (
    (96, 64),
    (192, 128),
)  # height, width; the second where the network's own input is no larger
_PIXELS = 2.0  # a centre beyond it is no share of the picture
_SLACK = 1e-3  # of a score: sigmoids in eight bits round


def probe(catalogue: Catalogue, entry: Entry, *, precision: str = "auto") -> str:
    """Run a network once at two sizes on this machine's CPU.

    Returns:
        What computed it, as a phrase.

    Raises:
        WeightsError: it cannot be read, or its answers are not what the entry says.
    """
    engine, choice = choose(catalogue, entry, Asked(precision=precision, device="cpu"), threads=1)
    long_side_px = entry.input.long_side_px
    usual = fit(long_side_px, long_side_px * 9 // 16, long_side_px)
    is_larger = usual.height * usual.width > SMALL_PX[0] * SMALL_PX[1]
    larger_px = (usual.height, usual.width) if is_larger else LARGER_PX
    counts = []
    try:
        for height, width in (SMALL_PX, larger_px):
            picture = engine.canvas(1, height, width)
            picture[:] = GREY
            answers = engine.run(picture, entry.outputs)
            for head, answer in zip(entry.heads, answers, strict=False):
                _check_head(head, answer)
            if entry.density is not None:
                _check_density(answers[-1], height, width, entry.density.cell_px)
            counts.append(answers[0].shape[2])
        if counts[0] >= counts[1]:
            raise InferenceError("it looks at as many places in a small picture as in a large one")
    except InferenceError as error:
        file = catalogue.paths_of(entry, choice.plan.form)[0]
        raise WeightsError(f"the network does not work as it should: {error.reason}", file=file) from error
    return engine.device


def _check_head(head: HeadSpec, answer: Float32) -> None:
    rows = 4 + len(head.classes)
    if answer.ndim != 3 or answer.shape[:2] != (1, rows) or not answer.shape[2]:  # noqa: PLR2004  (B, rows, N)
        raise InferenceError(f"{head.output!r} has the shape {answer.shape}, expected (1, {rows}, any)")
    if not np.isfinite(answer).all():
        raise InferenceError(f"{head.output!r} holds numbers that are not finite")
    scores = answer[0, 4:]
    if scores.min() < -_SLACK or scores.max() > 1 + _SLACK:
        raise InferenceError(f"{head.output!r} has scores that are not between 0 and 1")
    if answer[0, :2].max() < _PIXELS:
        raise InferenceError(f"{head.output!r} has boxes that are not in pixels of the input")


def _check_density(answer: Float32, height: int, width: int, cell_px: int) -> None:
    expected = (1, 1, height // cell_px, width // cell_px)
    if answer.shape != expected or not np.isfinite(answer).all():
        raise InferenceError(
            f"the density has the shape {answer.shape}, expected {expected}, or is not finite"
        )
