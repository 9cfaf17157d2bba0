# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a stream is, found out by reading it for a few seconds: codec, size, rates, groups of pictures, clock, one picture.

It measures, and says nothing of what to do about it. One key frame is decoded; the rest are sizes and times.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from gridwatch.core.camera import Address, Transport
from gridwatch.core.clock import Clock
from ingest import annexb
from ingest.decoder import KeyDecoder
from ingest.errors import DamagedError, IngestError, SourceError
from ingest.frame import DecodedFrame
from ingest.packets import Packet, PacketSource
from ingest.rtsp import RtspOptions, RtspSource

Told = Callable[[float], None]  # seconds read so far

_H264_SPS, _HEVC_SPS = 7, 33
_H264_PROFILES: Final = {66: "Baseline", 77: "Main", 88: "Extended", 100: "High", 110: "High 10", 122: "High 4:2:2", 244: "High 4:4:4"}  # fmt: skip
_HEVC_PROFILES: Final = {1: "Main", 2: "Main 10", 3: "Main Still Picture", 4: "Range Extensions"}
_CONSTRAINT_SET1 = 0x40  # H.264 7.4.2.1.1: with it Baseline is Constrained Baseline, which everything decodes
_HEVC_LEVEL_AT = 14  # bytes from the NAL unit's header: profile_tier_level, H.265 7.3.3
_REORDERED = 3  # steps back of the stream's time: one or two may be a restart of it
_SHORTEST_SPS = 4  # bytes
_GROUP_KEYS = 2  # a group of pictures lies between two


