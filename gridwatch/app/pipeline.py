# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole way of a frame of one camera, readable here in one screen, without threads.

    packet ─take→ key packet ─decode→ frame ─see→ look ─answer→ detections ─judge→ findings ─record→ incident

Two drivers call these very steps: `live` with threads on the wall clock, which drops what is late, and `lockstep`
on media time, which drops nothing. Only this module sees ingest, models, detectors and events side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from detectors.judge import Judge
from events.alerts import Alert
from gridwatch.core.camera import Camera
from gridwatch.core.detections import Detections, ObjectClass, Unknown
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.frame import Frame
from gridwatch.core.look import Look
from ingest.frame import DecodedFrame
from ingest.intake import CameraIntake
from ingest.packets import Packet
from models.errors import InferenceError

PERSON_AT_LEAST = (
    0.25  # a box that may be a person is blurred in what leaves; the crowd detector counts from here too
)


class Detect(Protocol):
    """The network, as the pipeline calls it."""

    def detect(self, frame: Frame, *, crowd: bool) -> Detections:
        """Return what is seen in the picture."""
        ...


Record = Callable[[Finding, Frame | None, tuple[Box, ...]], Alert | None]


@dataclass(slots=True)
class CameraPipeline:
    """The steps of one camera. Calls for one camera come one after the other; cameras do not share state."""

    camera: Camera
    intake: CameraIntake
    network: Detect
    judging: Judge

    def take(self, packet: Packet) -> Packet | None:
        """Keep the packet in the ring; return it if it is to be decoded."""
        return self.intake.take(packet)

    def see(self, packet: Packet, frame: DecodedFrame) -> Look | None:
        """Note that the camera sees; return a look if the network should see this picture."""
        return self.intake.see(packet, frame)

    def answer(self, look: Look) -> Detections | Unknown:
        """Ask the network. No answer is `Unknown`, never "nothing there"."""
        try:
            answer = self.network.detect(look.frame, crowd=self.judging.needs_crowd)
        except Exception as error:  # noqa: BLE001  a picture that cannot be scaled is as unanswered as a lost device
            known = isinstance(error, InferenceError)
            reason = str(error) if known else f"the look failed ({type(error).__name__})"
            self.intake.sight.unknown(reason)
            return Unknown(reason)
        self.intake.sight.looked(look)
        return answer

    def judge(self, look: Look, answer: Detections | Unknown) -> list[Finding]:
        """Return what the detectors claim after this look."""
        return self.judging.update(look, answer)


def evidence_of(
    finding: Finding, look: Look, answer: Detections | Unknown
) -> tuple[Frame | None, tuple[Box, ...]]:
    """Return the picture that shows a new claim, and who must be blurred in it; nothing for a claim that goes on."""
    if finding.stage is not Stage.OPENED or isinstance(answer, Unknown):
        return None, ()
    persons = answer.of(ObjectClass.PERSON, at_least=PERSON_AT_LEAST)
    boxes = [
        Box(x0, y0, x1, y1, "person", score)
        for (x0, y0, x1, y1), score in zip(persons.xyxy.tolist(), persons.confidence.tolist(), strict=True)
    ]
    return look.frame, tuple(boxes)
