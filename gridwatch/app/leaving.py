# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes the clips that may leave: few pictures a second, persons blurred, one clip after the other on one thread.

Made only when somebody asks, because it costs some fifty looks. Where persons were found they are blurred a second before
and after as well, in every picture between: a box that is missing once uncovers nobody. Where the network gives no answer
there is no clip: what is not known is not let out. Blurring reduces what is shown; it is not promised to be complete.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import structlog

from events.alerts import Alert
from events.errors import EvidenceError, StoreError
from events.evidence import CLIP, MASKED_CLIP, STILL_WIDTH_PX, EvidenceStore, Picture, mask
from events.incidents import IncidentBook
from events.reading import AlertReader
from gridwatch.core.errors import GridwatchError
from gridwatch.core.finding import Box
from gridwatch.core.frame import Frame
from gridwatch.core.ports import LeavingClip
from gridwatch.core.zone import Kind
from ingest.errors import IngestError
from ingest.reencode import Shown, encode_mp4, pictures

log = structlog.get_logger()

FPS = 5.0
HOLD_S = 1.0
MOST_PICTURES = 1_000  # 200 s: more than the longest clip that can be configured
MOST_WAITING = 16
REMEMBERED_FAILURES = 100
IDLE_S = 1.0

People = Callable[[Frame], tuple[Box, ...] | None]


