# SPDX-License-Identifier: AGPL-3.0-or-later
"""The city's control channel: one JSON object a line over TCP on the loopback address, one answer a line.

`{"ask": "timeline"}` is answered with

    {"origin": 1764167348.2,      wall time of second 0 of the timeline, seconds since 1970
     "now": 12.5,                 seconds on the timeline
     "cameras": [{"name", "path", "width", "height", "fps", "viewers", "units_sent", "units_skipped",
                  "viewers_dropped", "feed_failures"}, …],
     "truth": [{…, "onset_s": 20.0, "onset_at": 1764167368.2}, …]}

Every field of a truth event whose name ends in `_s` and whose value is a number is a second on the timeline and gets
a twin that ends in `_at`: the same moment in wall time. Its other fields are passed on as they are.
`{"ask": "faults"}` is answered with the faults that there are, and where which of them is on:

    {"faults": [{"name", "about": "connection" | "stream" | "pictures", "text", "values", "choices"}, …],
     "on": {"gate-1": {"loss": {"share": 0.02, …}}}}

`{"ask": "fault", "camera": "gate-1", "fault": "loss", "on": true, "share": 0.1}` switches one on (`"on": false`: off)
and is answered `{"cameras": ["gate-1"], "fault": "loss", "on": true}`. The camera `"*"` is all of them.

Anything else that is asked is answered `{"error": "…"}`. This is for checks on the same machine, never for the pipeline.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

from gridwatch.core.errors import InputError

Json: TypeAlias = Mapping[str, object]

MAX_LINE_BYTES = 16 * 1024
MAX_CONNECTIONS = 16
IDLE_S = 120.0


class ControlServer:
    """Answers asks by name; `answers` maps a name to what makes its answer from the whole ask, or raises InputError."""

    HOST = "127.0.0.1"

    def __init__(self, answers: Mapping[str, Callable[[Json], Json]]) -> None:
        self._answers = answers
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, port: int) -> int:
        """Listen; return the port (0 asks for any free one). Raises OSError where it is taken."""
        self._server = await asyncio.start_server(self._serve, self.HOST, port, limit=MAX_LINE_BYTES)
        return cast("int", self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()

    def answer(self, line: bytes) -> Json:
        """Return the answer to one line."""
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError):
            return {"error": "a line must be one JSON object"}
        name = asked.get("ask") if isinstance(asked, dict) else None
        if not isinstance(name, str) or name not in self._answers:
            return {"error": f"ask one of: {', '.join(sorted(self._answers))}"}
        try:
            return self._answers[name](asked)
        except InputError as exc:
            return {"error": str(exc)}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            while line := await asyncio.wait_for(reader.readline(), IDLE_S):
                writer.write(json.dumps(self.answer(line), ensure_ascii=False).encode() + b"\n")
                await asyncio.wait_for(writer.drain(), IDLE_S)
        except (ValueError, TimeoutError, ConnectionError):
            pass  # a line over its limit, silence, or a client that went away: the connection ends
        finally:
            self._writers.discard(writer)
            writer.close()
