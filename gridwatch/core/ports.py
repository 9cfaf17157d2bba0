# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API needs of the running pipeline, and nothing more; wiring passes the real things in."""

from collections.abc import Sequence
from dataclasses import dataclass
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


class CameraControl(Protocol):
    """What a person may tell the pipeline about a camera."""

    def accept_view(self, camera_id: str) -> bool:
        """Take what a camera shows from now on for what its zones are drawn on; return whether there is such a camera."""
        ...


@dataclass(frozen=True, slots=True)
class LeavingClip:
    """Where the clip of an incident that may leave stands.

    Attributes:
        state: ready; pending (in work, or waits for others); busy (too many wait, it was not taken on); failed; none.
        sha256: of the file, once it is ready.
        reason: why it is not, in one phrase; empty where there is nothing to say.
    """

    state: str
    sha256: str | None
    reason: str


class LeavingClips(Protocol):
    """Makes clips that may leave (persons blurred), on request."""

    def ask(self, incident_id: str, *, by: str) -> LeavingClip:
        """Have it made, unless it is there or in work already; returns at once."""
        ...

    def state(self, incident_id: str) -> LeavingClip:
        """Return where it stands."""
        ...
