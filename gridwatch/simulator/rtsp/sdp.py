# SPDX-License-Identifier: AGPL-3.0-or-later
"""The session description of one live camera (RFC 8866, RFC 2326 appendix C, RFC 6184 section 8.2, RFC 7798 section 7.2)."""

import base64

from gridwatch.simulator.rtsp.media import ParameterSets, VideoMedia
from gridwatch.simulator.rtsp.rtp import CLOCK_HZ, PAYLOAD_TYPE

CONTENT_TYPE = "application/sdp"
TRACK = "trackID=0"


def describe(media: VideoMedia, session_id: int) -> bytes:
    """Return the SDP; the stream is live, so it has no end and no duration."""
    sets = media.parameter_sets
    name, parameters = ("H264", _h264(sets)) if media.codec == "h264" else ("H265", _h265(sets))
    lines = (
        "v=0",
        f"o=- {session_id} 1 IN IP4 0.0.0.0",
        "s=gridwatch simulator",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} {name}/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} {parameters}",
        f"a=framesize:{PAYLOAD_TYPE} {media.width}-{media.height}",
        f"a=framerate:{media.fps:g}",
        f"a=control:{TRACK}",
    )
    return ("\r\n".join(lines) + "\r\n").encode()


def _h264(sets: ParameterSets) -> str:
    sprop = f"sprop-parameter-sets={_in_base64(sets.nals)}"
    return f"packetization-mode=1; profile-level-id={sets.profile_level_id}; {sprop}"


def _h265(sets: ParameterSets) -> str:
    kinds = (("vps", sets.vps), ("sps", sets.sps), ("pps", sets.pps))
    return "; ".join(f"sprop-{kind}={_in_base64(nals)}" for kind, nals in kinds)


def _in_base64(nals: tuple[bytes, ...]) -> str:
    return ",".join(base64.b64encode(nal).decode() for nal in nals)
