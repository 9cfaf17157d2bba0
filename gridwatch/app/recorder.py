# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one thread that writes incidents, so that a slow or absent store never stops looking.

What is to be recorded waits here, in order, in memory; while the store does not answer it is tried again.
"""

import queue
import threading
from collections.abc import Callable

import structlog

from events.errors import StoreError

log = structlog.get_logger()

RETRY_S = 1.0
MOST_WAITING = 10_000
WHERE_FACTS_YIELD = 2_000  # updates are dropped from here on: openings and endings must fit in


class Recorder:
    """Runs recordings one after the other on a thread of its own.

    Attributes:
        dropped: updates and, past the bound, recordings that found no room, and what failed; counted, never silent.
        waiting: recordings not done yet.
        failing_since_mono_s: is None while the store answers.
    """

    def __init__(self, mono_s: Callable[[], float]) -> None:
        self._jobs: queue.Queue[Callable[[], object]] = queue.Queue(MOST_WAITING)
        self._stop = threading.Event()
        self._mono_s = mono_s
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self.dropped = 0
        self.failing_since_mono_s: float | None = None

    @property
    def waiting(self) -> int:
        """Return how many recordings are not done yet."""
        return self._jobs.unfinished_tasks

    @property
    def ended(self) -> bool:
        """Whether its thread is gone though nobody stopped it."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stop.is_set()

    def start(self) -> None:
        """Begin to record."""
        self._thread.start()

    def submit(self, job: Callable[[], object], *, may_be_dropped: bool = False) -> None:
        """Record `job` after all that was submitted before."""
        if may_be_dropped and self.waiting >= WHERE_FACTS_YIELD:
            self.dropped += 1
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self.dropped += 1
            log.error(
                "recording_lost", reason="the store has not answered for too long", waiting=self.waiting
            )

    def stop(self, timeout_s: float = 5.0) -> None:
        """Record what waits, for at most `timeout_s`, and end."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not (self._stop.is_set() and self._jobs.empty()):
            try:
                job = self._jobs.get(timeout=0.2)
            except queue.Empty:
                continue
            self._do(job)
            self._jobs.task_done()

    def _do(self, job: Callable[[], object]) -> None:
        while True:
            try:
                job()
            except StoreError as error:
                if self.failing_since_mono_s is None:
                    self.failing_since_mono_s = self._mono_s()
                    log.error("store_away", reason=str(error))
                if self._stop.wait(RETRY_S):
                    log.error("recording_lost", reason="stopped while the store was away")
                    return
            except Exception:  # the recorder must outlive one bad record
                self.dropped += 1
                log.exception("recording_failed")
                return
            else:
                self.failing_since_mono_s = None
                return
