# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts packets into an MP4 file as they are: nothing is decoded or encoded, and the packets are only read."""

import io
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, takewhile
from typing import Any, TypeAlias

import av

from ingest import annexb
from ingest.errors import DamagedError
from ingest.packets import Packet

_Unit: TypeAlias = "av.Packet[Any]"

_TICKS = 90_000  # RTP's clock for video (RFC 3551), and fine enough for any clip
_JUMP_S = 3.0
_USUAL_FPS = 25.0
_INDEX_BYTES, _INDEX_BYTES_EACH = 8192, 48


def remux_mp4(packets: Sequence[Packet]) -> bytes:
    """Return `packets` as an MP4 file whose index stands in front, so that a browser plays it as it comes.

    Args:
        packets: of one session, in decoding order, the first one a key frame (`Ring.window` gives such).

    Raises:
        DamagedError: there is nothing to play: no packets, no key frame first, or no parameter sets.
    """
    if not packets or not packets[0].is_key:
        raise DamagedError("a clip begins with a key frame")
    info = packets[0].info
    out = io.BytesIO()
    # Room for the index is kept in front; `faststart` would want to read the file again while it is written.
    room = str(_INDEX_BYTES + _INDEX_BYTES_EACH * len(packets))
    failure = ""
    try:
        with av.open(out, "w", "mp4", options={"moov_size": room}) as container:
            rate = Fraction(info.fps or _USUAL_FPS).limit_denominator(1001)
            stream = container.add_mux_stream(info.codec, rate, width=info.width, height=info.height)
            for unit in _units(packets):
                unit.stream = stream
                container.mux_one(unit)
    except av.FFmpegError as error:
        failure = f"the clip cannot be written ({error.strerror})"
    if failure:
        raise DamagedError(failure)
    return out.getvalue()


def _units(packets: Sequence[Packet]) -> list[_Unit]:
    times = shown_and_decoded(packets)
    units: list[_Unit] = []
    for i, (packet, (pts, dts)) in enumerate(zip(packets, times, strict=True)):
        info = packet.info
        if i == 0:  # the muxer takes the parameter sets for its header from the first one
            data = annexb.decodable_alone(packet.payload, info.extradata, info.codec)
        else:
            data = annexb.to_annexb(packet.payload, info.extradata, info.codec)
        unit: _Unit = av.Packet(data)
        unit.time_base, unit.pts, unit.dts = Fraction(1, _TICKS), pts, dts
        unit.is_keyframe = packet.is_key
        units.append(unit)
    _give_durations(units, packets[0].info.fps or _USUAL_FPS)
    return units


def _give_durations(units: list[_Unit], fps: float) -> None:
    for unit, following in pairwise(units):
        unit.duration = (following.dts or 0) - (unit.dts or 0)
    units[-1].duration = round(_TICKS / fps)


def shown_and_decoded(packets: Sequence[Packet]) -> list[tuple[int, int]]:
    """Return each packet's (pts, dts) in 90 kHz ticks; the first picture is shown at 0, so dts may begin below.

    pts is the stream's own where it goes on evenly; a step of the stream's clock becomes one picture's time, and a
    missing one follows the packet before. dts is made from pts: the same times in rising order, early enough for each
    picture to be decoded before it is shown (RTSP streams bring none, or wrong ones).
    """
    shown = _rising_time_line(packets)
    in_order = sorted(shown)
    for i in range(1, len(in_order)):
        in_order[i] = max(in_order[i], in_order[i - 1] + 1)  # dts must rise
    late = max(order - pts for order, pts in zip(in_order, shown, strict=True))
    first = in_order[0]
    return [(pts - first, order - first - late) for order, pts in zip(in_order, shown, strict=True)]


def _rising_time_line(packets: Sequence[Packet]) -> list[int]:
    picture = round(_TICKS / (packets[0].info.fps or _USUAL_FPS))
    shown: list[int] = []
    shift, following, before = 0, 0, None
    for own in _own_times(packets, picture):
        if own is None:
            shown.append(following)
        else:
            if before is None or abs(own - before) > _JUMP_S * _TICKS:
                shift = following - own
            before = own
            shown.append(own + shift)
        following = max(following, shown[-1] + picture)
    return shown


def _own_times(packets: Sequence[Packet], picture: int) -> list[int | None]:
    own = [None if p.pts is None else round(p.pts * p.info.time_base * _TICKS) for p in packets]
    if own[0] is None:  # a key frame is shown before all that refers to it, whatever arrives next
        group = takewhile(lambda p: not p.is_key, packets[1:])
        known = [time for _, time in zip(group, own[1:], strict=False) if time is not None]
        own[0] = min(known) - picture if known else None
    return own
