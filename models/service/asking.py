# SPDX-License-Identifier: AGPL-3.0-or-later
"""One question to a network, and what came of it. No answer is `Unknown`, whatever the reason; nothing is raised."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from gridwatch.core.detections import Detections, Part, Unknown
from gridwatch.core.frame import Frame
from models.errors import InferenceError

Answer: TypeAlias = Detections | Unknown


class Network(Protocol):
    """A network that is ready for looks, as the service calls it. Any number of threads may call it at once."""

    @property
    def batch(self) -> int:
        """The most pictures that are worth computing at once; 1 on a CPU."""
        ...

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that pictures of this size are scaled into. Only equal ones can share a batch."""
        ...

    def prepare(self, width: int, height: int, *, parts: frozenset[Part]) -> None:
        """Make ready for pictures of this size. May take seconds."""
        ...

    def detect(self, frame: Frame, *, parts: frozenset[Part]) -> Detections:
        """Return what is seen in the picture."""
        ...

    def detect_all(self, frames: Sequence[Frame], *, parts: frozenset[Part]) -> Sequence[Answer]:
        """Return what is seen in each of several pictures of one input size, computed at once."""
        ...


class Outcome(StrEnum):
    """What became of a look."""

    ANSWERED = "answered"
    STALE = "stale"  # waited longer than its budget: overload
    TIMED_OUT = "timed_out"  # computed for too long
    DEVICE = "device"  # the device or the engine gave an error
    LOST = "lost"  # the device is lost; nothing was tried
    PICTURE = "picture"  # this picture cannot be looked at


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and why it is one."""

    answer: Answer
    outcome: Outcome


def ask(network: "Asked", frame: Frame, parts: frozenset[Part]) -> Reply:
    """Ask for one picture."""
    try:
        return Reply(network.detect(frame, parts=parts), Outcome.ANSWERED)
    except InferenceError as error:
        return Reply(Unknown(str(error)), Outcome.DEVICE)
    except Exception as error:  # noqa: BLE001  a picture that cannot be scaled is as unanswered as a lost device
        return Reply(Unknown(f"the look failed ({type(error).__name__})"), Outcome.PICTURE)


def ask_all(network: Network, frames: Sequence[Frame], parts: frozenset[Part]) -> list[Reply]:
    """Ask for several pictures at once; one that cannot be looked at costs no other its answer."""
    if len(frames) == 1:
        return [ask(network, frames[0], parts)]
    try:
        return _replies(network.detect_all(frames, parts=parts))
    except InferenceError as error:
        return [Reply(Unknown(str(error)), Outcome.DEVICE)] * len(frames)
    except Exception:  # noqa: BLE001  as above; it shows which one when each is asked alone
        return [ask(network, frame, parts) for frame in frames]


def _replies(answers: Sequence[Answer]) -> list[Reply]:
    """Where some of a batch have an answer, the pictures of the others are at fault, not the device."""
    some = any(isinstance(answer, Detections) for answer in answers)
    fault = Outcome.PICTURE if some else Outcome.DEVICE
    return [
        Reply(answer, Outcome.ANSWERED if isinstance(answer, Detections) else fault) for answer in answers
    ]


class Asked(Protocol):
    """What `ask` needs of a network."""

    def detect(self, frame: Frame, *, parts: frozenset[Part]) -> Detections:
        """Return what is seen in the picture."""
        ...
