# SPDX-License-Identifier: AGPL-3.0-or-later
"""What cameras show now, as JPEG for people: decoded when somebody looks, not for every key frame that nobody sees."""

import threading
from collections import OrderedDict

from ingest.decoder import KeyDecoder
from ingest.decoding_page import DecodingPage
from ingest.errors import IngestError
from ingest.intake import CameraIntake

KEPT = 64  # a wall of stills asks for the same ones from several seats


class Stills:
    """Makes pictures, one at a time; safe for several threads.

    Args:
        page, slot: name the camera that is decoded here to whoever outlives a crash of the decoder.
    """

    def __init__(self, page: DecodingPage, slot: int) -> None:
        self._page, self._slot = page, slot
        self._decoder = KeyDecoder()
        self._lock = threading.Lock()
        self._made: OrderedDict[str, tuple[object, bytes]] = (
            OrderedDict()
        )  # what it was made of, and the JPEG

    def of(self, intake: CameraIntake) -> bytes | None:
        """Return a camera's last picture, at most 640 wide; None where there is none that can be decoded."""
        camera_id = intake.camera.camera_id
        with self._lock:
            shown = intake.shown
            known = self._made.get(camera_id)
            if known is not None and known[0] is shown:
                return known[1]
            with self._page.decoding(self._slot, camera_id):
                jpeg = self._jpeg(intake)
            if jpeg is not None:
                self._made[camera_id] = shown, jpeg
                self._made.move_to_end(camera_id)
                if len(self._made) > KEPT:
                    self._made.popitem(last=False)
            return jpeg

    def _jpeg(self, intake: CameraIntake) -> bytes | None:
        try:
            picture = intake.picture(self._decoder)
        except IngestError:
            return None
        return None if picture is None else picture.jpeg()
