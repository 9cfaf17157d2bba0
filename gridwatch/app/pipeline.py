# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole way of a frame of one camera, readable here in one screen, without threads.

    packet ─take→ packet ─pictures→ frames ─see→ looks ─answer→ detections ─judge→ findings ─record→ incident
                                                                            └─follow→ what is decoded from now on

Two drivers call these very steps: `live` with threads on the wall clock, which drops what is late, and `lockstep`
on media time, which drops nothing. Only this module sees ingest, models, detectors and events side by side.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from detectors.judge import Judge
from events.alerts import Alert
from gridwatch.app.people import Detect, boxes_of_persons, tells_persons
from gridwatch.core.camera import Camera
from gridwatch.core.detections import Detections, Part, Unknown
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.frame import Frame
from gridwatch.core.look import Look
from ingest.decoder import KeyDecoder
from ingest.frame import DecodedFrame
from ingest.intake import CameraIntake
from ingest.packets import Packet
from models.service.asking import Answer, ask

TRIES = 4  # for the picture of one claim: at its opening, then as it goes on
MOST_OWED = 32  # claims of one camera that wait for their picture; zones and kinds bound those that are open

Record = Callable[[Finding, Frame | None, tuple[Box, ...]], Alert | None]


@dataclass(slots=True)
class CameraPipeline:
    """The steps of one camera. Calls for one camera come one after the other; cameras do not share state."""

    camera: Camera
    intake: CameraIntake
    network: Detect
    judging: Judge
    _owed: dict[str, int] = field(default_factory=dict, init=False)
    """Tries left for claims without a picture, by finding id."""
    _people: tuple[float, Answer] | None = field(default=None, init=False)
    """The last answer about people alone, and its look's monotonic time."""

    def take(self, packet: Packet) -> Packet | None:
        """Keep the packet in the ring; return it if it is to be decoded."""
        return self.intake.take(packet)

    def pictures(self, decoder: KeyDecoder, packet: Packet) -> Iterator[tuple[Packet, DecodedFrame]]:
        """Decode: a key frame, or what following brings."""
        return self.intake.pictures(decoder, packet)

    def see(self, packet: Packet, frame: DecodedFrame) -> list[Look]:
        """Note that the camera sees; return what the network should see, in order of time."""
        return self.intake.see(packet, frame)

    def answer(self, look: Look) -> Detections | Unknown:
        """Ask the network. No answer is `Unknown`, never "nothing there". Live, the inference service asks instead."""
        answer = ask(self.network, look.frame, self.judging.parts_for(look)).answer
        self.answered(look, answer)
        return answer

    def answered(self, look: Look, answer: Detections | Unknown) -> None:
        """Note whether the network answered."""
        if isinstance(answer, Unknown):
            self.intake.sight.unknown(answer.reason)
        else:
            self.intake.sight.looked(look)

    def judge(self, look: Look, answer: Detections | Unknown) -> list[Finding]:
        """Return what the detectors claim after this look."""
        run_mode = self.camera.run_mode or ""  # of this moment: findings may wait for a store that is away
        findings = [replace(said, run_mode=run_mode) for said in self.judging.update(look, answer)]
        self.intake.follow(self.judging.wants_follow)
        return findings

    def evidence_of(
        self, finding: Finding, look: Look, answer: Detections | Unknown
    ) -> tuple[Frame | None, tuple[Box, ...]]:
        """Return the picture that shows a claim, and who must be blurred in it: at its opening, else as it goes on.

        Where the camera's looks do not ask for people, the network looks once more, for them alone, once a look. If it
        does not answer, or does not tell persons, nobody knows who is to be seen: there is no picture. A few later looks
        that say more of the claim may bring it.
        """
        tries = TRIES if finding.stage is Stage.OPENED else self._owed.pop(finding.finding_id, 0)
        # The case of what is hidden may be closed meanwhile: it goes on as another incident then, which has no picture yet.
        if finding.stage is Stage.UNSEEN:
            self._owe(finding.finding_id, TRIES)
        if finding.stage in (Stage.ENDED, Stage.UNSEEN) or tries == 0:
            return None, ()
        persons = self._persons(look, answer)
        if persons is not None:
            return look.frame, persons
        self._owe(finding.finding_id, tries - 1)
        return None, ()

    def _owe(self, finding_id: str, tries: int) -> None:
        if tries == 0:
            return
        if len(self._owed) >= MOST_OWED:
            del self._owed[next(iter(self._owed))]
        self._owed[finding_id] = tries

    def _persons(self, look: Look, answer: Answer) -> tuple[Box, ...] | None:
        """Return who is to be seen; None if that is unknown."""
        if isinstance(answer, Unknown) or not tells_persons(self.network):
            return None
        if Part.PEOPLE not in self.judging.parts_for(look):
            if self._people is None or self._people[0] != look.at_mono_s:
                asked = ask(self.network, look.frame, frozenset({Part.PEOPLE}))
                self._people = look.at_mono_s, asked.answer
            answer = self._people[1]
        return None if isinstance(answer, Unknown) else boxes_of_persons(answer)
