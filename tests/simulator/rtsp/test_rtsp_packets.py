# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTP, RTCP, SDP and H.264 as bytes. The golden packets were put together by hand from the RFCs' drawings."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp import h264
from gridwatch.simulator.rtsp.media import ParameterSets, VideoMedia, with_parameter_sets
from gridwatch.simulator.rtsp.payload import join_payloads, nal_payloads
from gridwatch.simulator.rtsp.rtcp import RECEIVER_REPORT, SOURCE_DESCRIPTION, SenderReport, parse_compound
from gridwatch.simulator.rtsp.rtp import RtpPacket, RtpSender
from gridwatch.simulator.rtsp.sdp import describe

SPS = bytes.fromhex("6742c00dda0282bfe5c0440000030004000003003283c50aa8")
PPS = bytes.fromhex("68ce0f2c80")


def test_an_rtp_packet_is_written_and_read_as_the_rfc_draws_it(golden):
    """Marker, type, sequence, timestamp, source and payload stand where RFC 3550 puts them."""
    packet = RtpPacket(96, True, 0x0203, 0x00015F90, 0xDEADBEEF, bytes([0x65, 1, 2, 3]))
    assert bytes(packet) == golden("rtp_single.bin")
    assert RtpPacket.parse(golden("rtp_single.bin")) == packet


def test_sources_extension_and_padding_are_skipped(golden):
    """Only the payload is left of a packet with everything in it."""
    assert RtpPacket.parse(golden("rtp_extension.bin")).payload == bytes([0x41, 9, 8])


@pytest.mark.parametrize(
    "name", ["rtp_single_truncated", "rtp_extension_truncated", "rtp_version_invalid", "rtp_padding_invalid"]
)
def test_a_broken_rtp_packet_is_refused(golden, name):
    """Every length is checked before it is used."""
    with pytest.raises(WireError):
        RtpPacket.parse(golden(f"{name}.bin"))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_rtp_packet_or_refused(data):
    """Nothing else is raised."""
    with suppress(WireError):
        RtpPacket.parse(data)


def lengths_of(data):
    pieces, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        pieces.append(data[at + 2 : end])
        at = end
    return pieces


def test_a_long_nal_unit_is_sent_in_fragments(golden):
    """A unit of ten bytes in payloads of at most six is three FU-A pieces."""
    nal = b"\x65abcdefghi"
    assert nal_payloads(nal, 6) == lengths_of(golden("h264_fu_a.bin"))
    assert join_payloads(lengths_of(golden("h264_fu_a.bin"))) == (nal,)


@pytest.mark.parametrize("order", [[0, 1], [1, 2], [0, 0, 1, 2], [2], [0, 2, 1]])
def test_fragments_out_of_place_are_refused(golden, order):
    """A missing start, a missing end and a second start are noticed."""
    pieces = lengths_of(golden("h264_fu_a.bin"))
    with pytest.raises(WireError):
        join_payloads([pieces[index] for index in order])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 23), st.binary(min_size=1, max_size=5000)), min_size=1, max_size=4),
    st.integers(0, 2**16 - 1),
)
def test_an_access_unit_survives_packets(parts, sequence):
    """What is sent is what comes out; sequence numbers are in a row, the last packet alone has the marker."""
    nals = tuple(bytes([kind | 0x60]) + body for kind, body in parts)
    sender = RtpSender(ssrc=7, sequence=sequence)
    packets = [RtpPacket.parse(data) for data in sender.packetise(nals, 90)]
    assert join_payloads([packet.payload for packet in packets]) == nals
    assert [packet.marker for packet in packets] == [False] * (len(packets) - 1) + [True]
    assert [packet.sequence for packet in packets] == [(sequence + i) % 2**16 for i in range(len(packets))]
    assert all(len(packet.payload) <= 1400 for packet in packets)
    assert (sender.packets, sender.octets) == (len(packets), sum(len(packet.payload) for packet in packets))


def test_a_sender_report_is_written_and_read_as_the_rfc_draws_it(golden):
    """2026-01-02T03:04:05.25Z in NTP's form, the stream's time, the counts, and the source's name."""
    report = SenderReport(0xDEADBEEF, 1767323045.25, 0x00015F90, 321, 45678)
    assert report.compound("gate-1@gridwatch") == golden("rtcp_sr.bin")
    first, second = parse_compound(golden("rtcp_sr.bin"))
    assert SenderReport.from_packet(first) == report
    assert second.kind == SOURCE_DESCRIPTION
    with pytest.raises(WireError):
        SenderReport.from_packet(second)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_a_source_description_always_ends_on_a_word(name):
    """The padding of RFC 3550 section 6.5 is right for a name of any length."""
    data = SenderReport(1, 0.0, 0, 0, 0).compound(name[:60])
    assert len(data) % 4 == 0
    assert data.endswith(b"\x00")
    assert len(parse_compound(data)) == 2


