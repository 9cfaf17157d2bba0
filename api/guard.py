# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may talk to this server at all: Host, Origin, JSON-only writes, tokens, and the headers that keep pages apart.

Host and Origin are checked whether there are tokens or not: a page in the operator's browser must not be able to read
or decide anything, so a foreign Host (DNS rebinding) and a foreign Origin are refused before any route runs. Then it is
found out who calls (`api.access`); what the caller may do is asked by the operation itself (`api.operations`).
"""

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import NOBODY, Access, Caller, Right
from api.problems import ProblemResponse, not_admitted, slow_down
from events.errors import StoreError
from events.tokens import Token
from gridwatch.core.errors import InputError

MAX_WRITE_BYTES: Final = 65_536
MAX_REPLIES_BYTES: Final = 1 << 20
MAX_FORM_BYTES: Final = 4_096
LOGIN, LOGOUT, REPLIES, EVIDENCE = "/login", "/logout", "/api/v1/case-replies", "/api/v1/evidence/"
PAGES: Final = frozenset({"/", "/cameras"})
_ICONS: Final = frozenset({"/favicon.ico", "/cameras/favicon.ico"})
SESSION_COOKIE: Final = "gridwatch_session"
LOOPBACK: Final = "127.0.0.1"
_READY: Final = "/readyz"  # strangers get an answer, who is known gets the reasons too
_FREE: Final = frozenset({"/healthz", LOGIN, LOGOUT})
_ANYBODY: Final = frozenset(Right)
_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY_VIOLATION: Final = 1008  # RFC 6455 section 7.4.1

STRICT_CSP: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
# NiceGUI writes its page's start script inline and Vue compiles templates in the browser.
CONSOLE_CSP: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Names by which this server may be called, beside the loopback ones.

    Attributes:
        hosts: host names without port.
        origins: whole origins (`https://desk.example:8443`) that may write, beside the page's own.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


def address_to_bind(host: str, tokens: Collection[Token], now: datetime) -> str:
    """Return where to listen: a loopback address as it is; any other only while a token admits somebody.

    Where all tokens have ended it is 127.0.0.1: nobody could be let in from elsewhere, and that the last token ran out
    overnight must not keep a machine from watching.

    Raises:
        InputError: no token was ever made; everybody who reached that address could decide.
    """
    if is_local(host) or any(token.admits(now) for token in tokens):
        return host
    if tokens:
        return LOOPBACK
    raise InputError(
        f"the API may not listen on {host!r} while there is no token: everybody who reaches it could decide; "
        "make a token first (gridwatch tokens add NAME --role operator), or use 127.0.0.1"
    )


def is_local(host: str) -> bool:
    """Tell whether only this machine reaches who listens on `host`."""
    return host == "localhost" or _is_loopback(host.strip("[]"))


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


class Guard:
    """ASGI middleware around everything, the console and its websocket included.

    Who calls stands in the scope's state as `caller` for whatever is behind it.
    """

    def __init__(self, app: ASGIApp, policy: AccessPolicy, access: Access) -> None:
        self._app, self._access = app, access
        self._hosts = frozenset(host.lower() for host in (*_LOOPBACK_HOSTS, *policy.hosts))
        self._origins = frozenset(origin.lower() for origin in policy.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the security headers added to the answer."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope) or await self._not_admitted(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "http":
            await refusal(scope, receive, _with_headers(scope, send))
        else:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "refused"})

    # whether this server is meant

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._goes_by(_host_name(hosts[0]), scope):
            return ProblemResponse(421, "foreign-host", "this server does not go by that name")
        origins = headers.getlist("origin")
        if any(not self._own(origin, hosts[0]) for origin in origins):
            return ProblemResponse(403, "foreign-origin", "pages of other sites may not call this server")
        if scope["type"] == "websocket" and not origins:
            return ProblemResponse(403, "origin-missing", "a websocket needs an Origin")
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            return _endless(headers) or _write_refusal(scope["path"], headers)
        return None

    def _goes_by(self, name: str, scope: Scope) -> bool:
        """Tell whether the name is ours: configured, or the very address that was connected to, which no foreign name is."""
        address = _local_address(scope)
        return name in self._hosts or (address != "" and name in {address, f"[{address}]"})

    def _own(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin.lower())
        except ValueError:  # half an IPv6 address
            return False
        same = parts.scheme in {"http", "https"} and parts.netloc == host.lower()
        return same or origin.lower() in self._origins

    # who calls

    async def _not_admitted(self, scope: Scope) -> Response | None:
        """Find out who calls and note it in the scope; return the refusal of who is not let in."""
        scope.setdefault("state", {})["caller"] = NOBODY
        if scope["path"] in _FREE:
            return None
        refusal = await self._unknown(scope)
        return None if scope["path"] == _READY else refusal

    async def _unknown(self, scope: Scope) -> Response | None:
        state = scope["state"]
        if self._access.stale:
            try:
                await run_in_threadpool(self._access.refresh)
            except StoreError as error:
                return ProblemResponse(503, "store-unavailable", str(error), headers={"Retry-After": "2"})
        if not self._access.guarded:
            if not _is_loopback(_local_address(scope)):
                return not_admitted("no token was made yet, so only who calls from this machine is served")
            state["caller"] = Caller("console" if is_console(scope["path"]) else "api", _ANYBODY)
            return None
        headers = Headers(scope=scope)
        secret = _bearer(headers)
        caller = self._access.by_token(secret) if secret is not None else self._without_token(scope, headers)
        if caller is None:
            return self._stranger(scope, headers, brought=secret is not None)
        state["caller"] = caller
        return None

    def _without_token(self, scope: Scope, headers: Headers) -> Caller | None:
        session = session_of(headers)
        caller = None if session is None else self._access.by_session(session)
        if caller is None and scope["type"] == "http" and scope["path"].startswith(EVIDENCE):
            query = QueryParams(scope["query_string"])
            reads = scope["method"] in _SAFE_METHODS
            return self._access.by_link(scope["path"], query) if reads and "sig" in query else None
        return caller

    def _stranger(self, scope: Scope, headers: Headers, *, brought: bool) -> Response:
        """Return the refusal: a browser that comes for the page is led to where a token is typed."""
        if brought:
            address = client_address(scope)
            if (wait_s := self._access.wrong_tokens.wait_s(address)) > 0:
                return slow_down(wait_s)
            self._access.wrong_tokens.failed(address)
            return not_admitted("this token admits nobody: unknown, expired or revoked", invalid=True)
        if scope["type"] == "http" and scope["path"] in PAGES and "text/html" in headers.get("accept", ""):
            return RedirectResponse(LOGIN, status_code=303)
        if scope["path"].startswith(EVIDENCE) and b"sig=" in scope.get("query_string", b""):
            return not_admitted("this link is over, or is none of this server's; ask for a new one")
        return not_admitted("bring a token: Authorization: Bearer <token>")


def session_of(headers: Headers) -> str | None:
    """Return the session that a browser shows, or None."""
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(SESSION_COOKIE)
    except CookieError:
        return None
    return None if cookie is None else cookie.value


def client_address(scope: Scope) -> str:
    """Return the address of who calls."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _local_address(scope: Scope) -> str:
    """Return the address of this machine that was connected to."""
    server = scope.get("server")
    return str(server[0]).partition("%")[0].removeprefix("::ffff:") if server else ""


