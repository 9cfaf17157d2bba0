# SPDX-License-Identifier: AGPL-3.0-or-later
"""One task sends all cameras in time; and a line on which bytes drip."""

import asyncio
import socket
from collections import deque
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from gridwatch.core.clock import ManualClock
from gridwatch.simulator.city import City, CityCamera
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.pacer import Paced, Pacer
from gridwatch.simulator.rtsp.drip import Drip
from gridwatch.simulator.rtsp.media import AccessUnit
from gridwatch.simulator.timeline import Timeline


class Stock:
    """Units that are ready: due at these seconds."""

    def __init__(self, *due_s):
        self.units = deque(AccessUnit((b"\x41",), at, at, is_key=False) for at in due_s)

    def peek(self):
        return self.units[0] if self.units else None

    def pop(self):
        return self.units.popleft()


@pytest.fixture
def clock():
    return ManualClock(datetime(2026, 5, 1, tzinfo=UTC))


def run(pacer, clock, until_s):
    """Run a pacer while a clock goes on by itself in steps of 10 ms."""
    told = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        task = asyncio.create_task(pacer.run())
        while clock.mono_s() < until_s:
            for _ in range(3):
                await asyncio.sleep(0.002)
            clock.advance(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    return told


def test_units_of_all_cameras_leave_in_the_order_of_their_times(clock):
    """None before its time; a stock that was empty is asked again."""
    sent = []
    timeline = Timeline.starting_now(clock)
    start = clock.mono_s()

    def camera(name, *due_s):
        def publish(unit, _):
            sent.append((name, unit.due_s, timeline.now_s() >= unit.due_s))

        return Paced(Stock(*due_s), SimpleNamespace(publish=publish))

    cameras = [camera("a", 0.05, 0.1, 0.15), camera("b", 0.02, 0.12), camera("c")]
    run(Pacer(cameras, timeline), clock, start + 0.3)
    assert [(name, due) for name, due, _ in sent] == [
        ("b", 0.02),
        ("a", 0.05),
        ("a", 0.1),
        ("b", 0.12),
        ("a", 0.15),
    ]
    assert all(in_time for _, _, in_time in sent)
    assert all(paced.late_s < 0.1 for paced in cameras)


def test_a_camera_that_breaks_is_told_of_and_holds_up_nobody(clock):
    """The others go on."""
    sent = []
    timeline = Timeline.starting_now(clock)
    start = clock.mono_s()

    def breaks(*_):
        raise RuntimeError("no ink")

    broken = Paced(Stock(0.01, 0.02), SimpleNamespace(publish=breaks))
    good = Paced(Stock(0.01, 0.05, 0.09), SimpleNamespace(publish=lambda unit, _: sent.append(unit.due_s)))
    told = run(Pacer([broken, good], timeline), clock, start + 0.2)
    assert [str(exc) for exc in told] == ["no ink"]
    assert sent == [0.01, 0.05, 0.09]


async def until(condition):
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)


def test_a_drip_keeps_little_and_lets_go_of_all_at_the_end():
    """What does not fit is left out as a whole, so that frames stay whole; then everything comes at once."""
    got, every_s = [], [0.001]

    async def main():
        drip = Drip(got.append, lambda: every_s[0])
        drip.put(b"abc")
        drip.put(bytes(Drip.MAX_BYTES))
        drip.put(b"de")
        await until(lambda: len(got) >= 2)
        every_s[0] = 0
        await until(lambda: drip.is_dry)
        drip.stop()

    asyncio.run(asyncio.wait_for(main(), 10))
    assert b"".join(got) == b"abcde"
    assert [len(piece) for piece in got[:2]] == [1, 1]


def test_a_camera_can_have_an_address_of_its_own(tools, clip):
    """Any of the loopback network's, so that hosts and subnets can be told apart; UDP comes from there, too."""
    cameras = [CityCamera("yard", ClipFeed(clip), own=("127.0.3.7", 0)), CityCamera("gate", ClipFeed(clip))]
    with tools.city_running(City(cameras)) as ports:
        host, port = ports.own["yard"]
        assert (host, set(ports.own)) == ("127.0.3.7", {"yard"})
        with tools.RawClient(port, "yard", host=host, udp=True).play() as client:
            next(client.packets())
            _, sender = client.sockets[0].recvfrom(2048)
        assert sender[0] == host
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.3.8", port), timeout=5)