class PeopleUnknown(GridwatchError):  # noqa: N818  reads better where it is raised
    """The network did not say who is to be seen in one of the pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    at_s: float
    picture: Picture
    persons: tuple[Box, ...]


def blurred(
    shown: Iterable[Shown], people: People, *, veil: bool, hold_s: float = HOLD_S
) -> Iterator[tuple[float, Picture]]:
    """Yield (seconds, masked picture, BGR) for each picture, at most 960 wide and all of one size.

    Args:
        people: who is to be seen in a frame; None where that is not known.
        veil: blur the whole picture a little as well: a crowd that was counted without boxes.
        hold_s: how long before and after a look its boxes are blurred too.

    Raises:
        PeopleUnknown: a look was not answered.
    """
    near: deque[_Looked] = deque()  # all that a picture not yet given needs; two `hold_s` at most
    given = 0  # how many of `near` were given already
    size: tuple[int, int] | None = None
    for one in shown:
        size = size or _size(one.frame)
        persons = people(one.frame)
        if persons is None:
            raise PeopleUnknown(f"the network did not say who is to be seen at {one.at_s:.1f} s")
        near.append(_Looked(one.at_s, one.frame.view(*size), persons))
        while given < len(near) and near[given].at_s + hold_s < one.at_s:
            yield _masked(near, given, hold_s, veil=veil)
            given += 1
            while near[0].at_s + hold_s < near[given].at_s:
                near.popleft()
                given -= 1
    for index in range(given, len(near)):
        yield _masked(near, index, hold_s, veil=veil)


def _masked(near: deque[_Looked], index: int, hold_s: float, *, veil: bool) -> tuple[float, Picture]:
    this = near[index]
    persons = [box for other in near if abs(other.at_s - this.at_s) <= hold_s for box in other.persons]
    return this.at_s, mask(this.picture, persons, (), veil=veil)


def _size(frame: Frame) -> tuple[int, int]:
    width = min(STILL_WIDTH_PX, frame.width) // 2 * 2
    return width, max(2, round(frame.height * width / frame.width / 2) * 2)


class MaskedClips:
    """The one worker that makes them. Asked from any thread, run on one.

    Args:
        people: who is to be seen in a frame; None where that is not known.
    """

    def __init__(
        self, reader: AlertReader, evidence: EvidenceStore, book: IncidentBook, people: People
    ) -> None:
        self._reader, self._evidence, self._book, self._people = reader, evidence, book, people
        self._waiting: OrderedDict[str, str] = OrderedDict()  # incident → who asked; the first is in work
        self._failed: OrderedDict[str, str] = OrderedDict()
        self._changed = threading.Condition()
        self._stopping = threading.Event()

    def ask(self, incident_id: str, *, by: str) -> LeavingClip:
        """Have an incident's clip made, unless it is there already; return where it stands.

        Raises:
            UnknownIncident: there is none with this id.
            StoreError: the database does not answer.
        """
        alert = self._reader.get(incident_id)
        now = self._standing(alert)
        if now.state not in {"failed", "none"} or not self._has_clip(alert):
            return now
        with self._changed:
            if incident_id not in self._waiting and len(self._waiting) >= MOST_WAITING:
                return LeavingClip("busy", None, f"{MOST_WAITING} clips are being made; ask again later")
            self._failed.pop(incident_id, None)
            self._waiting.setdefault(incident_id, by)
            self._changed.notify()
        return LeavingClip("pending", None, "")

    def state(self, incident_id: str) -> LeavingClip:
        """Return where an incident's clip stands: ready, pending, failed (and why), or none.

        Raises:
            UnknownIncident: there is none with this id.
            StoreError: the database does not answer.
        """
        return self._standing(self._reader.get(incident_id))

    def _standing(self, alert: Alert) -> LeavingClip:
        masked = alert.clip.masked_sha256
        if masked is not None and self._evidence.size(masked, MASKED_CLIP) is not None:
            return LeavingClip("ready", masked, "")
        with self._changed:
            if alert.id in self._waiting:
                return LeavingClip("pending", None, "")
            reason = self._failed.get(alert.id)
        if not self._has_clip(alert):
            return LeavingClip("none", None, _NO_CLIP)
        return (
            LeavingClip("none", None, "nobody asked for it yet")
            if reason is None
            else LeavingClip("failed", None, reason)
        )

    def run(self, stop: threading.Event) -> None:
        """Make what is asked for until `stop` is set; a clip in work is given up then."""
        self._stopping = stop
        while not stop.is_set():
            self.step(IDLE_S)

    def step(self, timeout_s: float = 0.0) -> bool:
        """Make the clip that was asked for first, waiting `timeout_s` for one; return whether there was one."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            if not self._waiting:
                return False
            incident_id, by = next(iter(self._waiting.items()))
        reason = ""
        try:
            reason = self._make(incident_id, by)
        except (PeopleUnknown, IngestError, EvidenceError, StoreError) as error:
            reason = str(error)
        except Exception as error:  # the thread's top loop: one clip must not end it
            reason = f"it could not be made ({type(error).__name__})"
            log.exception("masked_clip_failed", incident_id=incident_id)
        with self._changed:
            del self._waiting[incident_id]
            if reason:
                self._failed[incident_id] = reason
                while len(self._failed) > REMEMBERED_FAILURES:
                    self._failed.popitem(last=False)
        return True

    def _make(self, incident_id: str, by: str) -> str:
        alert = self._reader.get(incident_id)
        if alert.clip.sha256 is None:
            return _NO_CLIP
        clip = self._evidence.path(alert.clip.sha256, CLIP)
        shown = blurred(pictures(clip, FPS, MOST_PICTURES), self._persons, veil=alert.kind is Kind.CROWD)
        stored = self._book.attach_masked_clip(incident_id, encode_mp4(shown, FPS), asked_by=by)
        log.info("masked_clip", incident_id=incident_id, sha256=stored)
        return (
            "" if stored else "it could not be stored: the folder is full, or the clip was deleted meanwhile"
        )

    def _persons(self, frame: Frame) -> tuple[Box, ...] | None:
        return None if self._stopping.is_set() else self._people(frame)

    def _has_clip(self, alert: Alert) -> bool:
        sha256 = alert.clip.sha256
        return sha256 is not None and self._evidence.size(sha256, CLIP) is not None


_NO_CLIP = "there is no clip (any more, or yet)"
