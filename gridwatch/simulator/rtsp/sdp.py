# SPDX-License-Identifier: AGPL-3.0-or-later
"""The session description of one live H.264 camera (RFC 8866, RFC 2326 appendix C, RFC 6184 section 8.2)."""

import base64
from dataclasses import dataclass

from gridwatch.simulator.rtsp.h264 import ParameterSets
from gridwatch.simulator.rtsp.rtp import CLOCK_HZ, PAYLOAD_TYPE

CONTENT_TYPE = "application/sdp"
TRACK = "trackID=0"


@dataclass(frozen=True, slots=True)
class VideoMedia:
    """What a client must know before the first packet. Sizes in pixels."""

    parameter_sets: ParameterSets
    width: int
    height: int
    fps: float


def describe(media: VideoMedia, session_id: int) -> bytes:
    """Return the SDP; the stream is live, so it has no end and no duration."""
    sets = media.parameter_sets
    sprop = ",".join(base64.b64encode(nal).decode() for nal in sets.nals)
    fmtp = f"packetization-mode=1; profile-level-id={sets.profile_level_id}; sprop-parameter-sets={sprop}"
    lines = (
        "v=0",
        f"o=- {session_id} 1 IN IP4 0.0.0.0",
        "s=gridwatch simulator",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} {fmtp}",
        f"a=framesize:{PAYLOAD_TYPE} {media.width}-{media.height}",
        f"a=framerate:{media.fps:g}",
        f"a=control:{TRACK}",
    )
    return ("\r\n".join(lines) + "\r\n").encode()
