# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network that is ready for looks: frames in, boxes and the crowd's density out, of the parts that were asked for.

Not an inference service: it has no queue and no threads of its own. Any number of threads may call it at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gridwatch.core.detections import Detections, ObjectClass, Part, Unknown
from gridwatch.core.frame import Frame
from gridwatch.core.geometry import Float32
from models.backends.choose import Asked, Choice, Plan, choose
from models.backends.port import Engine
from models.catalogue import Catalogue, Entry
from models.decode import LEAST_CONFIDENCE, OVERLAP_FIRE, OVERLAP_SOLID, ClassMap, Reading, decode
from models.errors import InferenceError, PictureError, WeightsError
from models.letterbox import Canvases, Fit, crop_density, fit, fit_into, to_picture

Parts = frozenset[Part]
EVERYTHING: Parts = frozenset(Part)
LEAST_SIDE_PX = 16  # less, enlarged, is one even surface, in which networks see smoke
_HEAD, _DENSITY = 2, 3  # sides of one picture's answer
_MOST_QUESTIONS = 1 << len(Part)


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What an operator may choose.

    Attributes:
        least_confidence: boxes below it are dropped, 0 to 1.
        overlap: IoU from which of two boxes of one class the weaker goes; `models.decode`'s two if None.
        every_class: whether one place may be several people and vehicles at once; for scoring only.
        long_side_px: input's long side, a multiple of 32; the catalogue's if None.
        cache_dir: where the engine may keep compiled graphs between starts; nowhere if None. What lies there is not
            covered by the SHA-256 of the weights: a folder that only this service can write.
        asked: which back end, precision and device.
        state_dir: where it is kept which back end was found fastest; if None none is timed, and the first that fits runs.
    """

    least_confidence: float = LEAST_CONFIDENCE
    overlap: float | None = None
    every_class: bool = False
    long_side_px: int | None = None
    cache_dir: Path | None = None
    asked: Asked = field(default_factory=Asked)
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class _Question:
    """What some parts mean for this network: which outputs, and how each head's is read."""

    outputs: tuple[str, ...]
    maps: tuple[ClassMap, ...]
    density: bool


