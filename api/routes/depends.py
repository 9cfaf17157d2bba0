# SPDX-License-Identifier: AGPL-3.0-or-later
"""What routes are given: the operations for who calls, the feed, and a revision read from If-Match."""

import re
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Header, Query, Request, Security
from fastapi.security import HTTPBearer

from api.feed import JournalFeed
from api.operations import Operations
from api.problems import bad_request, revision_required
from api.services import Services

_ETAG: Final = re.compile(r'"(\d{1,9})"')


def _operations(request: Request) -> Operations:
    return cast(Operations, request.app.state.operations).of(request.state.caller)


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


def _feed(request: Request) -> JournalFeed:
    return cast(JournalFeed, request.app.state.feed)


def _seen_revision(
    if_match: Annotated[
        str | None,
        Header(description='ETag of the alert that the operator saw: "<revision>"; required'),
    ] = None,
) -> int:
    """Read the revision that the operator saw (RFC 9110 section 13.1.1, strong comparison)."""
    if if_match is None:
        raise revision_required()
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise bad_request('If-Match must be one ETag of this alert, such as "3"')
    return int(match.group(1))


# It refuses nobody (the guard does): it tells who generates a client from the description what to send.
TOKEN: Final[Any] = Security(
    HTTPBearer(auto_error=False, scheme_name="token", description="`gridwatch tokens add` makes one")
)
OperationsDep = Annotated[Operations, Depends(_operations)]
ServicesDep = Annotated[Services, Depends(_services)]
FeedDep = Annotated[JournalFeed, Depends(_feed)]
SeenRevision = Annotated[int, Depends(_seen_revision)]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=200)]
