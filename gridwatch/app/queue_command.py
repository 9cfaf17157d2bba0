# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch queue`: how the queue's mark stands to this journal; lets a person decide where the two contradict each other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from events.errors import MarkConflict, QueueError, StoreError
from events.marks import Marks, adopt
from events.outbox import WAITING_MOST, Outbox
from events.queues.port import CaseQueue, Mark
from gridwatch.app.policy import policy_of
from gridwatch.app.settings import load_settings
from gridwatch.app.storage import open_queue, open_store
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError


@dataclass(frozen=True, slots=True)
class _Both:
    """This machine's journal and its queue.

    Attributes:
        source: under which the one goes to the other, as configured now; messages of before keep the one they had.
    """

    outbox: Outbox
    queue: CaseQueue
    source: str

    def sources(self) -> list[str]:
        """Return every source that the journal's messages have, the configured one last."""
        return [*(one for one in self.outbox.sources() if one != self.source), self.source]

    def standing(self, source: str) -> tuple[Mark | None, Mark | MarkConflict | None]:
        """Return the mark of a source, and what it means here or what is wrong with it."""
        mark = self.queue.mark(source)
        try:
            return mark, None if mark is None else Marks(self.outbox).meaning(mark, source)
        except MarkConflict as error:
            return mark, error


def show_queue(config: Path) -> int:
    """Print where marks and journal stand, and how many messages wait; return 1 where they contradict each other.

    A source of before a renaming is shown while it has a mark, or messages of it wait.

    Raises:
        InputError: the configuration is wrong, or store or queue do not answer.
    """
    with _both(config) as both:
        typer.echo(f"journal  {both.outbox.epoch}:{both.outbox.last_seq()}")
        conflicts = [_show(both, source) for source in both.sources()]
        typer.echo(f"given up {both.outbox.lying()} messages (gridwatch dead-letters list)")
    return 1 if any(conflicts) else 0


def _show(both: _Both, source: str) -> bool:
    """Print how one source stands; tell whether its mark is in the way."""
    mark, standing = both.standing(source)
    _, newest = both.standing(both.outbox.newest_source() or both.source)
    sent = newest.seq if isinstance(newest, Mark) else 0  # and everything before it, whatever its source
    at = max(sent, standing.seq) if isinstance(standing, Mark) else sent
    waiting, _ = both.outbox.waiting_after(at, source)
    if source != both.source and mark is None and not waiting:
        return False
    typer.echo(f"source   {source}")
    typer.echo(f"mark     {mark or 'none'}")
    if isinstance(standing, MarkConflict) and (waiting or source == both.source):
        typer.echo(f"nothing is sent: {standing}", err=True)
        return True
    least = "at least " if waiting == WAITING_MOST else ""
    typer.echo(f"waiting  {least}{waiting} messages after row {at}")
    return False


def adopt_queue(config: Path, send: str, source: str | None = None) -> None:
    """Let a queue whose mark contradicts this journal go on from here.

    Args:
        config: the configuration of store and queue.
        source: whose mark, where it is not the configured source: messages keep the source that they were recorded under.
        send: `all`: every message of this journal is sent; `new`: none that is recorded already; or a row's number: what
            follows that row.

    Raises:
        InputError: the configuration, `send` or `source` is wrong, nothing contradicts, or store or queue do not answer.
    """
    with _both(config) as both:
        after = _after(send, both.outbox.last_seq())
        whose, known = source or both.source, both.sources()
        if whose not in known:
            raise InputError(f"no message of this journal is of {whose!r}; --source is {' or '.join(known)}")
        _, standing = both.standing(whose)
        if not isinstance(standing, MarkConflict):
            raise InputError(
                f"the queue's mark of {whose} and this journal agree, so there is nothing to decide; nothing was changed"
            )
        before, now = adopt(both.outbox, both.queue, whose, after)
        waiting, _ = both.outbox.waiting_after(now.seq, whose)
    typer.echo(
        f"the mark was {before} and is {now}: {waiting} messages are sent from here; gridwatch goes on by itself"
    )


def _after(send: str, last: int) -> int:
    words = {"all": 0, "new": last}
    if send in words:
        return words[send]
    if not send.isdecimal() or int(send) > last:
        raise InputError(f"--send is all, new, or a row of this journal (0 to {last}), not {send!r}")
    return int(send)


@contextmanager
def _both(config: Path) -> Iterator[_Both]:
    settings, _ = load_settings(config)
    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(settings))
            queue = stack.enter_context(open_queue(settings))
            yield _Both(Outbox(store, SystemClock()), queue, policy_of(settings).source)
        except (StoreError, QueueError) as error:
            raise InputError(f"{error}; nothing was changed") from error
