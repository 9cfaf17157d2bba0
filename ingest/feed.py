# SPDX-License-Identifier: AGPL-3.0-or-later
"""The thread that reads the stream of a camera that is looked at, and hands on what is to be decoded."""

from collections.abc import Callable, Sequence

from gridwatch.core.camera import Fault, Note, SightState
from gridwatch.core.clock import Clock
from ingest.admission import Admission, Way
from ingest.backoff import Backoff
from ingest.intake import CameraIntake
from ingest.packets import Packet
from ingest.reader import SourceFactory, StreamReader

# A camera may be blind by what its pictures show, or because somebody wants it so: to connect anew would not help.
_OTHERS_FAULTS = frozenset(
    {Fault.FROZEN, Fault.BLACK, Fault.COVERED, Fault.SET_ASIDE, Fault.SWITCHED_OFF}
    | {Fault.NOT_VISITED, Fault.NOT_DECODED}
)
_COUNTED_S = 10.0  # of a stream without reports of a clock: in such parts its sight is told of it


class _Looking:
    """Tells an intake of its stream."""

    __slots__ = ("_clock", "_deliver", "_intake", "_unreported_mono_s", "camera_id")

    def __init__(self, intake: CameraIntake, deliver: Callable[[Packet], None], clock: Clock) -> None:
        self._intake, self._deliver, self._clock = intake, deliver, clock
        self._unreported_mono_s = float("inf")  # since when no report came, as far as that was not told yet
        self.camera_id = intake.camera.camera_id

    def connecting(self) -> None:
        self._intake.sight.connecting()

    def waiting(self) -> None:
        self.failed("it waits for a free session of its recorder", Fault.NOT_VISITED)

    def failed(self, reason: str, fault: Fault) -> None:
        self._intake.sight.failed(reason, fault)

    def take(self, packet: Packet) -> None:
        if packet.camera_ahead_s is not None:
            self._unreported_mono_s = packet.at_mono_s
            self._intake.sight.clock(packet.camera_ahead_s)
        elif packet.at_mono_s - self._unreported_mono_s > _COUNTED_S:
            self._intake.sight.unreported(packet.at_mono_s - self._unreported_mono_s)
            self._unreported_mono_s = packet.at_mono_s
        admitted = self._intake.take(packet)
        if admitted is not None:
            self._deliver(admitted)

    def rate(self, pictures_per_s: float, announced_per_s: float | None) -> None:
        self._intake.sight.rate(pictures_per_s, announced_per_s)

    def opened(self, *, second: bool) -> None:
        self._unreported_mono_s = self._clock.mono_s()
        self._intake.sight.connecting("connected, no picture yet")
        self._intake.sight.note(Note.SUB_STREAM_AWAY, second)

    def busy(self) -> bool:
        return self._intake.following.followed

    def comes_to_nothing(self) -> bool:
        status = self._intake.sight.status()
        return status.state is SightState.BLIND and status.fault not in _OTHERS_FAULTS

    def decoded_mono_s(self) -> float | None:
        return self._intake.sight.decoded_mono_s


class Feed(StreamReader):
    """Reads one camera until it is stopped; see `StreamReader`.

    Args:
        intake: the camera's own steps.
        sources: make the source, in the thread: that of the stream that is looked at, and where there is another, the
            one that is looked at while the first cannot be had.
        deliver: takes what is to be decoded; must not block (a mailbox's slot).
        backoff: of this camera alone.
        admission: shared by all feeds.
    """

    def __init__(
        self,
        intake: CameraIntake,
        sources: SourceFactory | Sequence[SourceFactory],
        deliver: Callable[[Packet], None],
        *,
        clock: Clock,
        backoff: Backoff,
        admission: Admission,
    ) -> None:
        super().__init__(
            _Looking(intake, deliver, clock),
            (sources,) if callable(sources) else sources,
            way=Way.to(intake.camera),
            clock=clock,
            backoff=backoff,
            admission=admission,
        )
