# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is to be seen in a picture, so that they can be blurred before it leaves. Unknown is never "nobody"."""

from typing import Protocol, runtime_checkable

from gridwatch.core.detections import Detections, ObjectClass, Part, Unknown
from gridwatch.core.finding import Box
from gridwatch.core.frame import Frame
from models.service.asking import ask
from models.service.device import Device

PERSON_AT_LEAST = (
    0.25  # a box that may be a person is blurred in what leaves; the crowd detector counts from here too
)


class Detect(Protocol):
    """The network, as its callers here know it."""

    def detect(self, frame: Frame, *, parts: frozenset[Part]) -> Detections:
        """Return what is seen in the picture."""
        ...


@runtime_checkable
class Telling(Protocol):
    """A network that says what it tells."""

    @property
    def classes(self) -> frozenset[ObjectClass]:
        """The classes of boxes that it tells."""
        ...


def tells_persons(network: Detect) -> bool:
    """Tell whether the network (of a device, the one that it holds now) tells persons; no where nobody says: the safe side."""
    return ObjectClass.PERSON in _classes_of(network)


def _classes_of(network: Detect) -> frozenset[ObjectClass]:
    told = network.network if isinstance(network, Device) else network
    return told.classes if isinstance(told, Telling) else frozenset()


def boxes_of_persons(seen: Detections) -> tuple[Box, ...]:
    """Return the boxes of an answer that may be persons."""
    persons = seen.of(ObjectClass.PERSON, at_least=PERSON_AT_LEAST)
    return tuple(
        Box(x0, y0, x1, y1, "person", score)
        for (x0, y0, x1, y1), score in zip(persons.xyxy.tolist(), persons.confidence.tolist(), strict=True)
    )


def persons_in(network: Detect, frame: Frame) -> tuple[Box, ...] | None:
    """Look for persons alone; None where the network does not answer, or does not tell them."""
    if not tells_persons(network):
        return None
    answer = ask(network, frame, frozenset({Part.PEOPLE})).answer
    return None if isinstance(answer, Unknown) else boxes_of_persons(answer)
