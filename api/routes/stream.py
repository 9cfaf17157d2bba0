# SPDX-License-Identifier: AGPL-3.0-or-later
"""Changes as server-sent events; the id is the journal's seq, so that a client resumes where it was."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api.access import Right
from api.errors import ListenerOverflow, NotAdmitted
from api.feed import PAGE_ROWS, JournalFeed, Listener
from api.operations import Operations
from api.problems import bad_request
from api.routes.depends import FeedDep, OperationsDep, ServicesDep
from events.journal import Row
from events.reading import AlertReader

router = APIRouter(prefix="/api/v1", tags=["alerts"])

KEEP_ALIVE_S: Final = 15.0
RESUME_ROWS: Final = 5_000
_RETRY_MS: Final = 2_000


class EventStream(StreamingResponse):
    """A stream of server-sent events."""

    media_type = "text/event-stream"


@router.get(
    "/alerts/stream", summary="Changes as they happen (server-sent events)", response_class=EventStream
)
async def stream_alerts(
    feed: FeedDep,
    services: ServicesDep,
    operations: OperationsDep,
    last_event_id: Annotated[str | None, Header(description="the last seq that was seen")] = None,
    after: Annotated[int | None, Query(ge=0, description="the same, for a first connection")] = None,
) -> EventStream:
    """Send each change of any alert: seq, alert id, revision and what changed; the alert itself is one GET away.

    Events: `ready` once (its id is the journal's end, or where the client was), `change` per row, and `reload`
    when too much was missed: load the lists again. It waits on a queue and touches no SQL on the event loop, and it
    ends when the caller's token has.
    """
    await run_in_threadpool(operations.need, Right.SEE)
    since = _since(last_event_id, after)
    listener = feed.listen()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventStream(_events(feed, services.alerts, listener, since, operations), headers=headers)


def _since(last_event_id: str | None, after: int | None) -> int | None:
    if not last_event_id:
        return after
    if not last_event_id.isdecimal() or len(last_event_id) > 18:  # noqa: PLR2004  fits 64 bits
        raise bad_request("Last-Event-ID is the seq of a row, a whole number")
    return int(last_event_id)


async def _events(
    feed: JournalFeed,
    alerts: AlertReader,
    listener: Listener,
    since: int | None,
    operations: Operations,
) -> AsyncIterator[str]:
    try:
        start = listener.since if since is None else since
        if await _missed_too_much(alerts, listener, start):
            yield _event("reload", {"reason": "too much was missed"})
            start = listener.since
        yield f"retry: {_RETRY_MS}\n" + _event("ready", {"seq": start}, start)
        last = start
        async for row in _rows(alerts, listener, start):
            await run_in_threadpool(operations.need, Right.SEE)
            if row is None:
                yield ": keep-alive\n\n"
            elif row.seq > last:
                last = row.seq
                yield _event("change", _change(row), row.seq)
    except ListenerOverflow:
        yield _event("reload", {"reason": "this listener was too slow"})
    except NotAdmitted:
        return
    finally:
        feed.leave(listener)


async def _missed_too_much(alerts: AlertReader, listener: Listener, start: int) -> bool:
    """Tell whether `start` is too far behind, or was never given by this store (it was restored, or is another one)."""
    if start <= listener.since:
        return listener.since - start > RESUME_ROWS
    return start > await run_in_threadpool(alerts.last_seq)


async def _rows(alerts: AlertReader, listener: Listener, start: int) -> AsyncIterator[Row | None]:
    """Yield what was missed, then what comes; None where nothing came for a while."""
    while start < listener.since:
        missed = await run_in_threadpool(alerts.rows_after, start, PAGE_ROWS)
        for row in missed:
            yield row
        start = missed[-1].seq if missed else listener.since
    while (arrived := await listener.take(KEEP_ALIVE_S)) is not None:
        for row in arrived:
            yield row
        if not arrived:
            yield None


def _change(row: Row) -> dict[str, object]:
    return {
        "seq": row.seq,
        "alert_id": row.incident_id,
        "revision": row.revision,
        "change": row.kind,
        "actor": row.actor,
        "at": row.at.isoformat().replace("+00:00", "Z"),
    }


def _event(name: str, data: dict[str, object], seq: int | None = None) -> str:
    head = "" if seq is None else f"id: {seq}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
