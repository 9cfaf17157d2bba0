# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips behind the port of cameras."""

from datetime import timedelta

import av
import pytest

from ingest.errors import NotFoundError, UnreachableError, UnsupportedCodecError
from ingest.files import FileSource


def test_a_clip_is_read_on_media_time(make_clip, packets_of, clock):
    """Times begin at the start given and go on as the clip's do; wall time is the clock's."""
    packets = packets_of(make_clip(fps=10, gop=5, pictures=20), start_mono_s=50.0)
    assert [packet.at_mono_s for packet in packets] == pytest.approx([50 + i / 10 for i in range(20)])
    assert [packet.is_key for packet in packets] == [i % 5 == 0 for i in range(20)]
    assert packets[7].captured_at - clock.now() == timedelta(seconds=50.7)
    assert {packet.session for packet in packets} == {1}


def test_reordered_pictures_are_placed_where_they_are_shown(make_clip, packets_of):
    """With B-frames packets come in decoding order and carry the time at which they are shown."""
    packets = packets_of(make_clip(gop=8, pictures=16, b_frames=2, preset="medium"))
    times = [packet.at_mono_s for packet in packets]
    assert times != sorted(times)
    assert sorted(times) == pytest.approx([i / 10 for i in range(16)])


def test_each_opening_is_a_session(make_clip, clock):
    """The same clip opened again is another session."""
    source = FileSource("cam", make_clip(), clock)
    sessions = []
    for _ in range(2):
        with source:
            sessions.append(next(source.packets()).session)
    assert sessions == [1, 2]


def test_what_is_no_clip_ends_in_one_clear_error(tmp_path, clock):
    """A missing file, a text file and a clip of another codec are told apart."""
    text, other = tmp_path / "notes.mp4", tmp_path / "old.mp4"
    text.write_text("not a clip")
    with av.open(other, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    for path, error in (
        (tmp_path / "none.mp4", NotFoundError),
        (text, UnreachableError),
        (other, UnsupportedCodecError),
    ):
        with pytest.raises(error), FileSource("cam", path, clock):
            pass
