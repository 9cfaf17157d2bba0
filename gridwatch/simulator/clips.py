# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip as a camera that never ends: its packets unchanged, in a loop, at the pace of their times.

Nothing is decoded or encoded until a variant of the clip is asked for; that is made elsewhere (shelf.py, recoding.py)
and shown here from a key picture on.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import structlog

from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.rtsp.media import AccessUnit, VideoMedia
from gridwatch.simulator.shelf import ClipShelf, Order
from gridwatch.simulator.tracks import CodedPicture, CodedTrack
from gridwatch.simulator.variants import Value, Variant, variant

SEAM_S = 10.0
"""How far pts jumps forward where the clip starts again."""

_BEHIND_S = 2.0
_NEARLY_S = 0.001
_WAIT_S = 0.5


class ClipFeed:
    """Serves a clip, MP4 or another container that FFmpeg reads, with H.264 or H.265 inside.

    Args:
        path: the clip.
        phase_s: how far into the clip the camera is at second 0 of the timeline; cameras with different phases
            do not send their key frames at the same moments.
        shelf: where cameras of one process share what they show; None: this one reads for itself.
        sub_width: serve the clip scaled to so many pixels across, as a camera's second stream; coded when it is opened.
    """

    ahead_s = 2.0
    refill_s = 1.0

    def __init__(
        self,
        path: Path,
        phase_s: float = 0.0,
        *,
        shelf: ClipShelf | None = None,
        sub_width: int | None = None,
    ) -> None:
        self.path, self.phase_s = path, phase_s
        self.skipped = 0
        self._shelf, self._sub_width = shelf or ClipShelf(), sub_width
        self._log = structlog.get_logger().bind(clip=path.name)
        self._clip: CodedTrack | None = None
        self._home: CodedTrack | None = None
        self._playing: _Playing | None = None
        self._wish: Variant | None = None  # the one thing that another thread writes
        self._taken: Variant | None = None
        self._taken_s = 0.0
        self._order: Order | None = None
        self._refused = False
        self._pts_ahead_s = 0.0
        self._wants_key = self._fresh = True
        self._not_before_s = -math.inf

    @property
    def showing(self) -> str | None:
        """The variant that is in the stream; None for the clip itself."""
        playing = self._playing
        return None if playing is None or playing.shown is None else playing.shown.name

    def show(self, name: str | None, **values: Value) -> None:
        """Send a variant from the next group of pictures on at which it is ready; None: the clip itself again.

        Returns at once; may be called from any thread.

        Raises:
            InputError: there is no such variant, or a value is not its.
        """
        self._wish = None if name is None else variant(name, **values)

    def open(self, start_s: float) -> VideoMedia:
        """Open the clip and go to the key frame that is due at `start_s` or next before.

        Raises:
            InputError: there is no such file, no H.264 or H.265 in it, or no key frame.
            FeedError: the second stream could not be coded.
        """
        self.close()
        self._clip = self._home = self._shelf.clip(self.path)
        if self._sub_width is not None:
            self._home = self._shelf.made(Order(self.path, None, self._sub_width), self._clip)
        loops, _ = divmod(start_s + self.phase_s, self._home.duration_s)
        self._pts_ahead_s = loops * SEAM_S + self.phase_s
        self._playing = self._at_home(start_s, -math.inf)
        return self._home.media

    def next_unit(self, now_s: float) -> AccessUnit:
        """Return the next packet as an access unit; see `Feed.next_unit`."""
        if self._playing is None:
            raise FeedError("the clip is not open")
        while True:
            playing = self._playing
            picture = self._next(playing)
            due_s = playing.start_due_s + picture.at_s
            if (picture.is_key or playing.track.is_endless) and self._changes(playing, due_s):
                continue
            due_s += self._catch_up(playing, now_s - due_s)
            if self._wants_key and not (
                picture.is_key and due_s >= max(now_s - _BEHIND_S, self._not_before_s - _NEARLY_S)
            ):
                self.skipped += not self._fresh  # what lies between a seek and its target was never owed
                continue
            self._wants_key = self._fresh = False
            pts_s = due_s + self._pts_ahead_s + picture.pts_s - picture.at_s
            return AccessUnit(picture.nals, due_s, pts_s, picture.is_key, playing.track.media)

    def close(self) -> None:
        """Close the file."""
        for track in {id(one): one for one in (self._clip, self._home) if one is not None}.values():
            track.close()
        self._clip = self._home = self._playing = None

    def _next(self, playing: "_Playing") -> CodedPicture:
        picture = next(playing.pictures, None)
        if picture is None:
            playing.start_due_s += playing.track.duration_s
            self._pts_ahead_s += SEAM_S
            playing.pictures = playing.track.pictures(0.0)
            picture = next(playing.pictures, None)
        if picture is None:
            raise FeedError(f"{self.path.name}: nothing could be read after the seam")
        return picture

    def _catch_up(self, playing: "_Playing", behind_s: float) -> float:
        """Return by how much the picture is put off: a stream without key pictures cannot leave any out."""
        if behind_s <= _BEHIND_S:
            return 0.0
        if not playing.track.is_endless:
            self._wants_key = True
            return 0.0
        playing.start_due_s += behind_s
        self.skipped += round(behind_s * playing.track.media.fps)
        return behind_s

    def _changes(self, playing: "_Playing", due_s: float) -> bool:
        """Change to what is wished for, if it is not what is shown and is ready."""
        target = self._target(due_s)
        if target == playing.shown:
            return False
        changed = self._at_home(due_s, due_s) if target is None else self._varied(target, due_s)
        if changed is not None:
            self._playing = changed
        return changed is not None

    def _target(self, due_s: float) -> Variant | None:
        wish = self._wish
        if wish != self._taken:
            self._taken, self._taken_s, self._refused, self._order = wish, due_s, False, None
        if wish is None or self._refused or not wish.is_on(due_s - self._taken_s):
            return None
        return wish

    def _at_home(self, due_s: float, not_before_s: float) -> "_Playing":
        home = self._opened(self._home)
        loops, position_s = divmod(due_s + self.phase_s, home.duration_s)
        self._wants_key, self._fresh, self._not_before_s = True, True, not_before_s
        start_due_s = loops * home.duration_s - self.phase_s
        return _Playing(home, home.pictures(position_s), start_due_s, None)

    def _varied(self, target: Variant, due_s: float) -> "_Playing | None":
        clip = self._opened(self._clip)
        position_s = (due_s + self.phase_s) % self._opened(self._home).duration_s
        wait_s = 0.0 if self._order else _WAIT_S  # once: the stock that was made ahead has to last
        if self._order is None:
            moment_s = round(position_s, 3) if target.is_of_the_moment else 0.0
            self._order = Order(self.path, target, self._sub_width, moment_s)
        try:
            track = self._shelf.live(self._order, clip) or self._shelf.ask(self._order, clip, wait_s)
        except FeedError as exc:
            self._log.warning("variant_not_made", variant=target.name, reason=str(exc))
            self._refused = True
            return None
        if track is None:
            return None
        if not track.is_endless:
            position_s = 0.0 if target.begins_at_start else position_s % track.duration_s
        pictures = track.pictures(position_s)
        first = next(pictures)
        return _Playing(track, chain((first,), pictures), due_s - first.at_s, target)

    @staticmethod
    def _opened(track: CodedTrack | None) -> CodedTrack:
        if track is None:
            raise FeedError("the clip is not open")
        return track


@dataclass(slots=True)
class _Playing:
    """What is being sent: `pictures` of a track whose second 0 is due at `start_due_s`."""

    track: CodedTrack
    pictures: Iterator[CodedPicture]
    start_due_s: float
    shown: Variant | None
