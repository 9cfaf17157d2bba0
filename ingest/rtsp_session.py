# SPDX-License-Identifier: AGPL-3.0-or-later
"""Asks a camera to play over one TCP connection, RTP inside it, and keeps the session alive (RTSP 1.0, RFC 2326)."""

import re
from urllib.parse import SplitResult, unquote, urlsplit

from gridwatch.core.clock import Clock
from gridwatch.core.redact import SecretUrl
from ingest import rtsp_messages as messages
from ingest import sdp
from ingest.errors import (
    NotFoundError,
    SourceError,
    StreamEndedError,
    TimedOutError,
    UnauthorizedError,
    UnreachableError,
)
from ingest.rtsp_auth import Authorization
from ingest.rtsp_connection import Connection

PORT = 554
DOLLAR, FRAME_HEADER = 0x24, 4  # RFC 2326, 10.12
_DOLLAR = bytes((DOLLAR,))
_LONGEST_WAIT_S = 1.0  # one call into the kernel; between two of them it is seen whether it has been too long
_USUAL_SESSION_S, _SHORTEST_PAUSE_S, _AGAIN_S = 60.0, 5.0, 1.0
_REDIRECTS, _TRIES = 2, 3
_LAST_CHANNEL = 255
_EARLY_BYTES, _EARLY_EACH = 4 << 20, 128  # what one costs beside its bytes
_TIMEOUT = re.compile(r"timeout\s*=\s*(\d{1,6})", re.ASCII | re.IGNORECASE)
_CHANNELS = re.compile(r"interleaved\s*=\s*(\d{1,3})(?:\s*-\s*(\d{1,3}))?", re.ASCII | re.IGNORECASE)
_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _GONE, _TRANSPORT = 200, 401, 403, 404, 410, 461
_REDIRECTION = range(300, 400)


class NotUnderstoodError(Exception):
    """The camera speaks RTSP in a way that is not known here. FFmpeg may know it."""


