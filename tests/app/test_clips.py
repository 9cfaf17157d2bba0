# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip is cut once its post-roll has passed; an empty ring gives none."""

from gridwatch.app.clips import ClipCutter
from ingest.ring import Ring


def test_a_clip_is_cut_after_its_post_roll_and_only_once():
    """An incident whose camera has nothing in memory is told that there is no clip."""
    attached: list[tuple[str, bytes | None]] = []
    cutter = ClipCutter(5, 5, lambda incident_id, mp4: attached.append((incident_id, mp4)))
    cutter.order("one", Ring(), at_mono_s=100)
    assert cutter.step(104.9) == 0
    assert attached == []
    assert cutter.step(105) == 1
    assert attached == [("one", None)]
    assert cutter.step(200) == 0
