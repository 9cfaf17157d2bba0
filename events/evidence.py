# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stills and clips, each stored under the SHA-256 of its bytes. Decides nothing about who may see them.

Of a still there are two: the clean one stays inside, the masked one may leave. Masking blurs every box of a person and
draws the boxes of the evidence. That reduces exposure; it is not promised to be complete. The suffix tells the two
apart on disk, so that who asks for a masked one by its hash never gets a clean one; of clips the same. The clean still
with its boxes is not stored: `with_boxes` draws it from the clean one when somebody inside asks.
"""

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
DETAIL_WIDTH_PX = 1920
JPEG_QUALITY = 85
DEFAULT_MAX_BYTES = 20 << 30
KEPT_FREE_BYTES = 128 << 20  # evidence leaves this much of the disk to the records
PERSON = "person"
_MARGIN = 0.12  # of a person's box, on each side: a box rarely covers all
# A blurred person is at most so many colours across and down. Both bound the cell: of who is cut off by the picture's edge
# only a narrow stripe is left, and a share of its width alone would hide nothing.
_CELLS_ACROSS, _CELLS_DOWN = 6, 15
_VEIL_SHARE = 1 / 120  # of the picture's width: the blur's radius where people are too many to have boxes
_LINE_BGR = (0, 140, 255)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH_CHARS = 64
_HALF_WRITTEN = ".new-"
CLEAN, MASKED, CLIP, MASKED_CLIP = SUFFIXES = (".jpg", ".masked.jpg", ".mp4", ".masked.mp4")
SHARDS = 256  # folders, by the hash's first byte
FULL_FROM = 0.95  # of the cap: from here on room is made ahead of need
_NEWEST = 64  # files put last and not `named` yet: the rows that name them may not be written yet

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A picture that is to be a still of its own, without boxes of evidence.

    Attributes:
        frame: the picture.
        persons: who is to be seen in it, and is blurred in what leaves.
        captured_at: when it was taken, UTC.
        veil: blur the whole masked picture a little: a crowd that was counted without boxes.
    """

    frame: Frame
    persons: tuple[Box, ...]
    captured_at: datetime
    veil: bool = False


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
        most_px: int = STILL_WIDTH_PX,
    ) -> StillRef:
        """Store a frame clean and masked.

        Args:
            frame: the picture.
            boxes: what is shown as evidence; those labelled "person" are blurred too.
            captured_at: when it was taken, UTC.
            persons: further boxes to blur.
            veil: blur the whole masked picture a little: a crowd that was counted without boxes.
            most_px: how wide the pictures are at most.

        Raises:
            EvidenceError: it cannot be stored.
        """
        width = min(most_px, frame.width)
        height = max(2, round(frame.height * width / frame.width / 2) * 2)
        people = [*persons, *(box for box in boxes if box.label == PERSON)]
        try:
            clean = frame.view(width, height)
            pictures = _jpeg(clean), _jpeg(mask(clean, people, boxes, veil=veil))
        except cv2.error as error:
            raise EvidenceError(f"the picture cannot be worked on: {error}") from error
        sha256, masked_sha256 = self._put((pictures[0], CLEAN), (pictures[1], MASKED))
        return StillRef(sha256, masked_sha256, captured_at, width, height)

    def put_shot(self, shot: Shot) -> StillRef:
        """Store a picture clean and masked, at most 1920 wide.

        Raises:
            EvidenceError: it cannot be stored.
        """
        return self.put_still(
            shot.frame, (), shot.captured_at, shot.persons, veil=shot.veil, most_px=DETAIL_WIDTH_PX
        )

    def put_clip(self, mp4: bytes, *, masked: bool = False) -> str:
        """Store an MP4 and return its hash. A masked one may leave: persons are blurred in it.

        Raises:
            EvidenceError: it cannot be stored.
        """
        return self._put((mp4, MASKED_CLIP if masked else CLIP))[0]

    def named(self, hashes: Iterable[str]) -> None:
        """Note that the rows which name these files are written: they may be discarded from now on."""
        with self._lock:
            for sha256 in hashes:
                if sha256 in self._newest:
                    self._newest.remove(sha256)

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

    def size(self, sha256: str, suffix: str) -> int | None:
        """Return how many bytes a file has; None where there is none."""
        if not _SHA256.fullmatch(sha256) or suffix not in SUFFIXES:
            return None
        try:
            return self._place(sha256, suffix).stat().st_size
        except OSError:
            return None

    def excess(self) -> int:
        """Return how many bytes should go so that what comes next finds room; 0 while there is enough.

        Raises:
            EvidenceError: the folder cannot be read.
        """
        try:
            with self._lock:
                over = self._used() - int(self._max_bytes * FULL_FROM)
                free = shutil.disk_usage(self._folder).free if self._folder.is_dir() else 2 * KEPT_FREE_BYTES
        except OSError as error:
            raise EvidenceError(f"evidence cannot be counted: {error.strerror}") from error
        return max(0, over, KEPT_FREE_BYTES + KEPT_FREE_BYTES // 8 - free)

    def older(self, shard: int, before: datetime) -> Iterator[tuple[str, str]]:
        """Yield hash and suffix of the files in one of the `SHARDS` folders that were written before `before` (aware).

        What a crash left half written is deleted on the way.

        Raises:
            EvidenceError: the folder cannot be read.
        """
        try:
            for file in sorted((self._folder / f"{shard:02x}").glob("*")):
                if file.stat().st_mtime >= before.timestamp():
                    continue
                sha256, suffix = file.name[:_HASH_CHARS], file.name[_HASH_CHARS:]
                if _SHA256.fullmatch(sha256) and suffix in SUFFIXES:
                    yield sha256, suffix
                elif file.name.startswith(_HALF_WRITTEN):
                    file.unlink()
        except OSError as error:
            raise EvidenceError(f"evidence cannot be looked through: {error.strerror}") from error

    def discard(self, sha256: str) -> int:
        """Delete the files of a hash, unless it was put and no row names it yet; return the bytes that became free.

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
        over = self._used() + size - self._max_bytes
        if over > 0:
            raise EvidenceFull(f"the evidence folder has reached its cap of {self._max_bytes} bytes", over)
        short = KEPT_FREE_BYTES + size - shutil.disk_usage(self._folder).free
        if short > 0:
            raise EvidenceFull("the disk is nearly full; what is left is kept for records", short)

    def _used(self) -> int:
        if self._used_bytes is None:
            self._used_bytes = sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())
        return self._used_bytes


def mask(picture: Picture, persons: Sequence[Box], boxes: Sequence[Box], *, veil: bool = False) -> Picture:
    """Return a copy of a BGR picture (height, width, 3) with `persons` blurred and `boxes` drawn."""
    shown = picture.copy()
    if veil:
        sigma = max(1.0, shown.shape[1] * _VEIL_SHARE)
        shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), sigma), np.uint8)
    for person in persons:
        _blur(shown, person)
    _draw(shown, boxes)
    return shown


def with_boxes(jpeg: bytes, boxes: Sequence[Box]) -> bytes:
    """Return a stored still with `boxes` drawn, as JPEG. Nobody is blurred in it: it stays inside.

    Raises:
        EvidenceError: the picture cannot be read.
    """
    try:
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            raise EvidenceError("the stored picture cannot be read")
        shown = np.asarray(picture, np.uint8)
        _draw(shown, boxes)
        return _jpeg(shown)
    except cv2.error as error:
        raise EvidenceError(f"the stored picture cannot be worked on: {error}") from error


def _draw(picture: Picture, boxes: Sequence[Box]) -> None:
    for box in boxes:
        x0, y0, x1, y1 = _pixels(picture, box, margin=0.0)
        cv2.rectangle(picture, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), _LINE_BGR, 2)


def _blur(picture: Picture, person: Box) -> None:
    x0, y0, x1, y1 = _pixels(picture, person, margin=_MARGIN)
    if x1 <= x0 or y1 <= y0:
        return
    region = picture[y0:y1, x0:x1]
    cell_px = max((x1 - x0) / _CELLS_ACROSS, (y1 - y0) / _CELLS_DOWN, 1.0)
    cells = max(1, int((x1 - x0) / cell_px)), max(1, int((y1 - y0) / cell_px))
    small = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
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
    number, name = tempfile.mkstemp(dir=path.parent, prefix=_HALF_WRITTEN)
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
