# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may talk to this server at all: Host, Origin, JSON-only writes, and the headers that keep pages apart.

There is no authentication yet, so that a page in the operator's browser must not be able to read or decide
anything: a foreign Host (DNS rebinding) and a foreign Origin are refused before any route runs.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import ProblemResponse
from gridwatch.core.errors import InputError

MAX_WRITE_BYTES: Final = 65_536
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
    "Referrer-Policy": "no-referrer",
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


def check_bind(host: str) -> None:
    """Allow loopback addresses only.

    Raises:
        InputError: for any other address.
    """
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InputError(
            f"the API may not listen on {host!r}: there is no authentication yet, use 127.0.0.1 "
            "(and a tunnel or a proxy that asks for a password, for other machines)"
        )


class Guard:
    """ASGI middleware around everything, the console and its websocket included."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in (*_LOOPBACK_HOSTS, *policy.hosts))
        self._origins = frozenset(origin.lower() for origin in policy.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the security headers added to the answer."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(scope, send))
        elif scope["type"] == "http":
            await refusal(scope, receive, _with_headers(scope, send))
        else:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "refused"})

    def _refusal(self, scope: Scope) -> ProblemResponse | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _host_name(hosts[0]) not in self._hosts:
            return ProblemResponse(421, "foreign-host", "this server does not go by that name")
        origins = headers.getlist("origin")
        if any(not self._own(origin, hosts[0]) for origin in origins):
            return ProblemResponse(403, "foreign-origin", "pages of other sites may not call this server")
        if scope["type"] == "websocket" and not origins:
            return ProblemResponse(403, "origin-missing", "a websocket needs an Origin")
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            return _write_refusal(scope["path"], headers)
        return None

    def _own(self, origin: str, host: str) -> bool:
        parts = urlsplit(origin.lower())
        same = parts.scheme in {"http", "https"} and parts.netloc == host.lower()
        return same or origin.lower() in self._origins


def _write_refusal(path: str, headers: Headers) -> ProblemResponse | None:
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return ProblemResponse(403, "foreign-origin", "pages of other sites may not call this server")
    if not path.startswith("/api/"):
        return None
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return ProblemResponse(415, "json-only", "send Content-Type: application/json")
    length = headers.get("content-length")
    if length is None:
        return ProblemResponse(411, "length-required", "send Content-Length")
    if not length.isdecimal() or int(length) > MAX_WRITE_BYTES:
        return ProblemResponse(413, "too-large", f"at most {MAX_WRITE_BYTES} bytes")
    return None


def _host_name(host: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _with_headers(scope: Scope, send: Send) -> Send:
    policy = CONSOLE_CSP if is_console(scope["path"]) else STRICT_CSP

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _headers(policy):
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def _headers(policy: str) -> Iterable[tuple[str, str]]:
    yield "Content-Security-Policy", policy
    yield from _HEADERS.items()


def is_console(path: str) -> bool:
    """Tell whether a path belongs to the console: its page, its assets and NiceGUI's own folder."""
    return path in {"/", "/favicon.ico"} or path.startswith(("/_nicegui", "/console/"))
