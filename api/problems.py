# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every error leaves as one RFC 9457 problem; the only place that knows HTTPException."""

import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias, TypeVar

import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from api.errors import (
    Forbidden,
    NoOtherView,
    NotAdmitted,
    NothingStored,
    TooManyListeners,
    UnknownCamera,
)
from events.errors import (
    DecisionConflict,
    EvidenceError,
    ForeignJournal,
    IllegalDecision,
    StoreError,
    UnknownIncident,
    UnknownRevision,
)
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 2
_MAX_SHOWN_MISTAKES = 20

_E = TypeVar("_E", bound=Exception)
_Handler: TypeAlias = Callable[[Request, _E], Awaitable[JSONResponse]]


class ProblemResponse(JSONResponse):
    """A problem's body. `extra` are extension members; status, title and detail as RFC 9457 names them."""

    media_type = MEDIA_TYPE

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        *,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        body = {
            **{name: _redacted(value) for name, value in (extra or {}).items()},
            "type": f"urn:gridwatch:problem:{name}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": redact(detail),
        }
        super().__init__(body, status_code=status, headers=headers)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _redacted(one) for name, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list | tuple) else value


def revision_required() -> HTTPException:
    """Say that a decision needs `If-Match` (RFC 6585 section 3)."""
    return HTTPException(
        HTTPStatus.PRECONDITION_REQUIRED,
        'send If-Match: "<revision>", the ETag of the alert that the operator saw',
    )


def not_admitted(detail: str, *, invalid: bool = False) -> ProblemResponse:
    """Say that a token is needed (RFC 6750 section 3); `invalid` where the one that came admits nobody."""
    challenge = 'Bearer realm="gridwatch"' + (', error="invalid_token"' if invalid else "")
    return ProblemResponse(401, "not-admitted", detail, headers={"WWW-Authenticate": challenge})


def slow_down(wait_s: float) -> ProblemResponse:
    """Say that too many attempts failed (RFC 6585 section 4)."""
    seconds = math.ceil(wait_s)
    headers = {"Retry-After": str(seconds)}
    detail = f"too many attempts failed; the next one is taken in {seconds} s"
    return ProblemResponse(429, "too-many-attempts", detail, headers=headers)


def bad_request(detail: str) -> HTTPException:
    """Say that a header or cursor cannot be read."""
    return HTTPException(HTTPStatus.BAD_REQUEST, detail)


async def _http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
    name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    return ProblemResponse(error.status_code, name, str(error.detail), headers=error.headers)


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    mistakes = [
        {"where": ".".join(str(part) for part in mistake["loc"]), "what": mistake["msg"]}
        for mistake in error.errors()[:_MAX_SHOWN_MISTAKES]
    ]
    detail = "; ".join(f"{mistake['where']}: {mistake['what']}" for mistake in mistakes)
    return ProblemResponse(422, "invalid-request", detail, extra={"mistakes": mistakes})


async def _bad_input(_: Request, error: InputError) -> JSONResponse:
    return ProblemResponse(400, "bad-request", error.problem)


async def _unknown_incident(_: Request, error: UnknownIncident) -> JSONResponse:
    return ProblemResponse(404, "unknown-alert", str(error))


async def _unknown_camera(_: Request, error: UnknownCamera) -> JSONResponse:
    return ProblemResponse(404, "unknown-camera", str(error))


async def _no_other_view(_: Request, error: NoOtherView) -> JSONResponse:
    return ProblemResponse(409, "no-other-view", str(error), extra={"fault": error.fault})


async def _nothing_stored(_: Request, error: NothingStored) -> JSONResponse:
    headers = {"Retry-After": str(_RETRY_AFTER_S)} if error.state == "pending" else None
    extra = {"state": error.state}
    return ProblemResponse(404, f"no-{error.what}", str(error), extra=extra, headers=headers)


async def _conflict(_: Request, error: DecisionConflict) -> JSONResponse:
    extra = {
        "by": error.by,
        "at": error.at.isoformat().replace("+00:00", "Z"),
        "decision": error.decision,
        "revision": error.revision,
    }
    return ProblemResponse(409, "decided-meanwhile", str(error), extra=extra)


async def _unknown_revision(_: Request, error: UnknownRevision) -> JSONResponse:
    extra = {"seen": error.seen, "revision": error.revision}
    return ProblemResponse(412, "unknown-revision", str(error), extra=extra)


async def _illegal(_: Request, error: IllegalDecision) -> JSONResponse:
    return ProblemResponse(422, "illegal-decision", str(error))


async def _store_away(_: Request, error: StoreError) -> JSONResponse:
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return ProblemResponse(503, "store-unavailable", str(error), headers=headers)


async def _too_many(_: Request, error: TooManyListeners) -> JSONResponse:
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return ProblemResponse(503, "too-many-listeners", str(error), headers=headers)


async def _not_admitted(_: Request, error: NotAdmitted) -> JSONResponse:
    return not_admitted(str(error), invalid=True)


async def _forbidden(_: Request, error: Forbidden) -> JSONResponse:
    headers = {"WWW-Authenticate": 'Bearer realm="gridwatch", error="insufficient_scope"'}
    return ProblemResponse(403, "forbidden", str(error), extra={"right": error.right}, headers=headers)


async def _foreign_journal(_: Request, error: ForeignJournal) -> JSONResponse:
    extra = {"epoch": error.epoch, "last_seq": error.last_seq}
    return ProblemResponse(409, "foreign-journal", str(error), extra=extra)


async def _evidence_gone(_: Request, error: EvidenceError) -> JSONResponse:
    return ProblemResponse(404, "no-evidence", str(error), extra={"state": "gone"})


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log = structlog.get_logger("api")
    log.error("request_failed", path=request.url.path, error=redact(repr(error)))
    return ProblemResponse(500, "internal-error", "the server made a mistake; its log says more")


def install_problems(app: FastAPI) -> None:
    """Let every error of `app` leave as a problem."""
    _on(app, StarletteHTTPException, _http_error)
    _on(app, RequestValidationError, _invalid)
    _on(app, InputError, _bad_input)
    _on(app, UnknownIncident, _unknown_incident)
    _on(app, UnknownCamera, _unknown_camera)
    _on(app, NoOtherView, _no_other_view)
    _on(app, NothingStored, _nothing_stored)
    _on(app, DecisionConflict, _conflict)
    _on(app, UnknownRevision, _unknown_revision)
    _on(app, IllegalDecision, _illegal)
    _on(app, StoreError, _store_away)
    _on(app, TooManyListeners, _too_many)
    _on(app, NotAdmitted, _not_admitted)
    _on(app, Forbidden, _forbidden)
    _on(app, ForeignJournal, _foreign_journal)
    _on(app, EvidenceError, _evidence_gone)
    _on(app, Exception, _unexpected)


def _on(app: FastAPI, kind: type[_E], handler: "_Handler[_E]") -> None:
    app.add_exception_handler(kind, handler)  # type: ignore[arg-type]  # starlette wants Exception itself
