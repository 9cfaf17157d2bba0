# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTP, RTCP and RTSP as bytes, for tests of who reads them: written here from the RFCs, apart from reader and simulator."""

import struct

from hypothesis import strategies as st

from ingest.rtp import Depacketizer

_NTP_1970_S = 2_208_988_800
DESCRIPTION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=control:*\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\n"
)


def rtp(payload, sequence, timestamp=0, *, mark=False, ssrc=7, kind=96, first=0x80):
    """One RTP packet (RFC 3550, 5.1)."""
    head = struct.pack(">BBHII", first, kind | mark << 7, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    return head + payload


def random_packets(payloads):
    """A strategy: RTP packets with these payloads and others, whose numbers, times and senders are close to each other."""
    return st.builds(
        rtp,
        st.one_of(st.binary(max_size=30), st.sampled_from(payloads)),
        st.integers(0, 5),
        st.integers(0, 3),
        mark=st.booleans(),
        ssrc=st.integers(0, 1),
        first=st.one_of(st.just(0x80), st.integers(0, 255)),
    )


def framed(packet, channel=0):
    """A packet inside an RTSP connection (RFC 2326, 10.12)."""
    return b"$" + bytes((channel,)) + struct.pack(">H", len(packet)) + packet


def sender_report(unix_s, timestamp, ssrc=7):
    """One RTCP sender report without report blocks (RFC 3550, 6.4.1)."""
    ntp_s = unix_s + _NTP_1970_S if unix_s else 0
    return struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, ntp_s & 0xFFFFFFFF, 1 << 31, timestamp, 0, 0)


def goodbye(ssrc=7):
    """One RTCP BYE (RFC 3550, 6.6), behind a receiver report, as it must be."""
    return struct.pack(">BBHI", 0x80, 201, 1, ssrc) + struct.pack(">BBHI", 0x81, 203, 1, ssrc)


def answer(*headers, status="200 OK", body=""):
    """One answer of a camera."""
    lines = [f"RTSP/1.0 {status}", "CSeq: 1", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def answers_until_play(transport="RTP/AVP/TCP;unicast;interleaved=0-1", description=DESCRIPTION):
    """What a camera answers to OPTIONS, DESCRIBE, SETUP and PLAY, in this order."""
    return (
        answer("Public: OPTIONS, DESCRIBE, SETUP, PLAY")
        + answer("Content-Type: application/sdp", body=description)
        + answer("Session: 5", f"Transport: {transport}")
        + answer("Session: 5")
    )


def fragments(unit, pieces, codec="h264"):
    """A NAL unit in fragments (RFC 6184, 5.8; RFC 7798, 4.4.3), as RTP payloads."""
    header, body = (unit[:1], unit[1:]) if codec == "h264" else (unit[:2], unit[2:])
    size = -(-len(body) // pieces)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    payloads = []
    for number, part in enumerate(parts):
        edge = 0x80 * (number == 0) | 0x40 * (number == len(parts) - 1)
        if codec == "h264":
            ahead = bytes((header[0] & 0xE0 | 28, edge | header[0] & 0x1F))
        else:
            ahead = bytes((header[0] & 0x81 | 49 << 1, header[1], edge | header[0] >> 1 & 0x3F))
        payloads.append(ahead + part)
    return payloads


def pictures_of(packets, codec="h264", taker=None):
    """The pictures that come of RTP packets."""
    taker = taker or Depacketizer(codec, 96)
    pictures = []
    for packet in packets:
        # what lies around a packet in the connection's buffer belongs to others
        buffer = bytearray(b"\xff" * 3 + packet + b"\xff" * 3)
        pictures += taker.take(buffer, memoryview(buffer), 3, 3 + len(packet)) or ()
    return pictures
