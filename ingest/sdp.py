# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a camera says of its stream before it plays (SDP: RFC 8866; H.264: RFC 6184, 8.1; H.265: RFC 7798, 7.1). Pure text."""

import base64
import binascii
import re
from dataclasses import dataclass
from itertools import pairwise

from ingest import annexb
from ingest.errors import UnsupportedCodecError

_NAMES = {"H264": "h264", "H265": "hevc", "HEVC": "hevc"}
_SETS = {"h264": ("sprop-parameter-sets",), "hevc": ("sprop-vps", "sprop-sps", "sprop-pps")}
_INTERLEAVED = ("packetization-mode", "2")
_VIDEO = re.compile(r"video\s+\d+(?:/\d+)?\s+\S+\s+(?P<formats>[\d ]+)", re.ASCII)
_MOST_FPS = 240.0
_PAYLOAD_TYPES = range(128)
_USUAL_HZ, _MOST_DIGITS = 90_000, 9


@dataclass(frozen=True, slots=True)
class Track:
    """The first video of a description that can be decoded here.

    Attributes:
        codec: "h264" or "hevc".
        payload_type: by which its RTP packets are known.
        clock_hz: ticks of its timestamps in a second.
        control: where it is set up, as it stands there: an address, or the end of one; "" where nothing is said.
        aggregate: the same of the whole presentation.
        extradata: parameter sets, Annex B; empty where they come in band only.
        fps: pictures per second; None where nothing (believable) is said.
        reordered: its packets are to be put in order by numbers of their own (interleaved mode, decoding order numbers).
    """

    codec: str
    payload_type: int
    clock_hz: int
    control: str
    aggregate: str
    extradata: bytes
    fps: float | None
    reordered: bool


def first_video(description: str) -> Track:
    """Return the first video of a session description that is H.264 or H.265.

    Raises:
        UnsupportedCodecError: there is none.
    """
    lines = [line.strip() for line in description.splitlines()]
    media = [index for index, line in enumerate(lines) if line.startswith("m=")]
    session = lines[: media[0]] if media else lines
    other = ""
    for begin, end in pairwise([*media, len(lines)]):
        found = _VIDEO.match(lines[begin][2:])
        if found is None:
            continue
        formats = found["formats"].split()
        track = _track(formats, lines[begin + 1 : end], session)
        if track is not None:
            return track
        other = other or _named(formats, lines[begin + 1 : end])
    raise UnsupportedCodecError(
        f"{other} is not decoded here, only H.264 and H.265" if other else "there is no video in the stream"
    )


def _track(formats: list[str], lines: list[str], session: list[str]) -> Track | None:
    maps = _by_format(lines, "rtpmap")
    for number in formats:
        encoding, _, rest = maps.get(number, "").partition("/")
        codec = _NAMES.get(encoding.strip().upper())
        if codec is None or len(number) > _MOST_DIGITS or int(number) not in _PAYLOAD_TYPES:
            continue
        parameters = _parameters(_by_format(lines, "fmtp").get(number, ""))
        clock = rest.partition("/")[0].strip()
        return Track(
            codec=codec,
            payload_type=int(number),
            clock_hz=(clock.isdecimal() and len(clock) <= _MOST_DIGITS and int(clock)) or _USUAL_HZ,
            control=_attribute(lines, "control"),
            aggregate=_attribute(session, "control"),
            extradata=_extradata(codec, parameters),
            fps=_fps(_attribute(lines, "framerate")),
            reordered=_INTERLEAVED in parameters.items()
            or parameters.get("sprop-max-don-diff", "0") not in {"", "0"},
        )
    return None


def _named(formats: list[str], lines: list[str]) -> str:
    said = _by_format(lines, "rtpmap").get(formats[0], "") if formats else ""
    return said.partition("/")[0][:20] or "what is sent"


def _attribute(lines: list[str], name: str) -> str:
    return next((line[len(name) + 3 :].strip() for line in lines if line.startswith(f"a={name}:")), "")


def _by_format(lines: list[str], name: str) -> dict[str, str]:
    """Return what is said of each format; some cameras use a line for each parameter."""
    said: dict[str, str] = {}
    for line in lines:
        if line.startswith(f"a={name}:"):
            number, *text = line[len(name) + 3 :].split(None, 1) or [""]
            said[number] = ";".join([*([said[number]] if number in said else []), *text])
    return said


def _parameters(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _extradata(codec: str, parameters: dict[str, str]) -> bytes:
    units = (unit for name in _SETS[codec] for unit in parameters.get(name, "").split(","))
    return b"".join(annexb.START_CODE + sets for unit in units if (sets := _decoded(unit)))


def _decoded(unit: str) -> bytes:
    try:
        return base64.b64decode(unit + "==")  # some leave the padding out; too much of it does no harm
    except (binascii.Error, ValueError):
        return b""  # some cameras write nonsense here and send the sets in band


def _fps(text: str) -> float | None:
    try:
        fps = float(text)
    except ValueError:
        return None
    return fps if 0 < fps <= _MOST_FPS else None
