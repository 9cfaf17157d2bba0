# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case system's door: case messages and answers over HTTP, and links to evidence, where the queue is out of reach."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, cast

import structlog
from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool

from api.access import Right
from api.errors import ListenerOverflow, TooManyListeners
from api.feed import Listener
from api.problems import bad_request
from api.routes.depends import FeedDep, OperationsDep
from api.shapes import EvidenceLinkBody, EvidenceLinkShape, MessagesShape, OutcomeShape, OutcomesShape
from api.waiting import WaitingRoom
from events.exchange import PAGE_MAX, MessagePage
from events.journal import storable

router = APIRouter(prefix="/api/v1", tags=["case system"])
log = structlog.get_logger("api")

WAIT_MOST_S: Final = 30.0
REPLIES_MOST: Final = 100
_GONE_S: Final = 1.0  # how often it is seen whether who waits is still there
_ID_CHARS: Final = 256
_SEQ_MOST: Final = 2**63 - 1

Reply = dict[str, Any]


class Waiting:
    """One call that waits for the first message: on a queue, not in SQL, and only as long as somebody is there."""

    def __init__(self, request: Request, operations: OperationsDep, feed: FeedDep) -> None:
        self._request, self._operations, self._feed = request, operations, feed

    async def first_page(self, empty: MessagePage, limit: int, wait_s: float) -> MessagePage:
        """Return the first page that is not empty, or an empty one when the time is over or the caller is gone.

        Where too many wait it is the empty one at once, as if the caller had not asked to wait.

        Raises:
            NotAdmitted: the caller's token ended meanwhile.
        """
        caller, seats = self._operations.caller, cast(WaitingRoom, self._request.app.state.seats)
        with seats.seat(caller.token_id or caller.name) as free:
            page = await self._listen(empty, limit, wait_s) if free else empty
        await run_in_threadpool(self._operations.need, Right.MESSAGES)
        return page

    async def _listen(self, empty: MessagePage, limit: int, wait_s: float) -> MessagePage:
        async def read() -> MessagePage:
            return await run_in_threadpool(self._operations.messages, empty.next, empty.epoch, limit)

        try:
            listener = self._feed.listen()
        except TooManyListeners:
            return empty
        try:
            return await self._take(listener, read, wait_s)
        except ListenerOverflow:
            return await read()
        finally:
            self._feed.leave(listener)

    async def _take(
        self, listener: Listener, read: Callable[[], Awaitable[MessagePage]], wait_s: float
    ) -> MessagePage:
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + wait_s
        page = await read()  # what was recorded before the listener was there
        while not page.messages and (left_s := ends_s - loop.time()) > 0:
            rows = await listener.take(min(left_s, _GONE_S))
            if rows is None or await self._request.is_disconnected():
                break  # the server stops, or nobody is there any more
            if any(row.message_id for row in rows):
                page = await read()
        return page


WaitingDep = Annotated[Waiting, Depends()]


@router.get("/case-messages", summary="Case messages, in order")
async def list_case_messages(
    operations: OperationsDep,
    waiting: WaitingDep,
    after: Annotated[int, Query(ge=0, le=_SEQ_MOST, description="`next` of the call before; 0 at first")] = 0,
    epoch: Annotated[
        str | None, Query(max_length=32, description="`epoch` of the call before; left out at first")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    wait_s: Annotated[
        float, Query(ge=0, le=WAIT_MOST_S, description="wait so long for the first message")
    ] = 0.0,
) -> MessagesShape:
    """Return what the case queue carries, entry by entry, from where the reader stands.

    Who reads remembers `next` and `epoch` after it has acted on the page: a page that was lost is asked for again. A page
    has at most 4 MiB of messages. At most 4 calls of a caller wait, and 32 in all; others are answered at once. 409 where
    the reader stands in a journal that this one does not go on from.
    """
    page = await run_in_threadpool(operations.messages, after, epoch, limit)
    if not page.messages and wait_s > 0:
        page = await waiting.first_page(page, limit, wait_s)
    items = [message.fields() for message in page.messages]
    return MessagesShape(items=items, next=page.next, epoch=page.epoch)


@router.post("/case-replies", summary="Answers of the case system")
def take_case_replies(
    operations: OperationsDep,
    body: Annotated[
        Reply | list[Reply],
        Body(description="the fields of one entry of the reply stream, or a list of at most 100 of them"),
    ],
) -> OutcomesShape:
    """Take answers as the reply stream would, one after the other, and say what became of each.

    Each is recorded before the next is taken: after 503 send all of them again, what was recorded is a `duplicate` then.
    A field that is no text (`data` as an object) is taken as its JSON text.
    """
    replies = body if isinstance(body, list) else [body]
    if len(replies) > REPLIES_MOST:
        raise bad_request(f"at most {REPLIES_MOST} answers at once; {len(replies)} came")
    items = []
    for reply in replies:
        outcome = operations.take_reply(_fields(reply))
        items.append(OutcomeShape(id=storable(str(reply.get("id", "")))[:_ID_CHARS], outcome=outcome))
        if outcome not in {"recorded", "duplicate", "elsewhere"}:
            log.warning("reply_kept_apart", outcome=outcome, by=operations.caller.name)
    return OutcomesShape(items=items)


@router.post("/evidence-links", summary="A link to masked evidence, for who has no token")
def make_evidence_link(operations: OperationsDep, body: EvidenceLinkBody) -> EvidenceLinkShape:
    """Return a link that opens one masked still or clip for a while to whoever holds it; it ends with the token that asked for it."""
    path = f"/api/v1/evidence/{body.sha256}{operations.leaving_suffix(body.sha256)}"
    query, expires_at = operations.evidence_link(path, body.valid_s)
    log.info("evidence_link", sha256=body.sha256, by=operations.caller.name, until=expires_at.isoformat())
    return EvidenceLinkShape(url=f"{path}?{query}", expires_at=expires_at)


def _fields(reply: Mapping[str, Any]) -> dict[str, str]:
    """Return an entry's fields as text, as the queue would carry them."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in reply.items()
        if value is not None
    }
