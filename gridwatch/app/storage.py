# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where this machine's store and case queue are, for commands that need neither cameras nor a network."""

import contextlib
import os
from collections.abc import Iterator

from events.errors import QueueError, StoreError
from events.queues.embedded import EmbeddedServer
from events.queues.redis_streams import RedisCaseQueue
from events.stores.sql import Store
from gridwatch.app.settings import EMBEDDED, Settings
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact


def files_for_owner() -> None:
    """Let nobody but this process's user read the files that it makes from now on, and those of its children."""
    os.umask(0o077)


def store_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL: the configured one, or SQLite in the state folder."""
    if settings.store is None:
        return f"sqlite:///{settings.state / 'gridwatch.db'}"
    return settings.store.get_secret_value()


def open_store(settings: Settings, *, as_it_is: bool = False) -> Store:
    """Open the store of a configuration; it is not made where there is none.

    Args:
        settings: of the configuration.
        as_it_is: one that has not this version's schema is not brought to it: who only reads changes nothing.

    Raises:
        InputError: there is none, it does not answer, or it would have to be changed.
    """
    if settings.store is None and not (settings.state / "gridwatch.db").is_file():
        raise InputError(f"there is no store in {settings.state}")
    if as_it_is and not Store.is_current(store_url(settings)):
        raise InputError("the store has the schema of another version, or does not answer")
    try:
        return Store.open(store_url(settings))
    except StoreError as error:
        raise InputError(redact(str(error))) from error


def case_queue(settings: Settings, url: str) -> RedisCaseQueue:
    """Return the case queue at `url`. Replies are read in a group of this source's own: several gridwatches may share a server."""
    group = f"gridwatch:{settings.source_id}"
    return RedisCaseQueue.connect(
        url, stream=settings.queue.stream, replies=settings.queue.replies, group=group
    )


@contextlib.contextmanager
def open_queue(settings: Settings, *, alone: bool = False) -> Iterator[RedisCaseQueue]:
    """Yield the case queue; the embedded one is found running, or started for the while.

    Args:
        settings: of this machine.
        alone: refuse an embedded one that runs already: a gridwatch holds it.

    Raises:
        InputError: the embedded queue does not start, or is held by a gridwatch that runs.
    """
    with contextlib.ExitStack() as stack:
        url = settings.queue.url.get_secret_value()
        if url == EMBEDDED:
            url = _embedded(settings, stack, alone=alone)
        queue = case_queue(settings, url)
        stack.callback(queue.close)
        yield queue


def _embedded(settings: Settings, stack: contextlib.ExitStack, *, alone: bool) -> str:
    files_for_owner()  # what a server that is started here writes
    server = EmbeddedServer()
    try:
        url = server.start(settings.state / "queue")
    except QueueError as error:
        raise InputError(f"the embedded queue does not start: {error}") from error
    stack.callback(server.stop)
    if alone and server.pid is None:
        raise InputError(f"a gridwatch runs in {settings.state}; stop it first")
    return url
