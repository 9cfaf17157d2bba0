# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTSP 1.0 messages and interleaved frames as bytes (RFC 2326 sections 4, 6, 7 and 10.12). No socket, no clock.

Not here: what a request means (session.py), who may ask (digest.py). Only CRLF ends a line.
"""

import re
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from gridwatch.simulator.errors import WireError

MAX_HEAD_BYTES = 8 * 1024
MAX_BODY_BYTES = 16 * 1024
MAX_HEADERS = 64
VERSION = "RTSP/1.0"

Headers: TypeAlias = tuple[tuple[str, str], ...]

_DOLLAR = 0x24
_INTERLEAVED_HEADER_BYTES = 4
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NUMBER = re.compile(r"[0-9]{1,10}")

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    413: "Request Entity Too Large",
    451: "Parameter Not Understood",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version Not Supported",
    551: "Option not supported",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks. `url` is as sent; header names keep their spelling and are compared without case."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first header of this name, or None."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    @property
    def cseq(self) -> str:
        """The sequence number, as text.

        Raises:
            WireError: it is missing or no number.
        """
        text = self.header("CSeq") or ""
        if not _NUMBER.fullmatch(text):
            raise WireError("a request needs a CSeq of digits")
        return text

    @property
    def path(self) -> str:
        """The URL's path without slashes at its ends; empty for `*`.

        Raises:
            WireError: the URL cannot be read.
        """
        return url_path(self.url)

    def __bytes__(self) -> bytes:
        return _message(f"{self.method} {self.url} {VERSION}", self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answers; Content-Length is added by itself."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    def with_headers(self, *more: tuple[str, str]) -> "Response":
        """Return the same answer with `more` before its other headers."""
        return Response(self.status, more + self.headers, self.body)

    def __bytes__(self) -> bytes:
        return _message(f"{VERSION} {self.status} {REASONS[self.status]}", self.headers, self.body)


@dataclass(frozen=True, slots=True)
class InterleavedFrame:
    """One RTP or RTCP packet on the RTSP connection (RFC 2326 section 10.12)."""

    channel: int
    payload: bytes

    def __bytes__(self) -> bytes:
        return interleaved_header(self.channel, len(self.payload)) + self.payload


def interleaved_header(channel: int, length: int) -> bytes:
    """Return the four bytes before a packet of `length` (0 to 65,535) bytes."""
    return bytes((_DOLLAR, channel)) + length.to_bytes(2, "big")


def url_path(url: str) -> str:
    """Return the decoded path of an RTSP URL without slashes at its ends; empty for `*`."""
    if url == "*":
        return ""
    try:
        parts = urlsplit(url)
        path = unquote(parts.path, errors="strict")
    except (ValueError, UnicodeDecodeError) as exc:
        raise WireError("the URL cannot be read") from exc
    if parts.scheme not in {"rtsp", ""}:
        raise WireError("the URL's scheme is not rtsp")
    return path.strip("/")


def parse_request(head: bytes, body: bytes = b"") -> Request:
    """Read a request's head (without the empty line that ends it).

    Raises:
        WireError: 400 for what is malformed, 505 for another version.
    """
    try:
        first, *rest = head.decode().split("\r\n")
    except UnicodeDecodeError as exc:
        raise WireError("the head is not UTF-8") from exc
    words = first.split(" ")
    if len(words) != 3 or not all(words) or _CONTROL.search(first):  # noqa: PLR2004  method, URL, version
        raise WireError("the request line is not METHOD URL VERSION")
    method, url, version = words
    if not _TOKEN.fullmatch(method):
        raise WireError("the method is not a token")
    if version != VERSION:
        raise WireError(f"expected {VERSION}", 505 if version.startswith("RTSP/") else 400)
    return Request(method, url, _parse_headers(rest), body)


@dataclass(slots=True)
class RtspReader:
    """Cuts a connection's bytes into requests and interleaved frames; holds at most one message's worth.

    Call `feed`, then `next_message` until it returns None. After a WireError the connection cannot go on:
    where the next message begins is not known any more.
    """

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        self._buffer += data

    def next_message(self) -> Request | InterleavedFrame | None:
        """Return the next whole message, or None while there is none.

        Raises:
            WireError: the bytes are not RTSP, or a size is over its limit (413).
        """
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
        if not self._buffer:
            return None
        return self._interleaved() if self._buffer[0] == _DOLLAR else self._request()

    def _interleaved(self) -> InterleavedFrame | None:
        if len(self._buffer) < _INTERLEAVED_HEADER_BYTES:
            return None
        end = _INTERLEAVED_HEADER_BYTES + int.from_bytes(self._buffer[2:4], "big")
        if len(self._buffer) < end:
            return None
        return InterleavedFrame(self._buffer[1], self._cut(end)[_INTERLEAVED_HEADER_BYTES:])

    def _request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD_BYTES:
                raise WireError(f"the head is longer than {MAX_HEAD_BYTES} bytes", 413)
            return None
        request = parse_request(bytes(self._buffer[:end]))
        length = _content_length(request)
        total = end + 4 + length
        if len(self._buffer) < total:
            return None
        body = self._cut(total)[end + 4 :]
        return Request(request.method, request.url, request.headers, body)

    def _cut(self, end: int) -> bytes:
        piece = bytes(self._buffer[:end])
        del self._buffer[:end]
        return piece


def _parse_headers(lines: list[str]) -> Headers:
    if len(lines) > MAX_HEADERS:
        raise WireError(f"more than {MAX_HEADERS} headers", 413)
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise WireError("a header is not NAME: VALUE")
        headers.append((name, value.strip()))
    return tuple(headers)


def _content_length(request: Request) -> int:
    text = request.header("Content-Length")
    if text is None:
        return 0
    if not _NUMBER.fullmatch(text):
        raise WireError("Content-Length is not a number")
    if int(text) > MAX_BODY_BYTES:
        raise WireError(f"the body is longer than {MAX_BODY_BYTES} bytes", 413)
    return int(text)


def _message(first: str, headers: Headers, body: bytes) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
