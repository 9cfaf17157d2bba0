# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip laid into a long quiet time, for measurements."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(autouse=True)
def daylike(monkeypatch):
    """Have the benchmarks' module at hand, as their scripts have."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import daylike as module

    monkeypatch.setattr(module, "QUIET_LOOP_S", 4.0)
    yield module
    sys.modules.pop("daylike", None)


def test_the_clip_lies_in_the_middle_of_a_quiet_time(daylike, pictures, yard, tmp_path):
    """Before and after it its first picture with noise; in it every picture of the clip, at the stated second."""
    made = daylike.day_like(yard, tmp_path / "day.ts", idle_share=0.8)
    with av.open(str(made.path)) as container:
        shown = [frame.to_ndarray()[:112].astype(int) for frame in container.decode(video=0)]
    assert (made.clip_at_s, made.clip_s, made.length_s) == (4.0, 2.0, 10.0)
    assert made.idle_share == pytest.approx(0.8)
    assert len(shown) == 250
    first = pictures.scene(0)[:112].astype(int)
    differences = [np.abs(plane - first).mean() for plane in shown]
    assert max(differences[:100] + differences[150:]) < 4
    assert min(differences[110:140]) > 1
    assert np.abs(shown[130] - pictures.scene(30)[:112]).mean() < 4
    assert len({plane.tobytes() for plane in shown[:100]}) > 50


def test_its_times_go_on_evenly(daylike, yard, tmp_path):
    """One file, a key picture every two seconds, and where the clip begins and ends."""
    made = daylike.day_like(yard, tmp_path / "day.ts", idle_share=0.8)
    with av.open(str(made.path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    start = packets[0].pts
    assert [packet.pts - start for packet in packets] == [3600 * index for index in range(250)]
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 50, 100, 150, 200]
