# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests to a camera and its answers (RTSP 1.0, RFC 2326). Bytes and text only; who sends them is elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_HEAD, LONGEST_BODY = 16 * 1024, 64 * 1024  # bytes
_BEGINS = b"RTSP/"
_AGENT = "gridwatch"
_HEAD_END = re.compile(rb"\r?\n\r?\n")  # some end their lines as Unix does
_STATUS = re.compile(r"RTSP/\S+\s+(\d{3})(?!\S)", re.ASCII)
_LENGTH = re.compile(r"\d{1,9}", re.ASCII)


class ProtocolError(ValueError):
    """What came is no RTSP; ends in this room."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a camera answers.

    Attributes:
        headers: as they came, names in lower case.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key == name]

    def first(self, name: str) -> str:
        """Return the first value of a header; "" without one."""
        return next(iter(self.all(name)), "")


def request(method: str, uri: str, number: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """Return a request without a body."""
    lines = [f"{method} {uri} RTSP/1.0", f"CSeq: {number}", f"User-Agent: {_AGENT}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def parse(data: bytes) -> tuple[Response, int] | None:
    """Return the response that `data` begins with, and its length in bytes; None where it is not complete yet.

    Raises:
        ProtocolError: it is no response, or longer than any camera's.
    """
    if not data.startswith(_BEGINS[: len(data)]):
        raise ProtocolError("no answer of RTSP")
    head = _HEAD_END.search(data, 0, LONGEST_HEAD)
    if head is None:
        if len(data) >= LONGEST_HEAD:
            raise ProtocolError("an answer without end")
        return None
    status, headers = _head(data[: head.start()])
    length = next((value for name, value in headers if name == "content-length"), "0")
    if not _LENGTH.fullmatch(length) or int(length) > LONGEST_BODY:
        raise ProtocolError("an answer of no believable length")
    begin, end = head.end(), head.end() + int(length)
    if len(data) < end:
        return None
    return Response(status, headers, data[begin:end]), end


def _head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    first, *rest = head.decode("utf-8", "replace").split("\n")
    status = _STATUS.match(first)
    if status is None:
        raise ProtocolError("an answer without a status")
    pairs = (line.partition(":") for line in rest)
    return int(status[1]), [(name.strip().lower(), value.strip()) for name, colon, value in pairs if colon]
