# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch run`: the parent keeps the embedded queue and the child; the child is the pipeline and the API."""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import structlog

from events.errors import QueueError
from events.queues.embedded import EmbeddedServer
from gridwatch.app import set_aside
from gridwatch.app.cameras import load_documents
from gridwatch.app.register import may_have_cameras
from gridwatch.app.settings import EMBEDDED, Settings, load_settings
from gridwatch.app.storage import files_for_owner
from gridwatch.app.supervisor import Supervisor, end_with_parent, heartbeat
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact

log = structlog.get_logger()

QUEUE_URL = "GRIDWATCH_QUEUE_URL"  # from the parent to its child; may hold a password, so never an argument


def run_parent(config: Path) -> int:
    """Check the configuration, start the queue if it is ours, and keep a child running."""
    files_for_owner()
    settings, _ = load_settings(config)
    if settings.cameras.is_file() and not may_have_cameras(settings):
        load_documents(settings.cameras)  # where a register may have some, the child goes on with those
    with _queue(settings) as (url, keep):
        os.environ[QUEUE_URL] = url
        command = [sys.executable, "-m", "gridwatch.app.cli", "run", "--child", "--config", str(config)]
        return Supervisor(command, keep, noting_crashes(settings.state)).run()


def run_child(config: Path) -> int:
    """Watch until told to stop, or until the parent is gone."""
    from gridwatch.app.wiring import build  # noqa: PLC0415  the parent stays small: it never imports the pipeline

    faulthandler.enable()
    settings, _ = load_settings(config)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    end_with_parent(stop.set)
    running = build(settings, os.environ.get(QUEUE_URL) or settings.queue.url.get_secret_value(), heartbeat())
    running.start()
    log.info(
        "watching",
        console=running.server.url,
        network=running.network.describe(),
        cameras=len(running.shard.statuses()),
    )
    stop.wait()
    running.close()
    return 0


def noting_crashes(state: Path) -> Callable[[Sequence[str], str], None]:
    """Return what notes the cameras that were being decoded in a crash; one that was there twice is set aside."""
    clock = SystemClock()

    def note(cameras: Sequence[str], cause: str) -> None:
        try:
            new = set_aside.note_crash(state, cameras, clock.now(), cause)
        except OSError as error:  # a full disk must not end the parent
            log.error("crash_not_noted", reason=error.strerror)
            return
        for camera_id in new:
            log.error("camera_set_aside", camera_id=camera_id, cause=cause)

    return note


@contextlib.contextmanager
def _queue(settings: Settings) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the queue's URL, and what keeps it running if it is ours."""
    if settings.queue.url.get_secret_value() != EMBEDDED:
        yield settings.queue.url.get_secret_value(), lambda: None
        return
    server = EmbeddedServer()
    folder = settings.state / "queue"
    try:
        url = server.start(folder)
    except QueueError as error:
        raise InputError(f"the embedded queue does not start: {error}") from error
    (folder / "url").write_text(url + "\n", encoding="utf-8")
    log.info("queue", url=redact(url), embedded=True)

    def keep() -> None:
        if server.alive():
            return
        log.error("queue_ended", restarting=True)
        try:
            server.stop()
            server.start(folder)
        except QueueError as error:
            log.error("queue_not_started", reason=str(error))

    try:
        yield url, keep
    finally:
        server.stop()
