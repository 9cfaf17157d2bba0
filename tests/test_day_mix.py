# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `scripts/bench day_mix` computes from two runs, and that its other contestant really decodes everything."""

import sys
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gridwatch.app.evaluate import Truth, TruthClip
from gridwatch.app.lockstep import Driven
from gridwatch.app.scoring import ClipAlert, TrueEvent
from gridwatch.core.camera import Camera
from gridwatch.core.clock import ManualClock
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from gridwatch.simulator.coding import Coding, Picture, write_clip
from ingest.decoder import KeyDecoder
from ingest.files import FileSource

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STANDS = "stopped_vehicle"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    """Have the benchmarks' own modules at hand; behind all others, since one of them is called as a package is."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCHMARKS)])
    yield
    for name in [
        name for name in sys.modules if name.split(".")[0] in {"contest", "day_figures", "day_mix", "daylike"}
    ]:
        del sys.modules[name]


def alert(began_s, opened_s, kind=Kind.FIRE, subtype="flame"):
    return ClipAlert("clip", kind, subtype, began_s, opened_s, None, None)


def test_incidents_of_one_kind_are_paired_by_their_beginnings():
    """Two fires of one clip find their own partner, whatever the order in which they were told."""
    from day_figures import compare

    early, late = alert(3.0, 8.0), alert(30.0, 34.0)
    found = compare([late, early], [alert(29.5, 33.0), alert(3.5, 7.0)])
    assert [(pair.onset_off_s, pair.alert_later_s) for pair in found.both] == [(-0.5, 1.0), (0.5, 1.0)]
    assert (found.only_ours, found.only_everything) == ((), ())


def test_an_incident_of_another_kind_or_subtype_is_no_partner():
    """Fire and smoke of one moment are two incidents; so are two subtypes."""
    from day_figures import compare

    fire, smoke = alert(3.0, 8.0), alert(3.0, 8.0, Kind.SMOKE, "smoke")
    stands, crash = alert(3.0, 8.0, Kind.TRAFFIC, STANDS), alert(3.0, 8.0, Kind.TRAFFIC, "crash")
    found = compare([fire, stands], [smoke, crash])
    assert found.both == ()
    assert found.only_ours == (fire, stands)
    assert found.only_everything == (smoke, crash)


@pytest.mark.parametrize(
    ("ours", "onset", "soon"),
    [
        (alert(11.0, 18.0), True, True),
        (alert(11.2, 18.0), False, True),
        (alert(8.8, 11.0), False, True),  # sooner than decoding everything is no fault of an alert
        (alert(10.0, 18.2), True, False),
    ],
)
def test_a_pair_is_judged_by_onset_and_alert(ours, onset, soon):
    """A second off in either direction for the onset, one group of pictures (2 s) and a second later for the alert."""
    from day_figures import Pair

    pair = Pair(ours, alert(10.0, 15.0))
    assert (pair.onset_is_near, pair.alert_is_near) == (onset, soon)


def run_of(alerts=(), before=(4.0, 3.0), after=(10.0, 8.0)):
    from day_figures import Cpu, Run, Span

    return Run(tuple(alerts), Span(0.0, 40.0, 100.0), Cpu(*before), Cpu(*after), Driven(1500, 150, 30, 0))


def test_quiet_time_is_weighted_at_its_own_price():
    """20 s of 5 % need 380 s of quiet: 40 s of it were watched after the clip and are in its price, 340 s cost a tenth each."""
    day = run_of().day(20.0, 0.95)
    assert day.whole_s == pytest.approx(10.0 + 34.0)
    assert day.network_s == pytest.approx(8.0 + 25.5)
    assert day.rest_s == pytest.approx(10.5)


def test_what_was_watched_longer_than_a_day_is_not_taken_back():
    """A clip of 1 s needs 19 s of quiet; the 59 s that were watched after it stay the event's."""
    assert run_of().day(1.0, 0.95).whole_s == pytest.approx(10.0)


def mixed_of(ours, everything, cheap=(1.0, 0.9)):
    from day_figures import EVERYTHING, OURS, Mixed

    event = TrueEvent(Kind.FIRE, "flame", 5.0, 20.0, expected=True)
    runs = {OURS: run_of(ours, before=cheap, after=cheap), EVERYTHING: run_of(everything)}
    return Mixed("clip", 20.0, (event,), runs)


