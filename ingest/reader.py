# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one thread that reads a stream: connects, hands packets on, and comes back after a failure.

What becomes of a packet is its receiver's business; nothing is decoded here.
"""

import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from typing import Protocol

import structlog

from gridwatch.core.camera import Fault
from gridwatch.core.clock import Clock
from gridwatch.core.redact import redact
from ingest.admission import Admission, Place, Way
from ingest.backoff import Backoff
from ingest.errors import NotFoundError, SourceError, StreamEndedError, UnauthorizedError
from ingest.packets import Packet, PacketSource
from ingest.streams import StreamChoice

_HUNG_S = 30.0
_IN_VAIN_S = 30.0
_RATE_OVER_S = 10.0
_BUSY_TURNS = 5
_YIELDED_S = 5.0  # before evidence asks again for a session that it gave up: others may want it in turn

SourceFactory = Callable[[], PacketSource]


class Receiver(Protocol):
    """Who is told of a stream. `take` comes from the reading thread, and never from two at a time."""

    @property
    def camera_id(self) -> str:
        """Names the thread, and its lines in the log."""
        ...

    def connecting(self) -> None:
        """The stream is being opened."""
        ...

    def opened(self, *, second: bool) -> None:
        """It is open; `second`: because the first cannot be had, the second stream is read."""
        ...

    def waiting(self) -> None:
        """All sessions of its recorder are taken."""
        ...

    def failed(self, reason: str, fault: Fault) -> None:
        """It cannot be had, in one short phrase without credentials."""
        ...

    def take(self, packet: Packet) -> None:
        """A packet came; must not block."""
        ...

    def rate(self, pictures_per_s: float, announced_per_s: float | None) -> None:
        """So many pictures came in a second, over the last ten; and so many were announced."""
        ...

    def busy(self) -> bool:
        """Whether something may be happening: no moment to give up a session that another camera waits for."""
        ...

    def comes_to_nothing(self) -> bool:
        """Whether packets come, and for long enough no picture has come of them."""
        ...

    def decoded_mono_s(self) -> float | None:
        """When a picture of it was last decoded, monotonic seconds; None: never, or nobody decodes it."""
        ...


class _Turn:
    """One thread's stay: its own stop, and when it last had a packet (None: it is not reading)."""

    __slots__ = ("began_mono_s", "heard_mono_s", "latest", "packets", "renew", "stop", "thread")

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.heard_mono_s: float | None = None
        self.began_mono_s = 0.0
        self.packets = 0
        self.latest: Packet | None = None
        self.renew = False
        self.thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class StreamReader:
    """Reads a stream until it is stopped. It mostly sleeps in the demuxer.

    The source is opened, read and closed in this one thread. A stop is seen at the next packet, or when the source
    gives up waiting for one; it needs no other thread to close anything.

    Args:
        receiver: is told of everything.
        sources: make the source, called in the thread; a second one is read while the first cannot be had.
        way: how they are reached.

    Attributes:
        opened, failures, abandoned: counts since the start: openings, failed or broken ones, threads left behind.
    """

    def __init__(
        self,
        receiver: Receiver,
        sources: Sequence[SourceFactory],
        *,
        way: Way,
        clock: Clock,
        backoff: Backoff,
        admission: Admission,
    ) -> None:
        self._receiver, self._sources = receiver, tuple(sources)
        self._way, self._clock, self._backoff, self._admission = way, clock, backoff, admission
        self._choice = StreamChoice(len(self._sources))
        self._log = structlog.get_logger().bind(camera_id=receiver.camera_id)
        self._told = ""
        self._taking = threading.Lock()
        self._turn, self._left = _Turn(), _Turn()
        self._rated: tuple[float, int] | None = None
        self.opened = self.failures = self.abandoned = 0

    def start(self) -> None:
        """Start the thread; once stopped, this begins anew."""
        if self._turn.stop.is_set():
            self._turn = _Turn()
        turn = self._turn
        name = f"feed-{self._receiver.camera_id}"
        turn.thread = threading.Thread(target=self._run, args=(turn,), name=name, daemon=True)
        turn.thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once, and nothing is handed on any more."""
        with self._taking:
            self._turn.stop.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread; return whether it has ended."""
        if self._turn.thread is not None:
            self._turn.thread.join(timeout_s)
        return not self._turn.alive

    def check(self) -> bool:
        """Tell the rate, and end what brings nothing; return whether a thread was left behind.

        To be called every second or so, by the thread that starts and stops.

        A stream whose packets come to nothing (another codec than was announced, garbage) is opened anew. A thread that
        its demuxer does not let go is left behind, and a new one goes on, with the second stream where there is one: a
        camera whose encoder has died may keep sending reports, and FFmpeg then waits inside for ever; it cannot be
        interrupted from outside, except at a cost for every packet of every camera. The old thread ends when the
        camera closes the connection, and hands nothing on any more. At most one is left behind.
        """
        turn, now = self._turn, self._clock.mono_s()
        if turn.thread is not None and not turn.alive and not turn.stop.is_set():
            turn.heard_mono_s = None  # it ended by a mistake, or could not be started
            self.start()
            return False
        heard = turn.heard_mono_s
        if heard is None or turn.stop.is_set():
            self._rated = None
            return False
        self._tell_rate(turn, now)
        if now - turn.began_mono_s > _IN_VAIN_S and self._receiver.comes_to_nothing():
            turn.renew = True
        if now - heard <= _HUNG_S or self._left.alive:
            return False
        self.stop()
        self._left, self._turn = turn, _Turn()
        self.abandoned += 1
        self._failed("the stream brings no more pictures", Fault.SILENT)
        self._choice.failed(self._good_s(turn), lasting=True)  # no other thread could be left behind with it
        self.start()
        return True

    def _tell_rate(self, turn: _Turn, now: float) -> None:
        since, packets = self._rated or (now, turn.packets)
        if self._rated is None or packets > turn.packets:
            self._rated = now, turn.packets
        elif now - since >= _RATE_OVER_S:
            self._rated = now, turn.packets
            announced = None if turn.latest is None else turn.latest.info.fps
            self._receiver.rate((turn.packets - packets) / (now - since), announced)

    def _run(self, turn: _Turn) -> None:
        made: dict[int, PacketSource] = {}
        while not turn.stop.is_set():
            which = self._choice.which
            if which not in made:
                made[which] = self._sources[which]()
            wait_s = self._stay(made[which], turn)
            turn.heard_mono_s = None
            turn.stop.wait(wait_s)

    def _stay(self, source: PacketSource, turn: _Turn) -> float:
        """Read until it ends, one way or another; return how long to wait before the next try."""
        turn.began_mono_s, turn.renew = float("inf"), False
        try:
            return self._read(source, turn)
        except SourceError as error:
            refused = isinstance(error, UnauthorizedError)
            lasting = refused or isinstance(error, NotFoundError)
            reason, fault = error.reason, error.fault
        except Exception as error:  # noqa: BLE001  the thread's top loop: one camera must not end for good
            refused = lasting = False
            reason, fault = f"unexpected {type(error).__name__}", Fault.UNREACHABLE
            # as text: a traceback printed with local variables would show the address with its password
            self._log.error("feed_mistake", trace=redact("".join(traceback.format_exception(error))))
        if turn.stop.is_set():
            return 0.0
        self._failed(reason, fault)
        return self._until_next_try_s(turn, lasting=lasting, refused=refused)

    def _until_next_try_s(self, turn: _Turn, *, lasting: bool = False, refused: bool = False) -> float:
        at_once = self._choice.failed(self._good_s(turn), lasting=lasting)
        return 0.0 if at_once else self._backoff.wait_s(refused=refused)

    def _good_s(self, turn: _Turn) -> float:
        """Return for how long there were pictures: a stream may be open for long and bring nothing of use."""
        decoded_mono_s = self._receiver.decoded_mono_s()
        return 0.0 if decoded_mono_s is None else max(0.0, decoded_mono_s - turn.began_mono_s)

    def _failed(self, reason: str, fault: Fault) -> None:
        self.failures += 1
        self._receiver.failed(reason, fault)
        if reason != self._told:  # a camera that is off for a week says so once
            self._told = reason
            self._log.warning("stream_failed", reason=reason, fault=fault)

    def _read(self, source: PacketSource, turn: _Turn) -> float:
        """Read; return how long to wait where that ended without a failure."""
        with ExitStack() as stack:
            place = stack.enter_context(self._admission.session(self._way))
            if not self._connect(source, turn, place, stack):
                return 0.0
            began = turn.began_mono_s = turn.heard_mono_s = self._clock.mono_s()
            try:
                with closing(source.packets()) as packets:
                    return self._take_all(packets, turn, place)
            finally:
                self._backoff.ran(self._clock.mono_s() - began)

    def _take_all(self, packets: Iterable[Packet], turn: _Turn, place: Place) -> float:
        # once per packet of every camera: nothing is made or computed here that need not be
        mono_s, taking, stopped = self._clock.mono_s, self._taking, turn.stop.is_set
        take, choice = self._receiver.take, self._choice
        for packet in packets:
            turn.heard_mono_s = now = mono_s()
            with taking:
                if stopped():
                    return 0.0
                take(packet)
            turn.latest = packet
            turn.packets += 1
            if turn.renew:
                self._failed("no picture comes of its packets", Fault.DAMAGED)
                return self._until_next_try_s(turn)
            if place.asked_back and (place.at_once or self._turn_is_over(now - turn.began_mono_s)):
                return _YIELDED_S if place.at_once else 0.0
            if choice.away and now >= choice.retry_mono_s and not self._left.alive and choice.is_over(now):
                return 0.0
        raise StreamEndedError("the stream ended")

    def _turn_is_over(self, held_s: float) -> bool:
        turn_s = self._admission.limits.turn_s
        return held_s >= turn_s and (held_s >= _BUSY_TURNS * turn_s or not self._receiver.busy())

    def _connect(self, source: PacketSource, turn: _Turn, place: Place, stack: ExitStack) -> bool:
        if not place.granted:
            self._receiver.waiting()
        if not place.wait(turn.stop):
            return False
        self._receiver.connecting()
        with self._admission.opening(self._way, turn.stop) as admitted:
            if not admitted:
                return False
            stack.enter_context(source)
        self.opened += 1
        self._backoff.opened()
        self._choice.opened(self._clock.mono_s())
        self._receiver.opened(second=self._choice.away)
        self._log.info("stream_opened", second_stream=self._choice.away)
        self._told = ""
        return not turn.stop.is_set()
