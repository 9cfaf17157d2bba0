# SPDX-License-Identifier: AGPL-3.0-or-later
"""The driver on media time: one camera, one step after the other, nothing dropped. Evaluation and replay use it."""

from dataclasses import dataclass

from gridwatch.app.pipeline import CameraPipeline, Record
from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Unknown
from ingest.decoder import KeyDecoder
from ingest.errors import IngestError
from ingest.packets import PacketSource


@dataclass(slots=True)
class Driven:
    """What a run took: packets read, key frames decoded, looks given to the network and those it did not answer."""

    packets: int = 0
    decoded: int = 0
    looks: int = 0
    unknown: int = 0

    def plus(self, other: "Driven") -> "Driven":
        """Return what two runs took together."""
        return Driven(
            self.packets + other.packets,
            self.decoded + other.decoded,
            self.looks + other.looks,
            self.unknown + other.unknown,
        )


def drive(pipeline: CameraPipeline, source: PacketSource, clock: ManualClock, record: Record) -> Driven:
    """Run a source through a camera's pipeline to its end.

    Args:
        clock: moves on to each packet's time before the packet is dealt with.
        record: called with every finding, in order; the incident book's.
    """
    decoder, driven = KeyDecoder(), Driven()
    with source:
        for packet in source.packets():
            driven.packets += 1
            clock.advance_to(packet.at_mono_s)
            admitted = pipeline.take(packet)
            if admitted is None:
                continue
            try:
                frame = decoder.decode(admitted)
            except IngestError as error:  # as live: the camera's trouble, not the run's
                pipeline.intake.damaged(str(error))
                continue
            driven.decoded += 1
            look = pipeline.see(admitted, frame)
            if look is None:
                continue
            driven.looks += 1
            answer = pipeline.answer(look)
            driven.unknown += isinstance(answer, Unknown)
            for finding in pipeline.judge(look, answer):
                record(finding, *pipeline.evidence_of(finding, look, answer))
    return driven
