# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence that is made when somebody asks: the still with its boxes, which stays inside, and the clip that may leave.

The other half of `api.operations`, under the same rights.
"""

from pathlib import Path

from api.access import Right
from api.errors import NothingStored
from api.operations import Operations
from api.services import Services
from events.errors import EvidenceError
from events.evidence import MASKED_CLIP, with_boxes
from gridwatch.core.ports import LeavingClip, LeavingClips


class Leaving:
    """What is offered to one caller. Every method blocks, and may raise NotAdmitted, Forbidden and StoreError."""

    def __init__(self, operations: Operations, services: Services) -> None:
        self._operations, self._services = operations, services

    def still_with_boxes(self, alert_id: str) -> bytes:
        """Return an alert's clean picture with the boxes of its newest claim drawn, as JPEG.

        Raises:
            UnknownIncident: there is no such alert.
            NothingStored: it has no picture.
            EvidenceError: the file is gone, or cannot be read.
        """
        alert = self._operations.alert(alert_id)
        path, _ = self._operations.still_of(alert, masked=False)
        try:
            clean = path.read_bytes()
        except OSError as error:  # retention was faster
            raise EvidenceError(f"the picture is gone: {error.strerror}") from error
        return with_boxes(clean, alert.boxes)

    def ask(self, alert_id: str) -> LeavingClip:
        """Have the clip of an alert made that may leave; return where it stands, or raise UnknownIncident."""
        self._operations.need(Right.SHARE)
        return self._clips().ask(alert_id, by=self._operations.caller.name)

    def state(self, alert_id: str) -> LeavingClip:
        """Return where that clip stands, or raise UnknownIncident."""
        self._operations.need(Right.EVIDENCE)
        return self._clips().state(alert_id)

    def clip(self, sha256: str) -> Path:
        """Return the clip that may leave, by its hash; an unmasked one is never found here.

        Raises:
            EvidenceError: there is none.
        """
        self._operations.need(Right.EVIDENCE)
        return self._services.evidence.path(sha256, MASKED_CLIP)

    def _clips(self) -> LeavingClips:
        if self._services.leaving is None:
            raise NothingStored("clip", "none")
        return self._services.leaving
