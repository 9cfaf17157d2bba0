# SPDX-License-Identifier: AGPL-3.0-or-later
"""One decoded picture, as the rooms see it. The real one wraps FFmpeg's planes and lives in ingest."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Frame(Protocol):
    """A decoded picture. Views are made lazily from the decoded planes and are not to be written to."""

    @property
    def width(self) -> int:
        """Pixels across."""
        ...

    @property
    def height(self) -> int:
        """Pixels down."""
        ...

    def luma(self) -> NDArray[np.uint8]:
        """Return the luma plane, (height, width) uint8."""
        ...

    def view(self, width: int, height: int) -> NDArray[np.uint8]:
        """Return the picture scaled to `width` × `height`: (height, width, 3) uint8, BGR."""
        ...
