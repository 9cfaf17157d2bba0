# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stills and clips, each stored under the SHA-256 of its bytes. Decides nothing about who may see them.

Of a still there are two: the clean one stays inside, the masked one may leave. Masking blurs every box of a person and
draws the boxes of the evidence. That reduces exposure; it is not promised to be complete. The suffix tells the two
apart on disk, so that who asks for a masked one by its hash never gets a clean one.
"""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from events.alerts import StillRef
from events.errors import EvidenceError, EvidenceFull
from gridwatch.core.finding import Box
from gridwatch.core.frame import Frame

STILL_WIDTH_PX = 960
JPEG_QUALITY = 85
DEFAULT_MAX_BYTES = 20 << 30
KEPT_FREE_BYTES = 128 << 20  # evidence leaves this much of the disk to the records
PERSON = "person"
_MARGIN = 0.12  # of a person's box, on each side: a box rarely covers all
_CELLS = 6  # a blurred person is this many colours across
_VEIL_SHARE = 1 / 120  # of the picture's width: the blur's radius where people are too many to have boxes
_LINE_BGR = (0, 140, 255)
_SHA256 = re.compile(r"[0-9a-f]{64}")
CLEAN, MASKED, CLIP = SUFFIXES = (".jpg", ".masked.jpg", ".mp4")
_NEWEST = 64  # files put last: the rows that name them may not be written yet

Picture = NDArray[np.uint8]


class EvidenceStore:
    """A folder of evidence with a cap. Full means refused, with `EvidenceFull`: a record must never wait for it."""

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._used_bytes: int | None = None  # counted at the first write
        self._newest: deque[str] = deque(maxlen=_NEWEST)
        self._lock = threading.Lock()

    def put_still(
        self,
        frame: Frame,
        boxes: Sequence[Box],
        captured_at: datetime,
        persons: Sequence[Box] = (),
        *,
        veil: bool = False,
    ) -> StillRef:
        """Store a frame clean and masked, at most 960 wide.

        Args:
            frame: the picture.
            boxes: what is shown as evidence; those labelled "person" are blurred too.
            captured_at: when it was taken, UTC.
            persons: further boxes to blur.
            veil: blur the whole masked picture a little: a crowd that was counted without boxes.

        Raises:
            EvidenceError: it cannot be stored.
        """
        width = min(STILL_WIDTH_PX, frame.width)
        height = max(2, round(frame.height * width / frame.width / 2) * 2)
        people = [*persons, *(box for box in boxes if box.label == PERSON)]
        try:
            clean = frame.view(width, height)
            pictures = _jpeg(clean), _jpeg(mask(clean, people, boxes, veil=veil))
        except cv2.error as error:
            raise EvidenceError(f"the picture cannot be worked on: {error}") from error
        sha256, masked_sha256 = self._put((pictures[0], CLEAN), (pictures[1], MASKED))
        return StillRef(sha256, masked_sha256, captured_at, width, height)

    def put_clip(self, mp4: bytes) -> str:
        """Store an MP4 and return its hash.

        Raises:
            EvidenceError: it cannot be stored.
        """
        return self._put((mp4, CLIP))[0]

    def path(self, sha256: str, suffix: str) -> Path:
        """Return the file that a hash names; `suffix` is `CLEAN`, `MASKED` or `CLIP`.

        Raises:
            EvidenceError: there is none.
        """
        if not _SHA256.fullmatch(sha256) or suffix not in SUFFIXES:
            raise EvidenceError(
                f"evidence is named by a SHA-256 in hexadecimal and ends in {', '.join(SUFFIXES)}"
            )
        path = self._place(sha256, suffix)
        if not path.is_file():
            raise EvidenceError(f"no evidence {sha256}{suffix}")
        return path

    @property
    def max_bytes(self) -> int:
        """The cap."""
        return self._max_bytes

    def has(self, sha256: str) -> bool:
        """Tell whether any file of a hash is there."""
        return any(self._place(sha256, suffix).is_file() for suffix in SUFFIXES)

    def discard(self, sha256: str) -> int:
        """Delete the files of a hash, unless it was put only just now; return the bytes that became free.

        Raises:
            EvidenceError: they cannot be deleted.
        """
        freed = 0
        with self._lock:
            if sha256 in self._newest:
                return 0
            for path in (self._place(sha256, suffix) for suffix in SUFFIXES):
                try:
                    size = path.stat().st_size
                    path.unlink()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise EvidenceError(f"evidence cannot be deleted: {error.strerror}") from error
                freed += size
            if self._used_bytes is not None:
                self._used_bytes -= freed
        return freed

    def _place(self, sha256: str, suffix: str) -> Path:
        return self._folder / sha256[:2] / (sha256 + suffix)

    def _put(self, *files: tuple[bytes, str]) -> list[str]:
        """Store contents under their suffixes, all of them or, where there is no room, none; return the hashes."""
        hashes = [hashlib.sha256(content).hexdigest() for content, _ in files]
        places = [self._place(sha256, suffix) for sha256, (_, suffix) in zip(hashes, files, strict=True)]
        try:
            with self._lock:
                self._newest.extend(hashes)
                missing = [
                    (path, content)
                    for path, (content, _) in zip(places, files, strict=True)
                    if not path.is_file()
                ]
                if missing:
                    self._need(sum(len(content) for _, content in missing))
                for path, content in missing:
                    _write_durably(path, content)
                    self._used_bytes = (self._used_bytes or 0) + len(content)
        except OSError as error:
            raise EvidenceError(f"evidence cannot be written: {error.strerror}") from error
        return hashes

    def _need(self, size: int) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._used_bytes is None:
            self._used_bytes = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
        if self._used_bytes + size > self._max_bytes:
            raise EvidenceFull(f"the evidence folder has reached its cap of {self._max_bytes} bytes", size)
        if shutil.disk_usage(self._folder).free - size < KEPT_FREE_BYTES:
            raise EvidenceFull("the disk is nearly full; what is left is kept for records", size)


def mask(picture: Picture, persons: Sequence[Box], boxes: Sequence[Box], *, veil: bool = False) -> Picture:
    """Return a copy of a BGR picture (height, width, 3) with `persons` blurred and `boxes` drawn."""
    shown = picture.copy()
    if veil:
        sigma = max(1.0, shown.shape[1] * _VEIL_SHARE)
        shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), sigma), np.uint8)
    for person in persons:
        _blur(shown, person)
    for box in boxes:
        x0, y0, x1, y1 = _pixels(shown, box, margin=0.0)
        cv2.rectangle(shown, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), _LINE_BGR, 2)
    return shown


def _blur(picture: Picture, person: Box) -> None:
    x0, y0, x1, y1 = _pixels(picture, person, margin=_MARGIN)
    if x1 <= x0 or y1 <= y0:
        return
    region = picture[y0:y1, x0:x1]
    rows = max(1, round(_CELLS * (y1 - y0) / (x1 - x0)))
    small = cv2.resize(region, (_CELLS, min(rows, 4 * _CELLS)), interpolation=cv2.INTER_AREA)
    picture[y0:y1, x0:x1] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)


def _pixels(picture: Picture, box: Box, *, margin: float) -> tuple[int, int, int, int]:
    height, width = picture.shape[:2]
    dx, dy = (box.x1 - box.x0) * margin, (box.y1 - box.y0) * margin
    xs = np.clip([(box.x0 - dx) * width, (box.x1 + dx) * width], 0, width)
    ys = np.clip([(box.y0 - dy) * height, (box.y1 + dy) * height], 0, height)
    return int(xs[0]), int(ys[0]), int(np.ceil(xs[1])), int(np.ceil(ys[1]))


def _jpeg(picture: Picture) -> bytes:
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise EvidenceError("the picture cannot be encoded as JPEG")
    return bytes(encoded)


def _write_durably(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