class Network:
    """A verified network on an engine."""

    def __init__(
        self, entry: Entry, engine: Engine, settings: NetworkSettings, choice: Choice | None = None
    ) -> None:
        """Wrap an engine that runs `entry`'s weights; use `open`."""
        self._entry, self._engine, self._choice = entry, engine, choice
        self._reading = _reading(settings)
        self._long_side_px = settings.long_side_px or entry.input.long_side_px
        self._canvases = Canvases(engine.canvas, engine.batch)
        self._questions: dict[Parts, _Question] = {}

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
            WeightsError: the catalogue or a file is not as it should be, or no network that the engine can read.
            BackendError: what was asked for is not to be had here.
        """
        settings = settings or NetworkSettings()
        catalogue = catalogue or Catalogue.load()
        entry = catalogue.entry(name)
        engine, choice = choose(
            catalogue,
            entry,
            settings.asked,
            threads=threads,
            state_dir=settings.state_dir,
            cache_dir=settings.cache_dir,
        )
        network = cls(entry, engine, settings, choice)
        try:
            network._check()
        except InferenceError as error:
            raise WeightsError(error.reason, file=catalogue.paths_of(entry, choice.plan.form)[0]) from error
        return network

    @property
    def name(self) -> str:
        """The network's name in the catalogue."""
        return self._entry.name

    @property
    def sha256(self) -> str:
        """What names the weights that run, in hexadecimal: see `Entry.sha256`."""
        return self._entry.sha256(self._choice.plan.form) if self._choice else self._entry.forms.onnx.sha256

    @property
    def parts(self) -> Parts:
        """What it can be asked for."""
        return self._entry.parts

    @property
    def classes(self) -> frozenset[ObjectClass]:
        """The classes of boxes that it tells. A part tells only those of its classes that are among them."""
        return self._entry.tells

    @property
    def batch(self) -> int:
        """How many looks are worth giving at once to `detect_all`; 1 on a CPU."""
        return self._engine.batch

    @property
    def device(self) -> str:
        """What computes, in how many parts and how exactly."""
        return self._engine.device

    @property
    def plan(self) -> Plan | None:
        """Back end, precision and device that were chosen; None where nothing was."""
        return self._choice.plan if self._choice else None

    def describe(self) -> str:
        """Return one line for the start: which network, on what, how exactly, how many at once, and why so."""
        fixed = self._engine.fixed_size
        size = f"{self._long_side_px} px" if fixed is None else f"{fixed[1]}×{fixed[0]} px only"
        line = f"network {self.name} ({self.sha256[:12]}) on {self.device}, {size}"
        return f"{line} ({self._choice.why})" if self._choice else line

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the input (width, height) that a picture of this size is laid into: looks of one input may share a batch."""
        where = self._fit(width, height)
        return where.width, where.height

    def prepare(self, width: int, height: int, *, parts: Parts) -> None:
        """Make ready for pictures of this size (about a second for the first), so that no look waits for it.

        Raises:
            InferenceError: the engine cannot.
        """
        where = self._fit(width, height)
        outputs = self._question(parts).outputs
        if outputs:
            self._engine.prepare(where.height, where.width, outputs)

    def detect(self, frame: Frame, *, parts: Parts = EVERYTHING) -> Detections:
        """Look at a frame for `parts`; what is not asked for is not computed. `change` is NaN.

        Raises:
            InferenceError: no answer; the look is unknown.
            PictureError: the frame gives no picture.
        """
        (seen,) = self.detect_all([frame], parts=parts)
        if isinstance(seen, Unknown):
            raise InferenceError(seen.reason)
        return seen

    def detect_all(
        self, frames: Sequence[Frame], *, parts: Parts = EVERYTHING
    ) -> tuple[Detections | Unknown, ...]:
        """Look at up to `batch` frames of one `input_size` at once; one whose answer is no number is `Unknown`.

        Raises:
            InferenceError: no answer for any of them.
            PictureError: a frame gives no picture.
        """
        question = self._question(parts)
        if not question.outputs:
            return tuple(Detections.none() for _ in frames)
        for frame in frames:
            if min(frame.width, frame.height) < LEAST_SIDE_PX:
                raise PictureError(f"a picture of {frame.width} × {frame.height} pixels shows nothing")
        fits = [self._fit(frame.width, frame.height) for frame in frames]
        pictures = self._canvases.paint(frames, fits)
        answers = self._engine.run(pictures, question.outputs)
        return tuple(
            self._detections([answer[at] for answer in answers], question, where)
            for at, where in enumerate(fits)
        )

    def _fit(self, width: int, height: int) -> Fit:
        if self._engine.fixed_size is None:
            return fit(width, height, self._long_side_px)
        fixed_height, fixed_width = self._engine.fixed_size
        return fit_into(width, height, fixed_width, fixed_height)

    def _question(self, parts: Parts) -> _Question:
        question = self._questions.get(parts)
        if question is not None:
            return question
        # Without a counter a crowd is counted by boxes alone; whatever else is missing would look like "nothing there".
        missing = parts - self.parts - ({Part.CROWD} if Part.PEOPLE in self.parts else set())
        if missing:
            raise InferenceError(f"the network {self.name} does not tell {', '.join(sorted(missing))}")
        heads = [head for head in self._entry.heads if head.parts & parts]
        question = _Question(
            self._entry.outputs_for(parts),
            tuple(ClassMap.of(head.columns, len(head.classes), parts) for head in heads),
            Part.CROWD in parts and self._entry.density is not None,
        )
        if len(self._questions) < _MOST_QUESTIONS:
            self._questions[parts] = question
        return question

    def _detections(
        self, answers: Sequence[Float32], question: _Question, where: Fit
    ) -> Detections | Unknown:
        problem = _problem(answers, question)
        if problem is not None:
            return Unknown(problem)
        boxes = decode(list(zip(answers, question.maps, strict=False)), self._reading)
        xyxy = to_picture(boxes.xyxy, where)
        in_picture = (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])  # the others lie in the padding
        return Detections(
            xyxy,
            boxes.confidence,
            boxes.class_id,
            np.full(len(xyxy), np.nan, np.float32),
            crop_density(answers[-1][0], where) if question.density else None,
        ).where(in_picture)

    def _check(self) -> None:
        """Compare the outputs with what the catalogue says of them.

        Raises:
            InferenceError: the file is another network's.
        """
        expected = {head.output: 4 + len(head.classes) for head in self._entry.heads}
        if self._entry.density is not None:
            expected[self._entry.density.output] = 1
        for output, channels in expected.items():
            found = self._engine.channels(output)
            if found != channels:
                raise InferenceError(
                    f"the output {output!r} has {found} channels where the catalogue says {channels}: another network, or other classes"
                )


def _reading(settings: NetworkSettings) -> Reading:
    return Reading(
        settings.least_confidence,
        OVERLAP_SOLID if settings.overlap is None else settings.overlap,
        OVERLAP_FIRE if settings.overlap is None else settings.overlap,
        settings.every_class,
    )


def _problem(answers: Sequence[Float32], question: _Question) -> str | None:
    for answer, where in zip(answers, question.maps, strict=False):
        if answer.ndim != _HEAD or answer.shape[0] != where.height:
            return "the answer has another shape than the network's"
    if question.density and answers[-1].ndim != _DENSITY:
        return "the answer has another shape than the network's"
    if not all(np.isfinite(answer).all() for answer in answers):
        return "the answer holds numbers that are not finite"
    return None
