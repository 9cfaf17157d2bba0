# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one thread of a camera: connects, reads, hands on what is to be decoded, and comes back after a failure."""

import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, closing

import structlog

from gridwatch.core.clock import Clock
from gridwatch.core.redact import redact
from ingest.backoff import Backoff
from ingest.errors import SourceError, StreamEndedError, UnauthorizedError
from ingest.intake import CameraIntake
from ingest.packets import Packet, PacketSource

_ADMISSION_POLL_S = 0.5
_HUNG_S = 30.0


class _Turn:
    """One thread's stay: its own stop, and when it last had a packet (None: it is not reading)."""

    __slots__ = ("heard_mono_s", "stop", "thread")

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.heard_mono_s: float | None = None
        self.thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()


class Feed:
    """Reads one camera until it is stopped. It mostly sleeps in the demuxer and never decodes.

    The source is opened, read and closed in this one thread. A stop is seen at the next packet, or when the source
    gives up waiting for one; it needs no other thread to close anything.

    Args:
        intake: the camera's own steps.
        source_factory: makes the source; called once, in the thread.
        deliver: takes what is to be decoded; must not block (a mailbox's slot).
        backoff: of this camera alone.
        admission: how many cameras may be connecting at once, shared by all feeds.

    Attributes:
        opened, failures, abandoned: counts since the start: openings, failed or broken ones, threads left behind.
    """

    def __init__(
        self,
        intake: CameraIntake,
        source_factory: Callable[[], PacketSource],
        deliver: Callable[[Packet], None],
        *,
        clock: Clock,
        backoff: Backoff,
        admission: threading.Semaphore,
    ) -> None:
        self._intake, self._source_factory, self._deliver = intake, source_factory, deliver
        self._clock, self._backoff, self._admission = clock, backoff, admission
        self._log = structlog.get_logger().bind(camera_id=intake.camera.camera_id)
        self._turn, self._left = _Turn(), _Turn()
        self.opened = self.failures = self.abandoned = 0

    def start(self) -> None:
        """Start the thread."""
        name = f"feed-{self._intake.camera.camera_id}"
        self._turn.thread = threading.Thread(target=self._run, args=(self._turn,), name=name, daemon=True)
        self._turn.thread.start()

    def stop(self) -> None:
        """Ask the thread to end; returns at once."""
        self._turn.stop.set()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the thread; return whether it has ended."""
        if self._turn.thread is not None:
            self._turn.thread.join(timeout_s)
        return not self._turn.alive

    def check(self) -> bool:
        """Leave a thread behind that its demuxer does not let go, and go on in a new one; return whether it was so.

        To be called every few seconds, by the thread that starts and stops. A camera whose encoder has died may keep
        sending reports, and FFmpeg then waits inside for ever: it cannot be interrupted from outside, except at a
        cost for every packet of every camera. The old thread ends when the camera closes the connection, and hands
        nothing on any more. At most one is left behind.
        """
        turn = self._turn
        heard = turn.heard_mono_s
        hung = heard is not None and self._clock.mono_s() - heard > _HUNG_S
        if not hung or turn.stop.is_set() or self._left.alive:
            return False
        turn.stop.set()
        self._left, self._turn = turn, _Turn()
        self.abandoned += 1
        self._failed("the stream brings no more pictures")
        self.start()
        return True

    def _run(self, turn: _Turn) -> None:
        source = self._source_factory()
        while not turn.stop.is_set():
            refused = False
            try:
                self._read(source, turn)
            except SourceError as error:
                refused = isinstance(error, UnauthorizedError)
                if not turn.stop.is_set():
                    self._failed(error.reason)
            except Exception as error:  # noqa: BLE001  the thread's top loop: one camera must not end for good
                self._failed(f"unexpected {type(error).__name__}")
                # as text: a traceback printed with local variables would show the address with its password
                self._log.error("feed_mistake", trace=redact("".join(traceback.format_exception(error))))
            turn.heard_mono_s = None
            if not turn.stop.is_set():
                turn.stop.wait(self._backoff.wait_s(refused=refused))

    def _failed(self, reason: str) -> None:
        self.failures += 1
        self._intake.sight.failed(reason)
        self._log.warning("stream_failed", reason=reason)

    def _read(self, source: PacketSource, turn: _Turn) -> None:
        with ExitStack() as stack:
            if not self._connect(source, turn, stack):
                return
            began = turn.heard_mono_s = self._clock.mono_s()
            try:
                with closing(source.packets()) as packets:
                    for packet in packets:
                        if turn.stop.is_set():
                            return
                        turn.heard_mono_s = self._clock.mono_s()
                        admitted = self._intake.take(packet)
                        if admitted is not None:
                            self._deliver(admitted)
            finally:
                self._backoff.ran(self._clock.mono_s() - began)
        raise StreamEndedError("the stream ended")

    def _connect(self, source: PacketSource, turn: _Turn, stack: ExitStack) -> bool:
        self._intake.sight.connecting()
        while not self._admission.acquire(timeout=_ADMISSION_POLL_S):
            if turn.stop.is_set():
                return False
        try:
            stack.enter_context(source)
        finally:
            self._admission.release()
        self.opened += 1
        self._log.info("stream_opened")
        return not turn.stop.is_set()
