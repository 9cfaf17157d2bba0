# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a source makes of cameras whose streams go wrong: times, clocks, sizes, restarts."""

from datetime import timedelta
from itertools import islice, pairwise

import pytest

from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from gridwatch.simulator.rtsp.digest import Credentials
from ingest.decoder import KeyDecoder
from ingest.errors import UnauthorizedError
from ingest.rtsp import RtspOptions, RtspSource

QUICK = RtspOptions(stall_s=3.0, open_s=3.0)


def source_of(url):
    return RtspSource("cam", SecretUrl(url), SystemClock(), QUICK)


def reports_of(packets):
    return [packet for packet in packets if packet.camera_at is not None]


@pytest.mark.parametrize("scheme", ["basic", "both"])
def test_basic_authentication_is_answered(camera_clip, serve, scheme):
    """Old recorders know no Digest; where both are offered either lets us in, and a wrong password is told."""
    served = serve({"gate": camera_clip}, Credentials("admin", "p4ss"), scheme=scheme)
    with source_of(served.url(user="admin:p4ss@")) as source:
        assert next(source.packets()).is_key
    with pytest.raises(UnauthorizedError), source_of(served.url(user="admin:no@")):
        pass


def test_the_cameras_clock_is_read_from_its_reports(camera_clip, serve):
    """Each report tells when a picture was taken; a clock that is right is believed to the second."""
    served = serve({"gate": camera_clip})
    with source_of(served.url()) as source:
        packets = list(islice(source.packets(), 30))
    reports = reports_of(packets)
    assert len(reports) >= 4
    now = SystemClock().now()
    for packet in reports:
        assert abs((packet.camera_at - packet.captured_at).total_seconds()) < 0.5
        assert timedelta(0) <= now - packet.captured_at < timedelta(seconds=10)
        assert abs(packet.camera_ahead_s) < 0.5


@pytest.mark.parametrize(("offset_s", "believed"), [(1.2, True), (-90.0, False), (86400.0 * 365, False)])
def test_a_wrong_clock_is_measured_and_moves_at_most_the_record(camera_clip, serve, offset_s, believed):
    """Within two seconds records carry the camera's time; beyond, ours. Decisions never do."""
    served = serve({"gate": camera_clip})
    served.fault("clock", offset_s=offset_s)
    with source_of(served.url()) as source:
        packets = list(islice(source.packets(), 30))
    assert reports_of(packets)[-1].camera_ahead_s == pytest.approx(offset_s, abs=0.5)
    last, clock = packets[-1], SystemClock()
    captured_ago_s = (clock.now() - last.captured_at).total_seconds()
    arrived_ago_s = clock.mono_s() - last.at_mono_s
    assert arrived_ago_s - captured_ago_s == pytest.approx(offset_s if believed else 0.0, abs=0.5)


def test_a_camera_without_reports_has_our_time(camera_clip, serve):
    """Nothing is known of its clock."""
    served = serve({"gate": camera_clip})
    served.fault("no-reports")
    with source_of(served.url()) as source:
        packets = list(islice(source.packets(), 20))
    assert reports_of(packets) == []
    assert {packet.camera_ahead_s for packet in packets} == {None}


def test_times_that_jump_move_nothing(camera_clip, serve):
    """RTP timestamps that jump by an hour, either way: our times go on evenly, and so do the key frames."""
    served = serve({"gate": camera_clip})
    with source_of(served.url()) as source:
        coming = source.packets()
        times = [packet.at_mono_s for packet in islice(coming, 20)]
        for by_s in (3600.0, -7200.0):
            served.fault("jump", by_s=by_s)
            times += [packet.at_mono_s for packet in islice(coming, 30)]
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert max(gaps) < 0.6
    assert min(gaps) > -0.3


def test_times_that_stand_still_are_not_believed(camera_clip, serve):
    """All RTP timestamps are the same: pictures are placed at their arrival after a second, not all at one moment."""
    served = serve({"gate": camera_clip})
    served.fault("no-timestamps")
    with source_of(served.url()) as source:
        packets = list(islice(source.packets(), 60))
    assert packets[-1].at_mono_s - packets[30].at_mono_s == pytest.approx(1.5, abs=0.5)
    assert SystemClock().mono_s() - packets[-1].at_mono_s < 1.0


def test_a_restart_in_the_same_session_is_read_on(camera_clip, serve):
    """Another SSRC, other sequence numbers and timestamps: pictures go on, in order, and decode."""
    served, decoder = serve({"gate": camera_clip}), KeyDecoder()
    with source_of(served.url()) as source:
        coming = source.packets()
        before = list(islice(coming, 15))
        served.fault("restart", mode="session")
        after = list(islice(coming, 60))
    times = [packet.at_mono_s for packet in after]
    # the stream's own times jumped by hours; ours went on (by how little depends on the machine, which may stand still)
    assert all(0 <= later - earlier < 10 for earlier, later in pairwise(times))
    keys = [packet for packet in after if packet.is_key]
    assert len(keys) >= 4
    assert (
        decoder.decode(keys[-1]).width == decoder.decode(before[-1] if before[-1].is_key else keys[0]).width
    )


def test_a_size_that_changes_begins_a_session(make_clip, serve):
    """What follows does not belong to what was before: its description is its own, and so are its pictures."""
    served = serve({"gate": make_clip(size=(320, 180), fps=20, gop=10, pictures=40)})
    decoder, seen = KeyDecoder(), {}
    with source_of(served.url()) as source:
        coming = source.packets()
        next(coming)
        served.fault("size", width=160, height=96)
        for packet in islice(coming, 600):
            if packet.is_key:
                frame = decoder.decode(packet)
                seen[packet.session] = (packet.info.width, packet.info.height), (frame.width, frame.height)
            if len(seen) == 2:
                break
    assert list(seen.values()) == [((320, 180),) * 2, ((160, 96),) * 2]
    assert list(seen) == sorted(seen)
