# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network that is ready for looks: a frame in, boxes and the crowd's density out. One pass serves all detectors.

Not an inference service: it has no queue and no threads of its own. Any number of threads may call `detect` at once.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gridwatch.core.detections import Detections
from gridwatch.core.frame import Frame
from models.backends.openvino import OpenVinoEngine
from models.backends.port import Engine, RawAnswer
from models.catalogue import Catalogue, Entry
from models.decode import LEAST_CONFIDENCE, decode
from models.errors import InferenceError, WeightsError
from models.letterbox import Canvases, Fit, crop_density, fit, to_picture


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What an operator may choose.

    Attributes:
        least_confidence: boxes below it are dropped, 0 to 1.
        long_side_px: input's long side, a multiple of 32; the catalogue's if None.
        cache_dir: where the engine may keep compiled graphs between starts; nowhere if None. What lies there is not
            covered by the SHA-256 of the weights: a folder that only this service can write.
    """

    least_confidence: float = LEAST_CONFIDENCE
    long_side_px: int | None = None
    cache_dir: Path | None = None


class Network:
    """A verified network on an engine."""

    def __init__(self, entry: Entry, engine: Engine, settings: NetworkSettings) -> None:
        """Wrap an engine that runs `entry`'s weights; use `open`."""
        self._entry, self._engine = entry, engine
        self._least_confidence = settings.least_confidence
        self._long_side_px = settings.long_side_px or entry.input.long_side_px
        self._canvases = Canvases()

    @classmethod
    def open(
        cls,
        name: str | None = None,
        *,
        threads: int,
        settings: NetworkSettings | None = None,
        catalogue: Catalogue | None = None,
    ) -> "Network":
        """Verify and read the network called `name` (the catalogue's default if None).

        Args:
            name: see `Catalogue.entry`.
            threads: how many threads will call `detect` at once, each computing on one core.
            settings: see `NetworkSettings`; its defaults if None.
            catalogue: this distribution's own if None.

        Raises:
            WeightsError: the catalogue or the file is not as it should be, or no network that the engine can read.
        """
        settings = settings or NetworkSettings()
        catalogue = catalogue or Catalogue.load()
        entry = catalogue.entry(name)
        weights = catalogue.read(entry)
        try:
            engine = OpenVinoEngine.open(weights, threads=threads, cache_dir=settings.cache_dir)
        except InferenceError as error:
            raise WeightsError(error.reason, file=catalogue.path_of(entry)) from error
        return cls(entry, engine, settings)

    @property
    def name(self) -> str:
        """The network's name in the catalogue."""
        return self._entry.name

    @property
    def sha256(self) -> str:
        """The SHA-256 of its weights file, in hexadecimal."""
        return self._entry.sha256

    def describe(self) -> str:
        """Return one line for the start: which network, on what, how exactly, how many at once."""
        return f"network {self.name} ({self.sha256[:12]}) on {self._engine.device}, {self._long_side_px} px"

    def prepare(self, width: int, height: int, *, crowd: bool) -> None:
        """Make ready for pictures of this size (about a second for the first), so that no look waits for it.

        Raises:
            InferenceError: the engine cannot.
        """
        where = fit(width, height, self._long_side_px)
        self._engine.prepare(where.height, where.width, crowd=crowd)

    def detect(self, frame: Frame, *, crowd: bool) -> Detections:
        """Look at a frame; `crowd` asks for the density of persons too, which costs more. `change` is NaN.

        Raises:
            InferenceError: no answer; the look is unknown.
        """
        where = fit(frame.width, frame.height, self._long_side_px)
        picture = frame.view(where.picture_width, where.picture_height)
        answer = self._engine.run(self._canvases.paint(picture, where), crowd=crowd)
        if not _is_finite(answer):
            raise InferenceError("the answer holds numbers that are not finite")
        return self._detections(answer, where)

    def _detections(self, answer: RawAnswer, where: Fit) -> Detections:
        boxes = decode(answer.detections, self._least_confidence)
        xyxy = to_picture(boxes.xyxy, where)
        in_picture = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])  # the others lie in the padding
        return Detections(
            xyxy,
            boxes.confidence,
            boxes.class_id,
            np.full(len(xyxy), np.nan, np.float32),
            None if answer.density is None else crop_density(answer.density, where),
        ).where(in_picture)


def _is_finite(answer: RawAnswer) -> bool:
    return bool(np.isfinite(answer.detections).all()) and (
        answer.density is None or bool(np.isfinite(answer.density).all())
    )
