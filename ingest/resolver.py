# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a stream is now: a fixed address, or one that is asked for at every opening, because it expires.

Play addresses of video platforms live for minutes. What a resolver says is believed only as far as it is an RTSP URL;
nothing of it, nor of how it was asked, is shown: both may hold credentials.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httpx

from gridwatch.core.camera import Address, Resolver
from gridwatch.core.redact import SecretUrl
from ingest.errors import NotFoundError, SourceError, TimedOutError, UnauthorizedError, UnreachableError

_SCHEMES = ("rtsp", "rtsps")
_MOST_BYTES = 64 * 1024
_LONGEST_URL = 4096
_STATUS_OK = range(200, 300)
_REFUSED = (401, 403)
_NOT_FOUND = (404, 410)


def locate(address: Address) -> SecretUrl:
    """Return the stream's URL; a resolver is asked for it now, which may take its `timeout_s`.

    Raises:
        SourceError: it cannot be had, or it is no RTSP URL. The reason holds neither the answer nor the question.
    """
    if isinstance(address, SecretUrl):
        return _checked(address.reveal(), "the address is no rtsp:// or rtsps:// URL")
    text = _ask_http(address, address.http) if address.http is not None else _ask_command(address)
    return _checked(text.strip(), "what the resolver says is no rtsp:// or rtsps:// URL")


def _checked(url: str, otherwise: str) -> SecretUrl:
    if not _is_rtsp(url):
        raise UnreachableError(otherwise)
    return SecretUrl(url)


def _is_rtsp(url: str) -> bool:
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in _SCHEMES and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def _ask_http(resolver: Resolver, url: SecretUrl) -> str:
    failure: SourceError
    try:
        status, body = _get(url, resolver.timeout_s)
    except httpx.TimeoutException:
        failure = TimedOutError("the resolver did not answer in time")
    except (httpx.HTTPError, httpx.InvalidURL):
        failure = UnreachableError("the resolver cannot be reached")
    except ValueError:
        failure = UnreachableError("the resolver's answer is too long")
    else:
        return _url_in(status, body)
    raise failure  # outside of the except clause: httpx's exceptions hold the address


def _get(url: SecretUrl, timeout_s: float) -> tuple[int, bytes]:
    """Return status and body. Raises ValueError for a body that is too long."""
    # The transport alone, not a client: a client logs the whole address, would follow the environment's proxies, and
    # reads passwords from a .netrc.
    secure = urlsplit(url.reveal()).scheme.lower() == "https"
    with httpx.HTTPTransport(verify=secure) as transport, _Bounds(timeout_s) as bounds:
        response = transport.handle_request(_request(url, bounds))
        body = b""
        for part in response.iter_raw():
            body += part
            bounds.check()
            if len(body) > _MOST_BYTES:
                raise ValueError("an answer that is too long")
        return response.status_code, body


class _Bounds:
    """Ends a request in time as a whole: httpx bounds each read, and bytes may come one by one. One request each.

    Raises, from the block or at its end:
        httpx.ReadTimeout: it took too long; the connection was hung up then.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s, self._ends_mono_s = timeout_s, time.monotonic() + timeout_s
        self._connections: list[socket.socket] = []
        self._alarm = threading.Timer(timeout_s, self._hang_up)
        self._alarm.daemon = True

    def __enter__(self) -> Self:
        self._alarm.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alarm.cancel()
        if error is None or isinstance(error, httpx.TransportError):
            self.check()  # a body without a length ends where it is cut, as if it were whole

    def check(self) -> None:
        """Raise where the time is over."""
        if time.monotonic() >= self._ends_mono_s:
            raise httpx.ReadTimeout("an answer that takes too long")

    def note(self, event: str, info: dict[str, Any]) -> None:
        """Take what httpx tells of its connection (its extension `trace`)."""
        self.check()
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            self._connections.append(info["return_value"].get_extra_info("socket"))

    def _hang_up(self) -> None:
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _request(url: SecretUrl, bounds: _Bounds) -> httpx.Request:
    headers = {"Accept": "application/json, text/plain", "Accept-Encoding": "identity"}
    extensions = {"timeout": httpx.Timeout(bounds.timeout_s).as_dict(), "trace": bounds.note}
    request = httpx.Request("GET", url.reveal(), headers=headers, extensions=extensions)
    if request.url.username:
        credentials = httpx.BasicAuth(unquote(request.url.username), unquote(request.url.password))
        request = next(credentials.auth_flow(request))
    return request


def _url_in(status: int, body: bytes) -> str:
    if status in _REFUSED:
        raise UnauthorizedError("the resolver refuses us")
    if status in _NOT_FOUND:
        raise NotFoundError("the resolver knows no such stream")
    if status not in _STATUS_OK:
        raise UnreachableError(f"the resolver answers with status {status}")
    text = body.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return text
    try:
        said = json.loads(text)["url"]
    except (ValueError, KeyError, RecursionError):
        said = None
    if not isinstance(said, str):
        raise UnreachableError("the resolver's answer has no field `url`")
    return said


def _ask_command(resolver: Resolver) -> str:
    ends_mono_s = time.monotonic() + resolver.timeout_s
    try:
        process = subprocess.Popen(
            resolver.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError):
        process = None
    if process is None:
        raise UnreachableError("the resolver's program cannot be started")
    try:
        return _first_line(process, ends_mono_s)
    finally:
        _end(process)


def _first_line(process: "subprocess.Popen[bytes]", ends_mono_s: float) -> str:
    if process.stdout is None:
        raise UnreachableError("the resolver's program says nothing")
    said, file = b"", process.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        while len(said) <= _MOST_BYTES:
            if not selector.select(max(0.0, ends_mono_s - time.monotonic())):
                raise TimedOutError("the resolver's program did not answer in time")
            part = os.read(file, _MOST_BYTES)
            if not part:
                break
            said += part
    if len(said) > _MOST_BYTES:
        raise UnreachableError("the resolver's program says too much")
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.1, ends_mono_s - time.monotonic()))
    if process.returncode != 0:
        raise UnreachableError("the resolver's program failed")
    return said.decode("utf-8", "replace").strip().partition("\n")[0]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave nothing of it behind: it has a session of its own, so that what it started ends with it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
