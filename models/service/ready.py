# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a network must do before it counts as opened: answer an empty picture, and be compiled for the usual ones.

Native code is what hangs, so neither is bounded here: whoever calls does it on a thread that it can leave behind.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from gridwatch.core.detections import Part
from models.service.asking import Network

log = structlog.get_logger()

Parts: TypeAlias = frozenset[Part]

WIDTH_PX, HEIGHT_PX = 1920, 1080  # most cameras' pictures; others are compiled for when they come
ENOUGH_S = 25.0  # after so long no further question is compiled for: it would look like a network that hangs


class Blank:
    """A black picture."""

    width, height = WIDTH_PX, HEIGHT_PX

    def luma(self) -> NDArray[np.uint8]:
        """Return the luma plane, (height, width) uint8."""
        return np.zeros((self.height, self.width), np.uint8)

    def view(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) uint8, BGR."""
        return np.zeros((height, width, 3), np.uint8)


def make_ready(network: Network, looks: Sequence[Parts], mono_s: Callable[[], float]) -> None:
    """Have a network answer each question that will be asked, and compile for it. May take long, or for ever.

    Args:
        network: just opened.
        looks: the sets of parts that will be asked for, the most frequent first; the first is asked in any case.
        mono_s: monotonic seconds.

    Raises:
        InferenceError: it does not answer.
    """
    began_s = mono_s()
    for done, parts in enumerate(looks):
        if done and mono_s() - began_s > ENOUGH_S:
            log.warning("inference_partly_ready", questions=done, of=len(looks))
            return
        network.detect(Blank(), parts=parts)
        network.prepare(WIDTH_PX, HEIGHT_PX, parts=parts)  # on a GPU more: batches, the other lane