def test_what_both_ways_agree_on_is_met():
    """The same incident, near in onset and alert, at less than a quarter of the CPU."""
    from day_figures import result

    found = result([mixed_of([alert(6.0, 10.0)], [alert(5.5, 9.0)])], 0.95)
    assert [found[key] for key in ("clips", "incidents", "same_incidents")] == [1, 1, 1]
    assert all(found["met"].values())
    assert found["cpu_ratio"] == pytest.approx((1 + 8.5) / (10 + 34), abs=1e-4)
    assert found["cpu_ratio_without_network"] == pytest.approx((0.1 + 0.85) / (2 + 8.5), abs=1e-4)
    assert (found["gridwatch"]["found"], found["gridwatch"]["missed"]) == (1, 0)


def test_one_lost_one_too_many_and_dear_is_not_met():
    """An incident of one side only, a late one and too much CPU each fail their own line."""
    from day_figures import result

    ours = [alert(-20.0, -15.0, Kind.CROWD, "count"), alert(5.0, 20.0)]
    everything = [alert(5.0, 9.0), alert(7.0, 12.0, Kind.SMOKE, "smoke")]
    found = result([mixed_of(ours, everything, cheap=(3.0, 2.0))], 0.95)
    assert (found["only_gridwatch"], found["only_everything"]) == (1, 1)
    assert found["met"] == {
        "same_incidents": False,
        "onset_within_1s": True,
        "alert_within_gop_1s": False,
        "cpu_ratio": False,
    }
    assert (found["gridwatch"]["false_in_idle"], found["everything"]["false_in_idle"]) == (1, 0)


def test_the_table_says_what_only_one_way_found():
    """No incident is left out of the table."""
    from day_figures import table

    lines = list(table([mixed_of([alert(5.0, 9.0, Kind.CROWD, "count")], [alert(5.0, 9.0)])], 0.95))
    assert sum("gridwatch only" in line for line in lines) == 1
    assert sum("everything only" in line for line in lines) == 1


def test_clips_are_those_in_which_something_begins_later():
    """What is in the first picture would be in the quiet time too."""
    import day_mix

    def clip(name, duration_s, *onsets_s):
        events = tuple(TrueEvent(Kind.FIRE, "", onset_s, 30.0, expected=True) for onset_s in onsets_s)
        return TruthClip(name, duration_s, events)

    clips = (
        clip("a", 20.0, 2.0),
        clip("none", 5.0),
        clip("first", 5.0, 0.5),
        clip("b", 30.0, 0.0, 9.0),
        clip("c", 10.0, 3.0),
    )
    truth = Truth(clips, Zone("picture", frozenset(Kind)))
    assert [each.file for each in day_mix.chosen(truth, None).clips] == ["a", "b", "c"]
    assert [each.file for each in day_mix.chosen(truth, 2).clips] == ["a", "c"]


@pytest.fixture
def clip(tmp_path):
    """Six seconds of nothing, ten pictures a second, a key frame every two."""
    path = tmp_path / "nothing.mp4"
    coding = Coding(width=64, height=48, fps=Fraction(10), bit_rate=100_000)
    grey = np.full((72, 64), 90, np.uint8)
    write_clip(path, coding, (Picture(grey, index % 20 == 0) for index in range(60)))
    return path


class Network:
    """Takes no time that counts."""

    cpu_s = 0.0


def test_a_part_is_watched_from_a_key_frame_on(clip):
    """From the first key frame in the span to its end, whatever lies around it."""
    from day_figures import Span
    from day_mix import MarkedSource

    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    with MarkedSource(FileSource("cam", clip, clock), Span(1.0, 3.0, 5.0), Network()) as source:
        packets = list(source.packets())
    assert (packets[0].is_key, packets[0].at_mono_s, packets[-1].at_mono_s) == (True, 2.0, 4.9)
    assert source.before.whole_s >= 0.0
    assert source.after.whole_s >= 0.0


def test_the_other_contestant_decodes_everything(clip):
    """Every picture is decoded and one is looked at every half second, though nothing happens and nobody is interested."""
    from day_mix import Everything

    from gridwatch.core.look import Interest

    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    camera = Camera("cam", "cam", SecretUrl("file:x"), (Zone("picture", frozenset(Kind)),))
    intake, decoder, looks = Everything(camera, clock), KeyDecoder(), []
    with FileSource("cam", clip, clock) as source:
        for packet in source.packets():
            clock.advance_to(packet.at_mono_s)
            if intake.take(packet) is None:
                continue
            for shown, frame in intake.pictures(decoder, packet):
                looks += intake.see(shown, frame)
                intake.follow(Interest.NOTHING)
    assert intake.decoded >= 58
    assert np.diff([look.at_mono_s for look in looks]) == pytest.approx(0.5)