def _bearer(headers: Headers) -> str | None:
    """Return the token of an `Authorization: Bearer` (RFC 6750 section 2.1); None where none came.

    Other schemes are somebody else's: a proxy that asks for a password sends its own along with every request.
    """
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _endless(headers: Headers) -> ProblemResponse | None:
    """Refuse a body whose size is not said; beside a Content-Length the other header prevails (RFC 9112 section 6.3)."""
    if "transfer-encoding" not in headers:
        return None
    return ProblemResponse(411, "length-required", "send Content-Length, and no Transfer-Encoding")


def _write_refusal(path: str, headers: Headers) -> ProblemResponse | None:
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return ProblemResponse(403, "foreign-origin", "pages of other sites may not call this server")
    api = path.startswith("/api/")
    if not api and path not in {LOGIN, LOGOUT}:
        return None
    if api and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return ProblemResponse(415, "json-only", "send Content-Type: application/json")
    length, most = headers.get("content-length"), _most_bytes(path, api=api)
    if length is None:
        return ProblemResponse(411, "length-required", "send Content-Length")
    if not length.isdecimal() or int(length) > most:
        return ProblemResponse(413, "too-large", f"at most {most} bytes")
    return None


def _most_bytes(path: str, *, api: bool) -> int:
    if path == REPLIES:
        return MAX_REPLIES_BYTES
    return MAX_WRITE_BYTES if api else MAX_FORM_BYTES


def _host_name(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _with_headers(scope: Scope, send: Send) -> Send:
    pages = is_console(scope["path"])
    policy = CONSOLE_CSP if pages else STRICT_CSP
    # With no-referrer a browser sends `Origin: null` with a form, which is nobody's: the console's pages have forms.
    referrer = "same-origin" if pages or scope["path"] == LOGIN else "no-referrer"

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _headers(policy, referrer):
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def _headers(policy: str, referrer: str) -> Iterable[tuple[str, str]]:
    yield "Content-Security-Policy", policy
    yield "Referrer-Policy", referrer
    yield from _HEADERS.items()


def is_console(path: str) -> bool:
    """Tell whether a path belongs to the console: its pages, their assets and NiceGUI's own folder."""
    return path in PAGES or path in _ICONS or path.startswith(("/_nicegui", "/console/"))