@dataclass(frozen=True, slots=True)
class ProbeBounds:
    """For how long a stream is read: until there were so many key frames and seconds, and never for longer than the last.

    Attributes:
        keys: key frames.
        at_least_s, at_most_s: seconds from the first packet.
        group_s: so long, if that is longer, while fewer than two key frames came: a group of pictures has no length yet.
    """

    keys: int = 4
    at_least_s: float = 6.0
    at_most_s: float = 25.0
    group_s: float = 0.0

    def over(self, keys: int, took_s: float) -> bool:
        """Tell whether enough was read; where there is gradual refresh, its beginnings count as key frames: no others come."""
        if keys >= self.keys and took_s >= self.at_least_s:
            return True
        return took_s >= (self.at_most_s if keys >= _GROUP_KEYS else max(self.at_most_s, self.group_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What a stream is.

    Attributes:
        profile, level: as its parameter sets say; "" where they are not known.
        width, height: pixels, of the decoded picture where there is one.
        fps: pictures a second as they came, None where too few did; `announced_fps` what the stream says of itself.
        bit_rate_bps: bits a second as they came; None where too few did.
        pictures, keys: how many came in `seconds`; `refreshes` what is called a key frame and only begins a gradual refresh.
        gop_s, gop_pictures: shortest, usual (median) and longest group of pictures; None where no whole one came.
        b_frames: pictures come in another order than they are shown in.
        keys_without_sets: key frames that brought no parameter sets along.
        undecodable: why the key frame that was tried could not be decoded; "" where it could, or none came.
        clock_offset_s: the camera's clock minus ours, by its RTCP reports; None where it made none.
        opened_s, first_picture_s: from the first byte until it played, and until its first key frame was there.
        ended: why reading ended before its time; "" where it did not.
    """

    codec: str
    profile: str
    level: str
    width: int
    height: int
    fps: float | None
    announced_fps: float | None
    bit_rate_bps: float | None
    pictures: int
    keys: int
    refreshes: int
    seconds: float
    gop_s: tuple[float, float, float] | None
    gop_pictures: tuple[int, float, int] | None
    b_frames: bool
    keys_without_sets: int
    undecodable: str
    clock_offset_s: float | None
    opened_s: float
    first_picture_s: float | None
    ended: str


@dataclass(slots=True)
class _Reading:
    """What was read of a stream; sizes and times, and the last key frame."""

    sizes: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # ours, seconds: they outlive a jump of the stream's own
    last_pts: int | None = None
    steps_back: int = 0
    keys: list[int] = field(default_factory=list)  # indices
    without_sets: int = 0
    refreshes: int = 0
    last_refresh: Packet | None = None
    last_key: Packet | None = None
    clock_offset_s: float | None = None
    first_key_mono_s: float | None = None
    ended: str = ""


def probe(
    address: Address,
    clock: Clock,
    transport: Transport = Transport.TCP,
    bounds: ProbeBounds | None = None,
    told: Told = lambda _seconds: None,
) -> tuple[StreamFacts, DecodedFrame | None]:
    """Read a camera's stream for some seconds; return what it is and a picture of it, None where none could be decoded.

    Raises:
        SourceError: it cannot be had; the reason holds no credentials.
    """
    source = RtspSource("probe", address, clock, RtspOptions(transport=transport))
    return examine(source, clock, bounds or ProbeBounds(), told)


def examine(
    source: PacketSource, clock: Clock, bounds: ProbeBounds, told: Told = lambda _seconds: None
) -> tuple[StreamFacts, DecodedFrame | None]:
    """As `probe`, of any source of packets.

    Raises:
        SourceError: it cannot be opened, or it broke off before the first packet.
    """
    asked = clock.mono_s()
    with source:
        opened = began = clock.mono_s()
        reading, last = _Reading(), None
        try:
            for packet in source.packets():
                began = clock.mono_s() if last is None else began
                last = packet
                _note(reading, packet, clock)
                took = clock.mono_s() - began
                told(took)
                if bounds.over(len(reading.keys) + reading.refreshes, took):
                    break
        except SourceError as error:
            if last is None:
                raise
            reading.ended = error.reason
    if last is None:
        raise SourceError("no picture came")
    first = reading.first_key_mono_s
    spent = (opened - asked, None if first is None else first - asked, clock.mono_s() - began)
    return _facts(reading, last, spent)


def _note(reading: _Reading, packet: Packet, clock: Clock) -> None:
    if packet.is_key and _heals_later(packet):
        reading.refreshes += 1
        reading.last_refresh = packet
    elif packet.is_key:
        reading.keys.append(len(reading.sizes))
        reading.without_sets += not _in_band(packet)
        reading.last_key = packet
        if reading.first_key_mono_s is None:
            reading.first_key_mono_s = clock.mono_s()
    reading.sizes.append(packet.size)
    reading.times.append(packet.at_mono_s)
    if packet.pts is not None:
        reading.steps_back += reading.last_pts is not None and packet.pts < reading.last_pts
        reading.last_pts = packet.pts
    if packet.camera_ahead_s is not None:
        reading.clock_offset_s = packet.camera_ahead_s


def _heals_later(packet: Packet) -> bool:
    try:
        return annexb.heals_later(packet.payload, packet.info.extradata, packet.info.codec)
    except DamagedError:
        return False  # the decoder will say so


def _facts(
    reading: _Reading, last: Packet, spent: tuple[float, float | None, float]
) -> tuple[StreamFacts, DecodedFrame | None]:
    frame, undecodable = _picture(reading.last_key)
    opened_s, first_s, seconds = spent
    times = reading.times
    span_s = max(times) - min(times)
    counted = len(times) - 1
    profile, level = _profile(reading.last_key or reading.last_refresh or last)
    facts = StreamFacts(
        codec=last.info.codec,
        profile=profile,
        level=level,
        width=frame.width if frame else last.info.width,
        height=frame.height if frame else last.info.height,
        fps=counted / span_s if span_s > 0 else None,
        announced_fps=last.info.fps,
        bit_rate_bps=8 * sum(reading.sizes[:-1]) / span_s if span_s > 0 else None,
        pictures=len(reading.sizes),
        keys=len(reading.keys),
        refreshes=reading.refreshes,
        seconds=seconds,
        gop_s=_spread([after - before for before, after in pairwise(times[key] for key in reading.keys)]),
        gop_pictures=_counts([b - a for a, b in pairwise(reading.keys)]),
        b_frames=reading.steps_back >= _REORDERED,
        keys_without_sets=reading.without_sets,
        undecodable=undecodable,
        clock_offset_s=reading.clock_offset_s,
        opened_s=opened_s,
        first_picture_s=first_s,
        ended=reading.ended,
    )
    return facts, frame


def _spread(values: list[float]) -> tuple[float, float, float] | None:
    return (min(values), statistics.median(values), max(values)) if values else None


def _counts(values: list[int]) -> tuple[int, float, int] | None:
    return (min(values), statistics.median(values), max(values)) if values else None


def _picture(key: Packet | None) -> tuple[DecodedFrame | None, str]:
    if key is None:
        return None, ""
    try:
        return KeyDecoder().decode(key), ""
    except IngestError as error:
        return None, error.reason


def _profile(packet: Packet) -> tuple[str, str]:
    """Return profile and level by the first SPS in the packet or beside it (H.264 7.3.2.1.1, H.265 7.3.3)."""
    codec = packet.info.codec
    kind = _H264_SPS if codec == "h264" else _HEVC_SPS
    for unit in (*_in_band(packet), *_beside(packet)):
        plain = unit.replace(b"\x00\x00\x03", b"\x00\x00")  # emulation prevention, 7.4.1
        if annexb.nal_type(unit, codec) == kind and len(plain) >= _SHORTEST_SPS:
            return _h264_profile(plain) if codec == "h264" else _hevc_profile(plain)
    return "", ""


def _in_band(packet: Packet) -> list[bytes]:
    """Return the parameter sets that a key frame brings along."""
    info = packet.info
    try:
        return annexb.sets_in_band(annexb.to_annexb(packet.payload, info.extradata, info.codec), info.codec)
    except DamagedError:
        return []


def _beside(packet: Packet) -> list[bytes]:
    """Return the parameter sets that the stream's description brings."""
    try:
        return annexb.parameter_sets(packet.info.extradata, packet.info.codec)
    except DamagedError:
        return []


def _h264_profile(sps: bytes) -> tuple[str, str]:
    profile_idc, constraints, level_idc = sps[1:4]
    name = _H264_PROFILES.get(profile_idc, f"profile {profile_idc}")
    if name == "Baseline" and constraints & _CONSTRAINT_SET1:
        name = "Constrained Baseline"
    return name, f"{level_idc / 10:g}"


def _hevc_profile(sps: bytes) -> tuple[str, str]:
    profile_idc = sps[3] & 0x1F
    level = f"{sps[_HEVC_LEVEL_AT] / 30:g}" if len(sps) > _HEVC_LEVEL_AT else ""
    return _HEVC_PROFILES.get(profile_idc, f"profile {profile_idc}"), level
