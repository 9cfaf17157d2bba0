# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one client may cost, on real sockets."""

import asyncio
import socket
import threading
import time
from contextlib import suppress

import pytest

from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.rtsp.media import AccessUnit, ParameterSets, VideoMedia
from gridwatch.simulator.rtsp.rtp import RtpSender
from gridwatch.simulator.rtsp.server import RtspServer, ServerLimits

UNIT = AccessUnit((b"\x65" + bytes(100_000),), 0.0, 0.0, is_key=True)


def camera():
    media = VideoMedia(ParameterSets((b"\x67\x42\xc0\x0d",), (b"\x68\x01",)), 320, 240, 10.0)
    return Broadcast("gate-1", media, RtpSender(ssrc=7, sequence=0), start_timestamp=1)


def run_with(server, client):
    """Run a server and a client coroutine in one loop."""

    async def main():
        port = await server.open("127.0.0.1", 0)
        try:
            return await asyncio.wait_for(client(port), 20)
        finally:
            await server.close()

    return asyncio.run(main())


async def ask(reader, writer, text):
    writer.write(text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    return (await reader.readuntil(b"\r\n\r\n")).decode()


async def play(port, **connection):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **connection)
    url = "rtsp://h/gate-1"
    setup = f"SETUP {url}/trackID=0 RTSP/1.0\nCSeq: 1\nTransport: RTP/AVP/TCP;interleaved=0-1"
    session = (await ask(reader, writer, setup)).split("Session: ")[1].split(";")[0]
    assert "200 OK" in await ask(reader, writer, f"PLAY {url} RTSP/1.0\nCSeq: 2\nSession: {session}")
    return reader, writer


def test_a_client_that_does_not_read_is_dropped_and_slows_nobody():
    """The other client gets every unit while the slow one is cut at its buffer's limit."""
    broadcast = camera()
    server = RtspServer({"gate-1": broadcast}, limits=ServerLimits(send_buffer_bytes=500_000))

    async def client(port):
        _, slow = await play(port, limit=1024)
        fast, writer = await play(port)
        for published in range(1, 300):
            broadcast.publish(UNIT, float(published))
            await marker_packets(fast, 1)
            if broadcast.viewers == 1:
                break
        await asyncio.sleep(0)
        slow.close()
        writer.close()
        return published, broadcast.viewers, broadcast.dropped_viewers

    published, viewers, dropped = run_with(server, client)
    assert (viewers, dropped) == (1, 1)
    assert published > 5  # not before its buffer was full


async def marker_packets(reader, count):
    """Read interleaved frames up to the `count`-th end of an access unit."""
    while count:
        dollar, channel, high, low = await reader.readexactly(4)
        assert dollar == 0x24
        payload = await reader.readexactly(high << 8 | low)
        count -= channel == 0 and payload[1] >> 7


def test_silence_ends_a_connection():
    """A client that neither asks nor reports is cut after the session's time-out."""
    server = RtspServer({"gate-1": camera()}, limits=ServerLimits(session_timeout_s=1))

    async def client(port):
        reader, writer = await play(port)
        began = time.monotonic()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        return time.monotonic() - began

    assert run_with(server, client) > 0.8


@pytest.mark.parametrize("sign_of_life", ["request", "report"])
def test_a_sign_of_life_keeps_a_connection(golden, sign_of_life):
    """GET_PARAMETER does, and so does a receiver report."""
    server = RtspServer({"gate-1": camera()}, limits=ServerLimits(session_timeout_s=1))
    data = (
        b"GET_PARAMETER * RTSP/1.0\r\nCSeq: 3\r\n\r\n"
        if sign_of_life == "request"
        else golden("rtsp_interleaved_rr.bin")
    )

    async def client(port):
        reader, writer = await play(port)
        for _ in range(4):
            await asyncio.sleep(0.4)
            writer.write(data)
        answer = await ask(reader, writer, "OPTIONS * RTSP/1.0\nCSeq: 9")
        writer.close()
        return answer

    assert "RTSP/1.0 200 OK" in run_with(server, client)


def test_one_connection_too_many_is_told_so():
    """503, and the others stay."""
    server = RtspServer({}, limits=ServerLimits(connections=1))

    async def client(port):
        first, first_writer = await asyncio.open_connection("127.0.0.1", port)
        await ask(first, first_writer, "OPTIONS * RTSP/1.0\nCSeq: 1")
        second, second_writer = await asyncio.open_connection("127.0.0.1", port)
        refusal = await second.read()
        answer = await ask(first, first_writer, "OPTIONS * RTSP/1.0\nCSeq: 2")
        first_writer.close()
        second_writer.close()
        return refusal, answer

    refusal, answer = run_with(server, client)
    assert refusal.startswith(b"RTSP/1.0 503 ")
    assert "200 OK" in answer


@pytest.mark.parametrize("name", ["rtsp_header_invalid", "rtsp_version_invalid", "rtsp_body_invalid"])
def test_what_is_no_rtsp_is_answered_and_cut(golden, name):
    """After damage nobody knows where the next request begins."""
    server = RtspServer({})

    async def client(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(golden(f"{name}.bin"))
        answer = await reader.read()
        writer.close()
        return answer

    assert run_with(server, client)[:10] in {b"RTSP/1.0 4", b"RTSP/1.0 5"}


def test_broken_reports_neither_end_nor_keep_a_connection(golden):
    """They are ignored."""
    server = RtspServer({"gate-1": camera()}, limits=ServerLimits(session_timeout_s=1))

    async def client(port):
        reader, writer = await play(port)
        began = time.monotonic()
        while not reader.at_eof() and reader.exception() is None and time.monotonic() < began + 9:
            writer.write(b"$\x01\x00\x03abc")
            await asyncio.sleep(0.1)
        writer.close()
        return time.monotonic() - began

    assert 0.8 < run_with(server, client) < 8


def test_ffmpeg_stays_connected_by_its_own_keepalives(clip, tools):
    """FFmpeg asks GET_PARAMETER at half the time-out that SETUP told it; Digest with qop=auth is right each time."""
    from gridwatch.simulator.clips import ClipFeed

    feed, broadcast = ClipFeed(clip), camera()
    broadcast.media = feed.open(0.0)
    server = RtspServer(
        {"gate-1": broadcast},
        Credentials("viewer", "look"),
        qop=True,
        limits=ServerLimits(session_timeout_s=2),
    )
    seen = []

    def watch(port):
        with tools.watching(port, "gate-1") as container:
            seen.extend(packet.size for packet in container.demux(video=0))

    async def client(port):
        thread = threading.Thread(target=watch, args=(port,))
        thread.start()
        began = asyncio.get_running_loop().time()
        for _ in range(75):
            unit = feed.next_unit(0.0)
            await asyncio.sleep(max(0.0, began + unit.due_s - asyncio.get_running_loop().time()))
            broadcast.publish(unit, unit.due_s)
        await server.close()
        await asyncio.to_thread(thread.join, 5)

    run_with(server, client)
    feed.close()
    assert len(seen) > 60


def test_a_port_in_use_raises_what_the_system_says():
    """The city makes one sentence of it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        asyncio.run(RtspServer({}).open("127.0.0.1", taken.getsockname()[1]))
