# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a person types a token once, and gets a session for it. Not for programs: they bring the token itself."""

import math
from typing import Final, cast
from urllib.parse import parse_qs

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from api.access import Access, Right
from api.console.login import LOGIN_CSP, Problem, language_of, login_html
from api.guard import LOGIN, LOGOUT, SESSION_COOKIE, client_address, session_of

router = APIRouter(include_in_schema=False)
log = structlog.get_logger("api")

_STATUS: Final = {Problem.UNKNOWN: 401, Problem.PROGRAM: 403, Problem.THROTTLED: 429}
_HOME: Final = "/"
_FIELDS_MOST: Final = 4


@router.get(LOGIN)
async def show_login(request: Request) -> Response:
    """Show the form; where no token is needed, or a session is open, the console."""
    access = _access(request)
    await run_in_threadpool(access.refresh)
    session = session_of(request.headers)
    if not access.guarded or (session is not None and access.by_session(session) is not None):
        return RedirectResponse(_HOME, status_code=303)
    return _page(request, None)


@router.post(LOGIN)
async def log_in(request: Request) -> Response:
    """Open a session for the token that was typed."""
    access, address = _access(request), client_address(request.scope)
    typed = _typed(await request.body())
    await run_in_threadpool(access.refresh)
    caller = access.by_token(typed)
    if caller is None:
        if (wait_s := access.wrong_logins.wait_s(address)) > 0:
            return _page(request, Problem.THROTTLED, wait_s)
        access.wrong_logins.failed(address)
        log.warning("login_refused", address=address)
        return _page(request, Problem.UNKNOWN)
    if not caller.may(Right.SEE):
        return _page(request, Problem.PROGRAM)
    log.info("login", name=caller.name, address=address)
    session, valid_s = access.open_session(caller)
    answer = RedirectResponse(_HOME, status_code=303)
    answer.set_cookie(
        SESSION_COOKIE, session, max_age=int(valid_s), httponly=True, samesite="strict", secure=_tls(request)
    )
    return answer


@router.post(LOGOUT)
async def log_out(request: Request) -> Response:
    """End the session, whoever else may hold it."""
    access, session = _access(request), session_of(request.headers)
    if session is not None:
        await run_in_threadpool(access.refresh)  # after a restart nobody's session is known before
        access.end_session(session)
    answer = RedirectResponse(LOGIN, status_code=303)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=_tls(request))
    return answer


def _typed(body: bytes) -> str:
    """Return the token that a form holds; an empty one where it is no form of ours."""
    try:
        form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_FIELDS_MOST)
    except ValueError:
        return ""
    return form.get("token", [""])[0].strip()


def _page(request: Request, problem: Problem | None, wait_s: float = 0.0) -> HTMLResponse:
    language = language_of(request)
    headers = {"Content-Security-Policy": LOGIN_CSP, "Cache-Control": "no-store"}
    if problem is Problem.THROTTLED:
        headers["Retry-After"] = str(math.ceil(wait_s))
    status = 200 if problem is None else _STATUS[problem]
    return HTMLResponse(login_html(language, problem, wait_s), status_code=status, headers=headers)


def _access(request: Request) -> Access:
    return cast(Access, request.app.state.access)


def _tls(request: Request) -> bool:
    return request.url.scheme == "https"
