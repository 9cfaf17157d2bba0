# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is found waits in memory while the store is away, and is recorded on its return, in order."""

import threading
import time

from events.errors import StoreError
from gridwatch.app import recorder as module
from gridwatch.app.recorder import Recorder


def wait_for(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_store_that_comes_back_gets_everything_in_order(monkeypatch):
    """Nothing is lost, nothing overtakes, and readiness says so meanwhile."""
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    away = threading.Event()
    away.set()
    done: list[int] = []

    def job(number: int) -> None:
        if away.is_set():
            raise StoreError("the database does not answer")
        done.append(number)

    recorder = Recorder(time.monotonic)
    recorder.start()
    for number in range(5):
        recorder.submit(lambda number=number: job(number))
    wait_for(lambda: recorder.failing_since_mono_s is not None)
    assert recorder.waiting == 5
    away.clear()
    wait_for(lambda: recorder.waiting == 0)
    assert done == [0, 1, 2, 3, 4]
    assert recorder.failing_since_mono_s is None
    recorder.stop()


def test_facts_yield_to_openings_when_the_store_is_away_for_long(monkeypatch):
    """Updates are dropped first, counted; openings and endings still find room."""
    monkeypatch.setattr(module, "WHERE_FACTS_YIELD", 2)
    recorder = Recorder(time.monotonic)
    for _ in range(3):
        recorder.submit(lambda: None, may_be_dropped=True)
    recorder.submit(lambda: None)
    assert (recorder.waiting, recorder.dropped) == (3, 1)


def test_one_bad_record_does_not_end_the_thread():
    """A fault in one recording is logged; the next one is made."""
    recorder = Recorder(time.monotonic)
    recorder.start()
    done = threading.Event()
    recorder.submit(lambda: 1 / 0)
    recorder.submit(done.set)
    assert done.wait(20)
    recorder.stop()
