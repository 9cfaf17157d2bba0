# SPDX-License-Identifier: AGPL-3.0-or-later
"""One simulated camera: a still place, what moves in it, a name and a clock burnt in."""

from datetime import datetime, timedelta

from gridwatch.core.zone import Zone
from gridwatch.simulator.scenes.canvas import HEIGHT_PX, WIDTH_PX, Picture, write
from gridwatch.simulator.scenes.places import Place
from gridwatch.simulator.scenes.schedule import Actor, Recurring, SceneEvent

FPS = 10


class SceneCamera:
    """Renders frames of one scene. Frame i is shown at timeline second i / fps; the same i gives the same picture.

    Frames may be asked for in any order, but not by several threads at once.

    Attributes:
        name: a short ASCII name, unique within the demo; also fit for a path.
        title_zh, title_en: the place, for people.
        gop_frames: how many frames from one key frame to the next; differs between cameras so that keys do not coincide.
        zones: what is to be watched for where, ready for a camera's configuration.
        shows_photograph: whether cut-outs of the photograph appear (such pictures do not belong into documents).
    """

    width = WIDTH_PX
    height = HEIGHT_PX
    fps = FPS

    def __init__(
        self, place: Place, actors: tuple[Actor, ...], zones: tuple[Zone, ...], *, gop_frames: int,
        shows_photograph: bool, clock_start: datetime | None = None,
    ) -> None:  # fmt: skip
        self.name, self.title_zh, self.title_en = place.key, place.title_zh, place.title_en
        self.zones, self.gop_frames, self.shows_photograph = zones, gop_frames, shows_photograph
        self._still = place.picture.copy()
        write(self._still, place.title_en, 16, HEIGHT_PX - 16)
        self._actors = actors
        self._clock_start = clock_start

    def render(self, frame_index: int) -> Picture:
        """Return frame `frame_index` (≥ 0): (540, 960, 3) uint8, BGR, the caller's to keep."""
        at_s = frame_index / self.fps
        picture = self._still.copy()
        for actor in sorted(self._actors, key=lambda actor: actor.base_px(at_s)):
            actor.draw(picture, at_s)
        write(picture, self._clock(at_s), WIDTH_PX - 232, 26)
        return picture

    def events(self, until_s: float) -> list[SceneEvent]:
        """Return the truth about what happens here before timeline second `until_s`."""
        return [
            event for actor in self._actors if isinstance(actor, Recurring) for event in actor.events(until_s)
        ]

    def _clock(self, at_s: float) -> str:
        if self._clock_start is None:
            minutes, seconds = divmod(int(at_s), 60)
            return f"DEMO {minutes:04d}:{seconds:02d}"
        return (self._clock_start + timedelta(seconds=at_s)).strftime("%Y-%m-%d %H:%M:%S")
