# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an operator or a program can do and ask. Routes and console call these very functions: there is no other door.

Each asks for the right that it needs, anew at every call, so that a token that has ended is refused wherever it is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import structlog

from api.access import NOBODY, Access, Caller, Right
from api.errors import NoOtherView, NothingStored, UnknownCamera
from api.metrics import ApiMetrics
from api.services import Services
from api.watching import CamerasWanted, Coverage, SeenCamera, Watching, is_away
from events.alerts import (
    Activity,
    Alert,
    AlertFilter,
    AlertPage,
    CaseState,
    Decision,
    DismissReason,
    StillRef,
)
from events.errors import DecisionConflict, IllegalDecision, UnknownRevision
from events.evidence import CLEAN, CLIP, MASKED, MASKED_CLIP
from events.exchange import Exchange, MessagePage
from events.grids import Grid
from events.journal import Row
from events.operations_reading import OperationsPage
from events.outbox import Outbox
from events.troubles import TroubleKind
from gridwatch.core.camera import CameraStatus
from gridwatch.core.coverage import CameraDay
from gridwatch.core.errors import InputError
from gridwatch.core.zone import Kind

log = structlog.get_logger("api")
T = TypeVar("T")
ACTUAL: Final = "actual"
RUN_MODES: Final = (ACTUAL, "exercise", "test")
ANY_CAMERA: Final = CamerasWanted()
_SEQ_DIGITS: Final = 18  # fits 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counts of all recorded alerts by each field, and of what waits for the case queue."""

    run_mode: str
    by_kind: Mapping[str, int]
    by_activity: Mapping[str, int]
    by_decision: Mapping[str, int]
    by_case: Mapping[str, int]
    waiting: int
    oldest_waiting_s: float


