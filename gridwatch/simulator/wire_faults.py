# SPDX-License-Identifier: AGPL-3.0-or-later
"""What faults do to one camera's stream: packets lost, late, cut, spoilt, without a clock. Seeded, so that it is the same each time.

How its clients are received is a `Door`; both are switched by fault_board.py. No socket, no clock.
"""

import random
from collections.abc import Sequence

from gridwatch.simulator.faults import Values
from gridwatch.simulator.rtsp.media import Codec
from gridwatch.simulator.rtsp.payload import nal_type
from gridwatch.simulator.rtsp.rtp import Segment
from gridwatch.simulator.rtsp.tamper import Tamper

_STRAY_BYTES = 997
_SHORTEST_BYTES = 3
_FIRST_SET: dict[Codec, int] = {"h264": 6, "hevc": 32}  # what is less holds parts of a picture


class StreamFaults(Tamper):
    """The faults of one camera's stream that are on."""

    def __init__(self) -> None:
        self._on: dict[str, Values] = {}
        self._dice: dict[str, random.Random] = {}
        self._late: list[tuple[int, Segment]] = []

    @property
    def names(self) -> tuple[str, ...]:
        """What is on."""
        return tuple(self._on)

    def switch(self, name: str, values: Values | None) -> None:
        """Turn a fault on with its values, or off."""
        self._on.pop(name, None)
        if values is not None:
            self._on[name] = values
            self._dice[name] = random.Random(int(values.get("seed", 1)))  # noqa: S311  chance that can be repeated

    def is_mute(self) -> bool:
        """True while no RTP is sent."""
        return "silent" in self._on or "no-packets" in self._on

    def reported_s(self, unix_s: float) -> float | None:
        """Return the wall time that a sender report tells; None: none is sent."""
        on = self._on
        if "no-reports" in on or "no-timestamps" in on or "silent" in on:
            return None
        if "no-packets" in on and not on["no-packets"]["reports"]:
            return None
        return unix_s + float(on["clock"]["offset_s"]) if "clock" in on else unix_s

    def stamp(self, timestamp: int) -> int:
        """Return the timestamp that is sent."""
        return 0 if "no-timestamps" in self._on else timestamp

    def nals(self, nals: tuple[bytes, ...], codec: Codec) -> tuple[bytes, ...]:
        """Cut or spoil the parts of a picture; parameter sets stay as they are."""
        if "truncate" in self._on:
            keep = float(self._on["truncate"]["keep"])
            nals = tuple(self._cut(nal, keep) if self._hits("truncate", nal, codec) else nal for nal in nals)
        if self._mode() == "slices":
            nals = tuple(self._spoilt(nal) if self._hits("garbage", nal, codec) else nal for nal in nals)
        return nals

    def segments(self, segments: list[Segment]) -> Sequence[Segment]:
        """Lose, delay or spoil packets."""
        if self._mode() == "payload":
            segments = [self._noise(one) if self._chance("garbage") else one for one in segments]
        if "reorder" in self._on or self._late:
            segments = self._reordered(segments)
        if "loss" in self._on:
            segments = [one for one in segments if not self._chance("loss")]
        return segments

    def stray(self) -> bytes:
        """Return loose bytes for the RTSP connection."""
        if self._mode() == "stream" and self._chance("garbage"):
            return self._dice["garbage"].randbytes(_STRAY_BYTES)
        return b""

    def _mode(self) -> object:
        return self._on["garbage"]["mode"] if "garbage" in self._on else None

    def _chance(self, name: str) -> bool:
        return self._dice[name].random() < float(self._on[name]["share"])

    def _hits(self, name: str, nal: bytes, codec: Codec) -> bool:
        return nal_type(nal, codec) < _FIRST_SET[codec] and self._chance(name)

    def _cut(self, nal: bytes, keep: float) -> bytes:
        return nal[: max(_SHORTEST_BYTES, int(len(nal) * keep))]

    def _spoilt(self, nal: bytes) -> bytes:
        """Return the NAL unit with its header and the first bytes of its slice, and noise behind them."""
        start = min(len(nal), 8)
        return nal[:start] + self._dice["garbage"].randbytes(len(nal) - start)

    def _noise(self, segment: Segment) -> Segment:
        head, body = segment
        return head[:12], self._dice["garbage"].randbytes(len(head) - 12 + len(body))

    def _reordered(self, segments: list[Segment]) -> list[Segment]:
        """Hold some packets back until `by` others have passed them; across pictures, too."""
        on = self._on.get("reorder")
        passed: list[Segment] = []
        for one in segments:
            if on is not None and self._chance("reorder"):
                self._late.append((int(on["by"]), one))
                continue
            passed.append(one)
            self._late = [(left - 1, late) for left, late in self._late]
            passed += [late for left, late in self._late if left <= 0]
            self._late = [(left, late) for left, late in self._late if left > 0]
        if on is None:
            passed += [late for _, late in self._late]
            self._late = []
        return passed
