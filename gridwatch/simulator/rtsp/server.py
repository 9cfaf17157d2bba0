# SPDX-License-Identifier: AGPL-3.0-or-later
"""The asyncio side of the RTSP server: sockets, limits and time-outs. What is said on them is session.py's."""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.digest import Credentials, DigestGate
from gridwatch.simulator.rtsp.rtcp import parse_compound
from gridwatch.simulator.rtsp.sdp import VideoMedia
from gridwatch.simulator.rtsp.session import SERVER, Action, Conversation
from gridwatch.simulator.rtsp.wire import InterleavedFrame, Request, Response, RtspReader


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one client may cost.

    Attributes:
        connections: at once; one more is answered 503.
        send_buffer_bytes: unsent bytes after which a client is too slow and dropped.
        session_timeout_s: silence after which a connection is closed; told to clients in `Session`.
    """

    connections: int = 1_024
    send_buffer_bytes: int = 4 * 1024 * 1024
    session_timeout_s: int = 60


class RtspServer:
    """Serves broadcasts. `paths` maps a URL path to its camera; it may be filled after construction.

    Attributes:
        qop: offer Digest with qop=auth in place of the older form.
    """

    def __init__(
        self,
        paths: Mapping[str, Broadcast],
        credentials: Credentials | None = None,
        *,
        qop: bool = False,
        limits: ServerLimits | None = None,
    ) -> None:
        self.paths, self._credentials, self._qop = paths, credentials, qop
        self.limits = limits or ServerLimits()
        self._connections: set[RtspConnection] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; return the port (0 asks for any free one). Raises OSError where it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: RtspConnection(self), host, port)
        return cast("int", self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._connections):
                connection.abort()
            await self._server.wait_closed()

    def media(self, path: str) -> VideoMedia | None:
        """Return what the camera at `path` sends; None where there is none."""
        broadcast = self.paths.get(path)
        return None if broadcast is None else broadcast.media

    def admit(self, connection: "RtspConnection") -> bool:
        """Count a new connection in, if there is room."""
        if len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: "RtspConnection") -> None:
        """Count a closed connection out."""
        self._connections.discard(connection)

    def conversation(self) -> Conversation:
        """Return the conversation of a new connection, with a nonce and a session id of its own."""
        gate = None
        if self._credentials is not None:
            gate = DigestGate(self._credentials, secrets.token_hex(16), qop=self._qop)
        return Conversation(self, gate, secrets.token_hex(8), self.limits.session_timeout_s)


class RtspConnection(asyncio.Protocol):
    """One client's TCP connection: a viewer, once it plays."""

    def __init__(self, server: RtspServer) -> None:
        self._server = server
        self._conversation = server.conversation()
        self._reader = RtspReader()
        self._transport: asyncio.Transport | None = None
        self._broadcast: Broadcast | None = None
        self._heard_mono = 0.0
        self._watchdog: asyncio.TimerHandle | None = None

    @property
    def channel(self) -> int:
        """Its interleaved RTP channel."""
        return self._conversation.channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or answer that there is no room."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._server.admit(self):
            self._close_with(503)
            return
        self._heard_mono = asyncio.get_running_loop().time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        _ = exc
        self._stop_playing()
        self._server.forget(self)
        if self._watchdog is not None:
            self._watchdog.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in what arrived."""
        self._reader.feed(data)
        try:
            while self._transport is not None and not self._transport.is_closing():
                message = self._reader.next_message()
                if message is None:
                    return
                self._receive(message)
        except WireError as exc:
            self._close_with(exc.status)

    def send(self, data: bytes) -> bool:
        """Write without waiting; a client with too much unsent is cut and answered False."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(data) > self._server.limits.send_buffer_bytes:
            transport.abort()
            return False
        transport.write(data)
        return True

    def abort(self) -> None:
        """Cut the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _receive(self, message: Request | InterleavedFrame) -> None:
        if isinstance(message, InterleavedFrame):
            with suppress(WireError):  # what is no report neither keeps a session nor ends it
                parse_compound(message.payload)
                self._heard_mono = asyncio.get_running_loop().time()
            return
        self._heard_mono = asyncio.get_running_loop().time()
        answer = self._conversation.answer(message)
        self.send(bytes(answer.response))
        if answer.action is Action.PLAY:
            self._start_playing()
        elif answer.action is Action.STOP:
            self._stop_playing()

    def _start_playing(self) -> None:
        self._broadcast = self._server.paths.get(self._conversation.path or "")
        if self._broadcast is not None:
            self._broadcast.attach(self)

    def _stop_playing(self) -> None:
        if self._broadcast is not None:
            self._broadcast.detach(self)
            self._broadcast = None

    def _close_with(self, status: int) -> None:
        if self._transport is not None:
            self._transport.write(bytes(Response(status, (("Server", SERVER),))))
            self._transport.close()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._heard_mono + self._server.limits.session_timeout_s - loop.time()
        if left_s <= 0:
            self.abort()
        else:
            self._watchdog = loop.call_later(left_s, self._watch)
