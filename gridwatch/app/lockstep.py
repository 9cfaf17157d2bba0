# SPDX-License-Identifier: AGPL-3.0-or-later
"""The driver on media time: one camera, one step after the other, nothing dropped. Evaluation and replay use it."""

from dataclasses import dataclass

from gridwatch.app.pipeline import CameraPipeline, Record
from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Unknown
from ingest.decoder import KeyDecoder
from ingest.errors import IngestError
from ingest.packets import Packet, PacketSource


@dataclass(slots=True)
class Driven:
    """What a run took: packets read, pictures decoded, looks given to the network and those it did not answer."""

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
            given = pipeline.take(packet)
            if given is not None:
                _see(pipeline, decoder, given, record, driven)
    driven.decoded = pipeline.intake.decoded
    return driven


def _see(
    pipeline: CameraPipeline, decoder: KeyDecoder, given: Packet, record: Record, driven: Driven
) -> None:
    try:
        for packet, frame in pipeline.pictures(decoder, given):
            for look in pipeline.see(packet, frame):
                driven.looks += 1
                answer = pipeline.answer(look)
                driven.unknown += isinstance(answer, Unknown)
                for finding in pipeline.judge(look, answer):
                    record(finding, *pipeline.evidence_of(finding, look, answer))
    except IngestError as error:  # as live: the camera's trouble, not the run's
        pipeline.intake.damaged(str(error))
