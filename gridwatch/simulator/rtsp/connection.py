# SPDX-License-Identifier: AGPL-3.0-or-later
"""One client's RTSP connection on its socket: what arrives, what is answered, and its stream once it plays."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.broadcast import Broadcast, Burst, Viewer
from gridwatch.simulator.rtsp.drip import Drip
from gridwatch.simulator.rtsp.rtcp import parse_compound
from gridwatch.simulator.rtsp.session import SERVER, Action, Conversation
from gridwatch.simulator.rtsp.tamper import Door
from gridwatch.simulator.rtsp.transports import Datagrams, Interleaved
from gridwatch.simulator.rtsp.udp import UdpPorts, UdpViewer
from gridwatch.simulator.rtsp.wire import InterleavedFrame, Request, Response, RtspReader


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one client may cost.

    Attributes:
        connections: at once; one more is answered 503.
        send_buffer_bytes: unsent bytes after which a client is too slow and dropped.
        session_timeout_s: silence after which a connection is closed; told to clients in `Session`.
    """

    connections: int = 4_096
    send_buffer_bytes: int = 4 * 1024 * 1024
    session_timeout_s: int = 60


class House(Protocol):
    """Whose connection it is: the server, by one of the addresses that it listens on."""

    @property
    def limits(self) -> ServerLimits:
        """What a client may cost."""
        ...

    @property
    def udp(self) -> UdpPorts | None:
        """The ports for datagrams at this address."""
        ...

    @property
    def only(self) -> Broadcast | None:
        """The camera that this address leads to; None: any."""
        ...

    def conversation(self) -> Conversation:
        """Return the conversation of a new connection."""
        ...

    def door(self, camera: Broadcast | None) -> Door:
        """Return how a client is received that asks for `camera`; None: it has not said yet."""
        ...

    def camera_at(self, url_path: str) -> Broadcast | None:
        """Return the camera of a URL's path, with or without its track."""
        ...

    def admit(self, connection: "RtspConnection") -> bool:
        """Count a new connection in, if there is room."""
        ...

    def forget(self, connection: "RtspConnection") -> None:
        """Count a closed connection out."""
        ...


class RtspConnection(asyncio.Protocol):
    """One client's TCP connection: a viewer, once it plays.

    Attributes:
        camera: what the client asked for; None before.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._conversation = house.conversation()
        self._reader = RtspReader()
        self._transport: asyncio.Transport | None = None
        self.camera: Broadcast | None = house.only
        self._playing: Broadcast | None = None
        self._viewer: Viewer = self
        self._channel = 0
        self._drip: Drip | None = None
        self._heard_mono = 0.0
        self._watchdog: asyncio.TimerHandle | None = None

    @property
    def _door(self) -> Door:
        return self._house.door(self.camera)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, close it at once, or answer that there is no room."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._house.admit(self):
            self._close_with(503)
            return
        if self._door.shut:
            self.abort()
            return
        self._heard_mono = asyncio.get_running_loop().time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        _ = exc
        self._stop_playing()
        self._house.forget(self)
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._drip is not None:
            self._drip.stop()

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

    def send(self, burst: Burst) -> bool:
        """Write a picture without waiting; a client with too much unsent is cut and answered False."""
        return self._write(burst.framed(self._channel))

    def abort(self) -> None:
        """Cut the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def heard(self) -> None:
        """Note a sign of life."""
        self._heard_mono = asyncio.get_running_loop().time()

    def _write(self, data: bytes) -> bool:
        transport, door = self._transport, self._door
        if transport is None or transport.is_closing():
            return False
        if door.deaf:
            return True
        if door.drip_s or self._drip is not None:
            self._write_slowly(transport, data)
            return True
        if transport.get_write_buffer_size() + len(data) > self._house.limits.send_buffer_bytes:
            transport.abort()
            return False
        transport.write(data)
        return True

    def _write_slowly(self, transport: asyncio.Transport, data: bytes) -> None:
        if self._drip is None:
            self._drip = Drip(transport.write, lambda: self._door.drip_s)
        self._drip.put(data)
        if self._drip.is_dry:
            self._drip = None

    def _receive(self, message: Request | InterleavedFrame) -> None:
        if isinstance(message, InterleavedFrame):
            with suppress(WireError):  # what is no report neither keeps a session nor ends it
                parse_compound(message.payload)
                self.heard()
            return
        self.heard()
        if self.camera is None:
            self.camera = self._asked_for(message)
        door = self._door
        if door.shut:
            self.abort()
        elif door.status is not None:
            self._write(bytes(self._conversation.refuse(message, door.status)))
        elif not door.deaf:
            self._answer(message)

    def _asked_for(self, request: Request) -> Broadcast | None:
        with suppress(WireError):
            return self._house.camera_at(request.path)
        return None

    def _answer(self, request: Request) -> None:
        answer = self._conversation.answer(request)
        self._write(bytes(answer.response))
        if answer.action is Action.PLAY:
            self._start_playing()
        elif answer.action is Action.STOP:
            self._stop_playing()

    def _start_playing(self) -> None:
        self.camera = self._playing = self._house.camera_at(self._conversation.path or "")
        if self._playing is None:
            return
        chosen, ports = self._conversation.transport, self._house.udp
        if isinstance(chosen, Interleaved):
            self._channel, self._viewer = chosen.channel, self
        elif isinstance(chosen, Datagrams) and ports is not None and self._transport is not None:
            peer = self._transport.get_extra_info("peername")[0]
            viewer = UdpViewer(ports, peer, chosen, self._playing.door, self.abort)
            ports.expect(viewer.rtcp, self.heard)
            self._viewer = viewer
        self._playing.attach(self._viewer)

    def _stop_playing(self) -> None:
        if self._playing is not None:
            self._playing.detach(self._viewer)
            self._playing = None
        if isinstance(self._viewer, UdpViewer):
            self._viewer.stop()
            if self._house.udp is not None:
                self._house.udp.forget(self._viewer.rtcp)
            self._viewer = self

    def _close_with(self, status: int) -> None:
        if self._transport is not None:
            self._transport.write(bytes(Response(status, (("Server", SERVER),))))
            self._transport.close()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._heard_mono + self._house.limits.session_timeout_s - loop.time()
        if left_s <= 0 and not self._door.deaf:
            self.abort()
        else:
            again_s = left_s if left_s > 0 else float(self._house.limits.session_timeout_s)
            self._watchdog = loop.call_later(again_s, self._watch)
