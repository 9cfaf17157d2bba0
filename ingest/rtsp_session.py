# SPDX-License-Identifier: AGPL-3.0-or-later
"""Asks a camera to play over one TCP connection, RTP inside it, and keeps the session alive (RTSP 1.0, RFC 2326)."""

from urllib.parse import quote, unquote, urlsplit

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
_LONGEST_WAIT_S = 1.0  # one call into the kernel; between two of them it is seen whether it has been too long
_USUAL_SESSION_S, _SHORTEST_PAUSE_S = 60.0, 5.0
_REDIRECTS = 2
_LAST_CHANNEL = 254
_EARLY_BYTES = 4 << 20
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
        """Take an answer that came between packets: a nonce has expired, or all is well."""
        if answer.status == _UNAUTHORIZED and self._authorization.challenged(answer.all("www-authenticate")):
            self._due_mono_s = 0.0

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
        self._method = "GET_PARAMETER" if "GET_PARAMETER" in options.first("public").upper() else "OPTIONS"
        described = self._ask("DESCRIBE", self._uri, ("Accept", "application/sdp"))
        if described.status in _REDIRECTION:
            return _moved(described.first("location"), parts.username, parts.password)
        self.track = sdp.first_video(described.body.decode("utf-8", "replace"))
        if self.track.reordered:
            raise NotUnderstoodError
        base = described.first("content-base") or described.first("content-location") or self._uri
        self._set_up(_joined(base, self.track.control))
        self._playing = _joined(base, self.track.aggregate)
        self._ask("PLAY", self._playing, ("Range", "npt=0.000-"))
        return ""

    def _set_up(self, uri: str) -> None:
        answer = self._ask("SETUP", uri, ("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1"))
        self._name, _, rest = answer.first("session").partition(";")
        timeout = rest.strip().lower().removeprefix("timeout=").strip()
        session_s = float(timeout) if timeout.isdecimal() else _USUAL_SESSION_S
        self._pause_s = max(_SHORTEST_PAUSE_S, session_s / 2.5)
        self._due_mono_s = self._clock.mono_s() + self._pause_s
        said = answer.first("transport").lower().partition("interleaved=")[2].partition(";")[0].split("-")
        if not said[0].isdecimal() or int(said[0]) > _LAST_CHANNEL:
            raise NotUnderstoodError
        self.channels = int(said[0]), int(said[0]) + 1

    def _ask(
        self, method: str, uri: str, *headers: tuple[str, str], checked: bool = True
    ) -> messages.Response:
        """Return the answer to a request, asked again with an authorization where one is wanted."""
        while True:
            self.connection.send(self._request(method, uri, *headers))
            answer = self._answer()
            refused = answer.status == _UNAUTHORIZED
            if not refused or not self._authorization.challenged(answer.all("www-authenticate")):
                break
        if checked and answer.status != _OK and answer.status not in _REDIRECTION:
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
        try:
            parsed = messages.parse(bytes(connection.view[connection.start : connection.end]))
        except messages.ProtocolError:
            failure: Exception = NotUnderstoodError()
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
            self._early_bytes += size
            if self._early_bytes <= _EARLY_BYTES:
                packet = bytes(connection.view[start + FRAME_HEADER : stop])
                self.early.append((connection.buffer[start + 1], packet))
            connection.start = stop


def _joined(base: str, control: str) -> str:
    """Return where a track is set up, as FFmpeg and Live555 put it together (cameras expect that, not RFC 1808)."""
    if control in {"", "*"}:
        return base
    if control.lower().startswith(("rtsp://", "rtsps://")):
        return control
    return f"{base}{'' if base.endswith('/') else '/'}{control}"


def _moved(location: str, user: str | None, password: str | None) -> str:
    """Return the address to which a camera sends us, with the user that we have for it."""
    try:
        parts = urlsplit(location)
        usable = parts.scheme.lower() == "rtsp" and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise UnreachableError("the camera sends us to no address of a stream")
    if user is None or parts.username is not None:
        return location
    who = user if password is None else f"{user}:{password}"
    return parts._replace(netloc=f"{quote(unquote(who), safe=':%')}@{parts.netloc}").geturl()


def _refusal(status: int) -> SourceError:
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        return UnauthorizedError("user or password are refused")
    if status in {_NOT_FOUND, _GONE}:
        return NotFoundError("the camera knows no such path")
    if status == _TRANSPORT:
        return UnreachableError("the camera does not send over TCP: set its transport to udp")
    return UnreachableError("the camera refuses to serve: busy, or all its sessions are taken")