class Session:
    """One camera that plays. For one thread, from the first line to `close`.

    Args:
        answers_s: how long one answer is waited for.
        until_mono_s: how long all of them.

    Attributes:
        connection: over which packets come.
        track: what they are.
        channels: of pictures, and of reports.
        early: interleaved packets that came before PLAY was answered, without their headers: (channel, packet).
    """

    connection: Connection
    track: sdp.Track

    def __init__(self, clock: Clock, *, answers_s: float, until_mono_s: float) -> None:
        self._clock, self._answers_s, self._until_mono_s = clock, answers_s, until_mono_s
        self.channels = 0, 1
        self.early: list[tuple[int, bytes]] = []
        self._early_bytes = self._number = 0
        self._name = self._uri = self._playing = ""
        self._method = "OPTIONS"
        self._pause_s = self._due_mono_s = 0.0
        self._authorization = Authorization("", "")
        self._connected = False

    def play(self, url: SecretUrl) -> None:
        """Connect and ask, at another address where the camera sends us there.

        Raises:
            SourceError: see ingest.errors.
            NotUnderstoodError: it may be worth a try with FFmpeg.
        """
        where = url.reveal()
        for _ in range(_REDIRECTS + 1):
            moved = self._play(where)
            if not moved:
                return
            self.close()
            where = moved
        raise UnreachableError("the camera sends us from address to address")

    def tend(self, now_mono_s: float) -> None:
        """Show the camera that somebody is here, where it is time.

        Raises:
            StreamEndedError: the connection takes nothing.
        """
        if now_mono_s >= self._due_mono_s:
            self._due_mono_s = now_mono_s + self._pause_s
            self.connection.send(self._request(self._method, self._playing))

    def answered(self, answer: messages.Response) -> None:
        """Take an answer that came between packets: all is well, a nonce has expired, or it knows no such request."""
        if answer.status != _UNAUTHORIZED:
            self._authorization.accepted()
            if answer.status != _OK:
                self._method = "OPTIONS"
        elif self._authorization.challenged(answer.all("www-authenticate")):
            self._due_mono_s = min(self._due_mono_s, self._clock.mono_s() + _AGAIN_S)

    def close(self) -> None:
        """Hang up, politely: a recorder has few sessions."""
        if self._connected:
            self._connected = False
            self.connection.close(self._request("TEARDOWN", self._playing) if self._name else b"")
            self._name = ""

    def _play(self, url: str) -> str:
        """Connect and ask; return another address where the camera is to be found, "" where it plays."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        name = f"[{host}]" if ":" in host else host
        place = name if parts.port is None else f"{name}:{parts.port}"
        self._uri = f"rtsp://{place}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        self._authorization = Authorization(unquote(parts.username or ""), unquote(parts.password or ""))
        left_s = max(0.1, min(self._answers_s, self._until_mono_s - self._clock.mono_s()))
        wait_s = min(_LONGEST_WAIT_S, self._answers_s / 4)
        self.connection = Connection(host, parts.port or PORT, within_s=left_s, wait_s=wait_s)
        self._connected = True
        options = self._ask("OPTIONS", self._uri, checked=False)
        knows = ",".join(options.all("public")).upper()
        self._method = "GET_PARAMETER" if "GET_PARAMETER" in knows else "OPTIONS"
        described = self._ask("DESCRIBE", self._uri, ("Accept", "application/sdp"))
        if described.status in _REDIRECTION:
            return _moved(described.first("location"), parts)
        self.track = sdp.first_video(described.body.decode("utf-8", "replace"))
        if self.track.reordered:
            raise NotUnderstoodError("packets out of order")
        said = (described.first("content-base"), described.first("content-location"))
        base = next((uri for uri in said if _is_address(uri)), self._uri)
        self._playing = _joined(base, self.track.aggregate)
        self._set_up(
            _joined(self._playing if _is_address(self.track.aggregate) else base, self.track.control)
        )
        self._ask("PLAY", self._playing, ("Range", "npt=0.000-"))
        return ""

    def _set_up(self, uri: str) -> None:
        answer = self._ask("SETUP", uri, ("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1"))
        session = answer.first("session")
        self._name = session.partition(";")[0].strip()
        timeout = _TIMEOUT.search(session)
        session_s = float(timeout[1]) if timeout is not None else _USUAL_SESSION_S
        self._pause_s = max(_SHORTEST_PAUSE_S, session_s / 2.5)
        self._due_mono_s = self._clock.mono_s() + self._pause_s
        self.channels = _channels(answer.first("transport"))

    def _ask(
        self, method: str, uri: str, *headers: tuple[str, str], checked: bool = True
    ) -> messages.Response:
        """Return the answer to a request, asked again with an authorization where one is wanted."""
        for _ in range(_TRIES):
            self.connection.send(self._request(method, uri, *headers))
            answer = self._answer()
            if answer.status != _UNAUTHORIZED:
                self._authorization.accepted()
                break
            if not self._authorization.challenged(answer.all("www-authenticate")):
                break
        if answer.status == _UNAUTHORIZED or (
            checked and answer.status != _OK and answer.status not in _REDIRECTION
        ):
            raise _refusal(answer.status)
        return answer

    def _request(self, method: str, uri: str, *headers: tuple[str, str]) -> bytes:
        self._number += 1
        more = [*headers]
        if self._name:
            more.append(("Session", self._name))
        authorization = self._authorization.header(method, uri)
        if authorization:
            more.append(("Authorization", authorization))
        return messages.request(method, uri, self._number, more)

    def _answer(self) -> messages.Response:
        until_mono_s = min(self._clock.mono_s() + self._answers_s, self._until_mono_s)
        while True:
            self._set_early_aside()
            answer = self._message()
            if answer is not None:
                return answer
            if not self.connection.fill():
                raise StreamEndedError("the camera closed the connection without an answer")
            if self._clock.mono_s() > until_mono_s:
                raise TimedOutError("it did not answer in time")

    def _message(self) -> messages.Response | None:
        """Return the response at the front of what has come, once it is whole."""
        connection = self.connection
        came = bytes(connection.view[connection.start : connection.end])
        data = came.lstrip(b"\r\n")  # some end their bodies with a line more than they count
        connection.start += len(came) - len(data)
        if data[:1] == _DOLLAR:
            return None  # a packet that is not whole yet
        try:
            parsed = messages.parse(data)
        except messages.ProtocolError as error:
            failure: Exception = NotUnderstoodError(str(error))
            if self._number == 1:
                failure = UnreachableError("what answers does not speak RTSP")
        else:
            if parsed is None:
                return None
            connection.start += parsed[1]
            return parsed[0]
        raise failure

    def _set_early_aside(self) -> None:
        """Put packets aside that come before the answer that they wait for."""
        connection = self.connection
        while connection.end - connection.start > FRAME_HEADER:
            start = connection.start
            if connection.buffer[start] != DOLLAR:
                return
            size = connection.buffer[start + 2] << 8 | connection.buffer[start + 3]
            stop = start + FRAME_HEADER + size
            if stop > connection.end:
                return
            self._early_bytes += size + _EARLY_EACH
            if self._early_bytes <= _EARLY_BYTES:
                packet = bytes(connection.view[start + FRAME_HEADER : stop])
                self.early.append((connection.buffer[start + 1], packet))
            connection.start = stop


def _channels(transport: str) -> tuple[int, int]:
    """Return the channels of pictures and of reports that a camera has chosen; those asked for where it does not say."""
    found = _CHANNELS.search(transport)
    if found is None and "/TCP" in transport.upper():
        return 0, 1
    if found is None or int(found[1]) > _LAST_CHANNEL:
        raise NotUnderstoodError("another transport than was asked for")
    return int(found[1]), int(found[2] or int(found[1]) + 1)


def _is_address(uri: str) -> bool:
    return uri.lower().startswith(("rtsp://", "rtsps://"))


def _joined(base: str, control: str) -> str:
    """Return where a track is set up, as FFmpeg and Live555 put it together (cameras expect that, not RFC 1808)."""
    if control in {"", "*"}:
        return base
    if _is_address(control):
        return control
    return f"{base}{'' if base.endswith('/') else '/'}{control}"


def _moved(location: str, asked: SplitResult) -> str:
    """Return the address to which a camera sends us, with the user that we have for it if that is on the same host.

    To another host no password goes: whoever answers there could ask for it in clear.
    """
    try:
        parts = urlsplit(location)
        usable = parts.scheme.lower() == "rtsp" and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise UnreachableError("the camera sends us to no address of a stream")
    who, at, _ = asked.netloc.rpartition("@")
    if not at or parts.username is not None or parts.hostname != asked.hostname:
        return location
    return parts._replace(netloc=f"{who}@{parts.netloc}").geturl()


def _refusal(status: int) -> SourceError:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return UnauthorizedError("user or password are refused")
    if status in {_NOT_FOUND, _GONE}:
        return NotFoundError("the camera knows no such path")
    if status == _TRANSPORT:
        return UnreachableError("the camera does not send over TCP: set its transport to udp")
    return UnreachableError("the camera refuses to serve: busy, or all its sessions are taken")
