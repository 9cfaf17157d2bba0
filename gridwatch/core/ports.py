# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API needs of the running pipeline, and nothing more; wiring passes the real things in."""

from collections.abc import Sequence
from typing import Protocol

from gridwatch.core.camera import CameraStatus


class LiveView(Protocol):
    """The sight of all cameras now."""

    def statuses(self) -> Sequence[CameraStatus]:
        """Return every configured camera's state, in configuration order."""
        ...

    def picture(self, camera_id: str) -> bytes | None:
        """Return the last decoded picture of a camera as JPEG (at most 640 wide); None if there is none."""
        ...