class Operations:
    """Everything the API offers, to one caller. Every method blocks (SQL, files): never call one on an event loop.

    Every method but `not_ready` and `coverage` may raise NotAdmitted, Forbidden and StoreError.
    """

    def __init__(
        self, services: Services, metrics: ApiMetrics, access: Access, caller: Caller = NOBODY
    ) -> None:
        self._services, self._metrics, self._access = services, metrics, access
        self._exchange = Exchange(Outbox(services.alerts.store, services.clock), services.book)
        self._watching = Watching(services)
        self.caller = caller

    def of(self, caller: Caller) -> "Operations":
        """Return the same for another caller."""
        return Operations(self._services, self._metrics, self._access, caller)

    def need(self, right: Right) -> None:
        """Check that the caller may do something."""
        self._access.need(self.caller, right)

    def coverage(self) -> Coverage:
        """Return what is seen now."""
        return self._watching.coverage()

    def alerts(self, wanted: AlertFilter, cursor: str | None, limit: int) -> AlertPage:
        """Return one page of alerts, newest first.

        Where no run mode is asked for, these are actual ones and those of this machine's own mode: what a test camera does
        as an exercise stands in nobody's way.
        """
        self.need(Right.SEE)
        if not wanted.run_modes:
            wanted = replace(wanted, run_modes=tuple({ACTUAL, self._services.run_mode}))
        return self._services.alerts.list(wanted, cursor, limit)

    def alert(self, alert_id: str) -> Alert:
        """Return one alert, or raise UnknownIncident."""
        self.need(Right.SEE)
        return self._services.alerts.get(alert_id)

    def timeline(self, alert_id: str) -> Sequence[Row]:
        """Return an alert's journal rows, oldest first, the newest 5,000 of them, or raise UnknownIncident."""
        self.need(Right.SEE)
        self._services.alerts.get(alert_id)
        return self._services.alerts.timeline(alert_id)

    def newest_rows(self, alert_id: str, limit: int) -> Sequence[Row]:
        """Return an alert's newest journal rows, oldest first, or raise UnknownIncident."""
        self.need(Right.SEE)
        self._services.alerts.get(alert_id)
        return self._services.alerts.newest_rows(alert_id, limit)

    def timeline_page(
        self, alert_id: str, cursor: str | None, limit: int
    ) -> tuple[Sequence[Row], str | None]:
        """Return a page of an alert's journal rows, oldest first, and the next page's cursor, or raise UnknownIncident.

        Raises:
            InputError: the cursor is no row's number.
        """
        self.need(Right.SEE)
        if cursor is not None and not (
            cursor.isascii() and cursor.isdecimal() and len(cursor) <= _SEQ_DIGITS
        ):
            raise InputError("the cursor is none of ours; begin the list again without it")
        self._services.alerts.get(alert_id)
        rows = self._services.alerts.rows_of(alert_id, int(cursor or 0), limit + 1)
        return rows[:limit], str(rows[limit - 1].seq) if len(rows) > limit else None

    def unmatched(self, limit: int) -> Sequence[Row]:
        """Return the newest answers of case systems that belong to no alert, at most `limit`, newest first."""
        self.need(Right.SEE)
        return self._services.alerts.unmatched(limit)

    def confirm(self, alert_id: str, *, seen_revision: int, note: str = "") -> Alert:
        """Record that the caller takes the alert for true."""
        return self._decided(
            Decision.CONFIRMED,
            lambda: self._services.book.decide(
                alert_id, Decision.CONFIRMED, by=self.caller.name, note=note, seen_revision=seen_revision
            ),
        )

    def dismiss(self, alert_id: str, *, seen_revision: int, reason: DismissReason, note: str = "") -> Alert:
        """Record that the caller dismisses the alert, and why."""
        return self._decided(
            Decision.DISMISSED,
            lambda: self._services.book.decide(
                alert_id,
                Decision.DISMISSED,
                by=self.caller.name,
                reason=reason,
                note=note,
                seen_revision=seen_revision,
            ),
        )

    def still(self, alert_id: str, *, masked: bool, detail: bool = False) -> tuple[Path, str]:
        """Return an alert's picture and its SHA-256; the masked one has its persons blurred.

        Args:
            detail: the larger one, from the main stream of a camera of which a smaller one is looked at.
        """
        alert = self.alert(alert_id)
        if detail:
            return self._still_of(alert, alert.detail.still if alert.detail else None, masked=masked)
        return self.still_of(alert, masked=masked)

    def still_of(self, alert: Alert, *, masked: bool) -> tuple[Path, str]:
        """As `still`, of an alert that was read: its boxes belong on this very picture."""
        self.need(Right.SEE)
        return self._still_of(alert, alert.still, masked=masked)

    def _still_of(self, alert: Alert, still: StillRef | None, *, masked: bool) -> tuple[Path, str]:
        if still is None:
            raise NothingStored("still", "none")
        sha256, suffix = (still.masked_sha256, MASKED) if masked else (still.sha256, CLEAN)
        path = self._services.evidence.path(sha256, suffix)
        if not masked:
            self._note_view("still", alert.id)
        return path, sha256

    def clip(self, alert_id: str, *, detail: bool = False) -> tuple[Path, str]:
        """Return an alert's clip and its SHA-256; `detail`: the one from the main stream, as of `still`."""
        alert = self.alert(alert_id)
        sha256, state = alert.clip.sha256, alert.clip.state
        if detail:
            sha256, state = alert.detail.clip_sha256 if alert.detail else None, "none"
        if sha256 is None:
            raise NothingStored("clip", state)
        path = self._services.evidence.path(sha256, CLIP)
        self._note_view("clip", alert_id)
        return path, sha256

    def masked_still(self, sha256: str) -> Path:
        """Return the picture that may leave, by its hash; a clean one is never found here."""
        self.need(Right.EVIDENCE)
        return self._services.evidence.path(sha256, MASKED)

    def cameras(self, wanted: CamerasWanted = ANY_CAMERA) -> Sequence[CameraStatus]:
        """Return the states of the cameras that are wanted, in configuration order."""
        self.need(Right.SEE)
        return self._watching.statuses(wanted)

    def seen(self, statuses: Sequence[CameraStatus]) -> Sequence[SeenCamera]:
        """Return cameras with what the register and the store know of them."""
        self.need(Right.SEE)
        return self._watching.seen(statuses)

    def camera(self, camera_id: str) -> SeenCamera:
        """Return one camera, or raise UnknownCamera."""
        self.need(Right.SEE)
        found = [one for one in self._services.live.statuses() if one.camera_id == camera_id]
        if not found:
            raise UnknownCamera(camera_id)
        return self._watching.seen(found)[0]

    def accept_view(self, camera_id: str, *, reason: str = "") -> SeenCamera:
        """Record that the caller takes what a camera shows now for what its zones are drawn on; return its state.

        Raises:
            UnknownCamera: no such camera is watched.
            NoOtherView: it is neither moved nor elsewhere; a cover that was accepted would never be told again.
        """
        self.need(Right.DECIDE)
        seen, control = self.camera(camera_id), self._services.control
        if not is_away(seen.status):
            raise NoOtherView(camera_id, seen.status.fault)
        if control is None or not control.accept_view(camera_id):
            raise UnknownCamera(camera_id)
        log.info("view_accepted", camera_id=camera_id, by=self.caller.name, reason=reason)
        return seen

    def days_of(self, camera_id: str) -> Sequence[CameraDay]:
        """Return how long a camera saw on its last days, newest first."""
        self.need(Right.SEE)
        return self._watching.days_of(camera_id)

    def operations_alerts(
        self, kind: TroubleKind | None, cursor: str | None, limit: int, *, open_only: bool
    ) -> OperationsPage:
        """Return a page of what keeps cameras from seeing, newest first."""
        self.need(Right.SEE)
        return self._watching.alerts(kind, cursor, limit, open_only=open_only)

    def picture(self, camera_id: str) -> bytes:
        """Return a camera's last picture as JPEG."""
        self.need(Right.SEE)
        picture = self._services.live.picture(camera_id)
        if picture is not None:
            return picture
        if all(status.camera_id != camera_id for status in self._services.live.statuses()):
            raise UnknownCamera(camera_id)
        raise NothingStored("picture", "pending")

    def grids(self) -> Sequence[Grid]:
        """Return the grids that incidents are placed in."""
        self.need(Right.SEE)
        return self._services.grids.all()

    def stats(self) -> Stats:
        """Count what is recorded, and what waits."""
        self.need(Right.SEE)
        counts = self._services.alerts.counts()
        waiting, oldest_s = self._services.backlog()
        return Stats(
            run_mode=self._services.run_mode,
            by_kind=_with_zeros(Kind, counts.by_kind),
            by_activity=_with_zeros(Activity, counts.by_activity),
            by_decision=_with_zeros(Decision, counts.by_decision),
            by_case=_with_zeros(CaseState, counts.by_case),
            waiting=waiting,
            oldest_waiting_s=oldest_s,
        )

    def not_ready(self) -> list[str]:
        """Return why this process is not ready; empty when it is."""
        return self._services.ready()

    def messages(self, after: int, epoch: str | None, limit: int) -> MessagePage:
        """Return a page of case messages, as the queue carries them, or raise ForeignJournal."""
        self.need(Right.MESSAGES)
        return self._exchange.messages(after, epoch, limit)

    def take_reply(self, fields: Mapping[str, str]) -> str:
        """Record an answer of the case system; return what became of it (`events.exchange`)."""
        self.need(Right.REPLY)
        return self._exchange.take(fields)

    def leaving_suffix(self, sha256: str) -> str:
        """Return how the name of the file ends that may leave under this hash: .jpg of a still, .mp4 of a clip.

        Raises:
            EvidenceError: there is none.
        """
        self.need(Right.EVIDENCE)
        if self._services.evidence.size(sha256, MASKED_CLIP) is not None:
            return CLIP
        self._services.evidence.path(sha256, MASKED)
        return CLEAN

    def evidence_link(self, path: str, valid_s: int) -> tuple[str, datetime]:
        """Return the query that opens the evidence at `path` to whoever holds it, and until when."""
        self.need(Right.SHARE)
        return self._access.sign_link(self.caller, path, valid_s)

    def _note_view(self, what: str, alert_id: str) -> None:
        """Say in the log who looked at evidence in which people can be made out."""
        log.info("clean_evidence_viewed", what=what, id=alert_id, by=self.caller.name)

    def _decided(self, decision: Decision, decide: Callable[[], Alert]) -> Alert:
        self.need(Right.DECIDE)
        outcome = "failed"
        try:
            alert = decide()
            outcome = "done"
            return alert
        except DecisionConflict:
            outcome = "conflict"
            raise
        except (IllegalDecision, UnknownRevision):
            outcome = "illegal"
            raise
        finally:
            self._metrics.decisions.labels(decision.value, outcome).inc()


def page_of(
    items: Sequence[T], keys: Sequence[str], after: str | None, limit: int
) -> tuple[Sequence[T], str | None]:
    """Return the items after the one whose key is `after`, at most `limit`, and the next page's key.

    Raises:
        InputError: there is no such key (any more).
    """
    if after is not None and after not in keys:
        raise InputError("the cursor is none of ours; begin the list again without it")
    start = 0 if after is None else keys.index(after) + 1
    end = start + limit
    return items[start:end], keys[end - 1] if end < len(items) else None


def _with_zeros(words: Iterable[str], counts: Mapping[str, int]) -> dict[str, int]:
    return {str(word): counts.get(word, 0) for word in words}
