# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera that takes turns and has two streams, of which the second opens and brings nothing of use."""

from gridwatch.app.settings import AttentionSettings
from gridwatch.core.camera import Note, SightState
from ingest.budget import Policy
from tests.app.watching import Street, clip, until, watching

BRISK = Policy(rest_s=0.1, usual_visit_s=0.3, within_s=4.0, lost_within_s=1.0)


def test_visits_go_to_the_main_stream_where_the_second_cannot_be_decoded(tmp_path):
    """A visit that brought packets and no picture has failed: after three the camera is seen by its main stream."""
    plain = clip(tmp_path / "plain.mp4", gop=3)
    with Street(dict.fromkeys("abcdef", plain), sub=("a",)) as street:
        street.fault("garbage", "a/sub", mode="slices")
        cameras = [street.camera("a", sub_url=street.url("a/sub"), recorder="nvr")]
        cameras += [street.camera(name, recorder="nvr") for name in "bcdef"]
        attention, ingest = AttentionSettings(connections=3), {"sessions": {"nvr": 3}}
        with watching(tmp_path, cameras, attention=attention, policy=BRISK, ingest=ingest) as machine:
            assert "a" in machine.turns.turning
            sight = machine.shard.find("a").pipeline.intake.sight
            until(lambda: Note.SUB_STREAM_AWAY in sight.status().notes)
            until(lambda: sight.status().state is SightState.SEEING)