def test_a_receiver_report_is_read(golden):
    """What a client sends back is a compound of two packets."""
    kinds = [packet.kind for packet in parse_compound(golden("rtcp_rr.bin"))]
    assert kinds == [RECEIVER_REPORT, SOURCE_DESCRIPTION]
    assert b"".join(map(bytes, parse_compound(golden("rtcp_rr.bin")))) == golden("rtcp_rr.bin")


@pytest.mark.parametrize("name", ["rtcp_rr_truncated", "rtcp_version_invalid"])
def test_a_broken_report_is_refused(golden, name):
    """Cut off or of another version."""
    with pytest.raises(WireError):
        parse_compound(golden(f"{name}.bin"))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_reports_or_refused(data):
    """Nothing else is raised, and nothing is taken for an empty compound."""
    with suppress(WireError):
        assert parse_compound(data)


def test_both_kinds_of_header_give_the_parameter_sets(golden):
    """MP4's avcC and annex B say the same."""
    avcc, annex_b = h264.parse_header(golden("h264_avcc.bin")), h264.parse_header(golden("h264_annex_b.bin"))
    assert (avcc.length_size, annex_b.length_size) == (4, 0)
    assert avcc.parameter_sets.sps == annex_b.parameter_sets.sps == (SPS,)
    assert avcc.parameter_sets.pps[0].rstrip(b"\0") == annex_b.parameter_sets.pps[0]
    assert avcc.parameter_sets.profile_level_id == "42C00D"


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x01" * 7, b"\x00\x00\x01\x65abc", b"\x00\x00\x01\x67\x42" * 2]
)
def test_a_header_without_parameter_sets_is_refused(data):
    """A decoder could not start with it."""
    with pytest.raises(WireError):
        h264.parse_header(data)


def test_a_cut_off_header_is_refused(golden):
    """Two bytes less, and the PPS is not whole."""
    with pytest.raises(WireError):
        h264.parse_header(golden("h264_avcc_truncated.bin"))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_header_is_read_or_refused(data):
    """Nothing else is raised."""
    with suppress(WireError):
        h264.parse_header(data)


def test_annex_b_is_split_at_start_codes_of_both_lengths(golden):
    """Four NAL units, without the zero bytes before start codes."""
    nals = h264.split_annex_b(golden("h264_annex_b.bin"))
    assert [h264.nal_type(nal) for nal in nals] == [7, 8, 5, 1]
    assert nals[2] == b"\x65\x88\x84"


def test_length_prefixed_units_are_split_and_checked():
    """A length past the end is refused; an empty unit is left out."""
    assert h264.split_length_prefixed(b"\x00\x02ab\x00\x00\x00\x01c", 2) == (b"ab", b"c")
    for broken in (b"\x00\x03ab", b"\x00"):
        with pytest.raises(WireError):
            h264.split_length_prefixed(broken, 2)


def test_parameter_sets_are_put_before_a_key_picture_that_has_none():
    """A picture that brings its own is left as it is."""
    sets = ParameterSets((SPS,), (PPS,))
    assert with_parameter_sets((b"\x65x",), sets) == (SPS, PPS, b"\x65x")
    assert with_parameter_sets((SPS, PPS, b"\x65x"), sets) == (SPS, PPS, b"\x65x")


def test_the_description_holds_what_a_client_needs():
    """Codec, clock, profile, parameter sets in Base64 and the track to set up."""
    text = describe(VideoMedia(ParameterSets((SPS,), (PPS,)), 320, 240, 12.5), 42).decode()
    assert "m=video 0 RTP/AVP 96\r\n" in text
    assert "a=rtpmap:96 H264/90000\r\n" in text
    assert (
        "profile-level-id=42C00D; sprop-parameter-sets=Z0LADdoCgr/lwEQAAAMABAAAAwAyg8UKqA==,aM4PLIA=\r\n"
        in text
    )
    assert "a=framerate:12.5\r\n" in text
    assert text.endswith("a=control:trackID=0\r\n")
