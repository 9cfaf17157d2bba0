# SPDX-License-Identifier: AGPL-3.0-or-later
"""What to set at a camera or in a configuration, by what its streams were found to be. Pure: facts in, sentences out."""

from typing import Final

from gridwatch.core.camera import Transport
from ingest.probe import StreamFacts
from ingest.sampler import RAREST_KEY_S

LONG_GOP_S: Final = 4.0  # idle cameras are looked at by their key frames
SHORT_GOP_S: Final = 0.5  # below it key frames cost more than they bring
UNEVEN_GOP: Final = 2.0  # longest against shortest
FEW_PICTURES_PER_S: Final = 8.0
CLOCK_BELIEVED_S: Final = 2.0
PICTURE_WIDE_ENOUGH: Final = 640  # pixels: what the network sees
LARGE_WIDTH: Final = 1280
CLIP_S: Final = 12.0  # of memory: the usual clip, and what may pass until it is cut
MIB: Final = 1 << 20
EVERY_PICTURE: Final = "every picture has to be decoded (ten times the cost)"


def advice(
    main: StreamFacts, sub: StreamFacts | None, works: dict[Transport, str], ring_mib: float
) -> list[str]:
    """Return what is worth doing, the most important first; empty where nothing is.

    Args:
        main: the stream that was asked for.
        sub: its smaller one, where there is one.
        works: why each transport that was tried does not work, "" for those that do.
        ring_mib: memory per camera, as configured.
    """
    return [
        *_sight(main),
        *_keys(main),
        *_memory(main, ring_mib),
        *_clock(main),
        *_cost(main, sub),
        *_way(works),
    ]


def _sight(main: StreamFacts) -> list[str]:
    said = []
    if main.undecodable:
        said.append(
            f"a key frame could not be decoded ({main.undecodable}): look at the line, or at the encoder's settings"
        )
    if main.ended:
        said.append(f"the stream ended by itself after {main.seconds:.0f} s: {main.ended}")
    if main.fps is not None and main.fps < FEW_PICTURES_PER_S:
        said.append(
            f"{main.fps:.1f} pictures a second are few: set 12 or more, or what is followed is seen late"
        )
    return said


def _keys(main: StreamFacts) -> list[str]:
    if main.refreshes:
        return [
            (
                f"{main.refreshes} of {main.refreshes + main.keys} key frames only begin a gradual refresh (intra refresh): "
                f"{EVERY_PICTURE}; switch that off, and set a key frame every 2 s"
            )
        ]
    if main.gop_s is None:
        return [_without_groups(main)]
    shortest, usual, longest = main.gop_s
    said = []
    if longest > LONG_GOP_S:
        means = EVERY_PICTURE if longest > RAREST_KEY_S else "what begins between two is seen late"
        said.append(f"a key frame comes only every {longest:.1f} s: set 2 s, {means}")
    elif usual < SHORT_GOP_S:
        said.append(f"a key frame comes every {usual:.1f} s: 2 s would cost a fraction of it")
    if shortest > 0 and longest / shortest > UNEVEN_GOP:
        said.append(
            "groups of pictures are of uneven length: a “smart” codec is on; a fixed interval is seen more evenly"
        )
    if main.keys_without_sets:
        said.append(
            f"{main.keys_without_sets} of {main.keys} key frames came without parameter sets: those of the description are used"
        )
    return said


def _without_groups(main: StreamFacts) -> str:
    found = f"no {'second ' if main.keys else ''}key frame in {main.seconds:.0f} s"
    if main.seconds < RAREST_KEY_S:
        return f"{found}: that was too short to say how often they come"
    return f"{found}: {EVERY_PICTURE}; set one every 2 s, and no endless groups of pictures"


def _memory(main: StreamFacts, ring_mib: float) -> list[str]:
    if main.bit_rate_bps is None or main.refreshes:
        return []
    longest_s = main.seconds if main.gop_s is None else main.gop_s[2]
    needed = (longest_s + max(CLIP_S, longest_s)) * main.bit_rate_bps / 8 / MIB
    if needed <= ring_mib:
        return []
    size, cure = f"{needed:.1f} MiB", f"set {needed * 1.2:.0f}"
    if main.gop_s is None:
        size, cure = f"more than {size}", "shorten the groups"
    return [
        (
            f"a clip and the groups of pictures that it lies in are {size}, and ingest.ring_mib is {ring_mib:g}: {cure}, "
            "or the time before an incident will be missing in clips"
        )
    ]


def _clock(main: StreamFacts) -> list[str]:
    if main.clock_offset_s is None:
        return ["the camera does not report its clock: records carry the time of arrival"]
    if abs(main.clock_offset_s) <= CLOCK_BELIEVED_S:
        return []
    way = "fast" if main.clock_offset_s > 0 else "slow"
    return [f"the camera's clock is {abs(main.clock_offset_s):.1f} s {way}: let it follow NTP"]


def _cost(main: StreamFacts, sub: StreamFacts | None) -> list[str]:
    if sub is not None:
        pixels = main.width * main.height / max(1, sub.width * sub.height)
        if sub.width < PICTURE_WIDE_ENOUGH:
            return [
                f"there is a smaller stream, but of {sub.width}×{sub.height}: set it to 640×360 or more before using it"
            ]
        if pixels > 1:
            return [
                f"look at the smaller stream ({sub.width}×{sub.height}): a picture costs about 1/{pixels:.0f} of the main one"
            ]
    if main.width > LARGE_WIDTH and sub is None:
        return [
            f"{main.width}×{main.height} is more than a look needs: switch on a second stream of 640×360 or more, and name it as sub_url"
        ]
    return []


def _way(works: dict[Transport, str]) -> list[str]:
    if works.get(Transport.TCP) and works.get(Transport.UDP) == "":
        return ["it can be had over UDP only: set transport: udp"]
    return []
