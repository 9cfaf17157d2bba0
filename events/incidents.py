# SPDX-License-Identifier: AGPL-3.0-or-later
"""The incident book: the one writer of incidents and their journal. Rules stand in `joining`, `decisions` and `cases`.

Every change is one transaction: the journal row, the message frozen in it where one is due, and the incident as it is
then. Nothing is confirmed here by itself. Safe for several threads.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from events import decisions, joining
from events.alerts import Activity, Alert, ClipRef, Decision, DetailRef, DismissReason, StillRef
from events.answers import Answers
from events.claims import Claims
from events.errors import DecodeError, EvidenceFull, UnknownIncident
from events.evidence import CLEAN, CLIP, MASKED, MASKED_CLIP, EvidenceStore, Shot
from events.expendable import Expendable
from events.grids import Grids
from events.incident import STILLS_MAX, Incident
from events.joining import Change, Join
from events.messages import CaseReply
from events.opening import Opener
from events.policy import Policy, Push
from events.recording import Act, Recording
from events.stores import files
from events.stores.sql import Store
from events.stores.writing import Writer
from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock
from gridwatch.core.finding import Box, Finding
from gridwatch.core.frame import Frame
from gridwatch.core.zone import Kind

__all__ = ["IncidentBook", "Policy", "Push"]

MACHINE = "machine"
T = TypeVar("T")


class IncidentBook:
    """Makes incidents of findings, and takes decisions and answers.

    Args:
        store: where everything is recorded.
        clock: wall time of the records.
        places: the configured cameras by id; an unknown camera's findings are recorded all the same.
        grids: which grid a camera stands in.
        evidence: where stills and clips go; None stores none.
        policy: who this is, and when incidents are pushed.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        places: Mapping[str, Camera],
        grids: Grids,
        evidence: EvidenceStore | None,
        policy: Policy,
    ) -> None:
        self._store, self._clock, self._evidence = store, clock, evidence
        self._expendable = None if evidence is None else Expendable(store, evidence, clock)
        self._opener = Opener(places, grids, policy, keeps_evidence=evidence is not None)
        self._recording = Recording(policy, store.epoch)
        self._answers = Answers(self._recording, clock, policy.source)
        self._claims = Claims()
        self._lock = threading.RLock()
        self.refused_evidence = 0  # stills and clips that could not be stored; their incidents were recorded

    def resume(self) -> int:
        """Take up the incidents of the store: nobody watches yet, so what was ongoing is unseen. Return how many are open.

        Raises:
            StoreError: the database does not answer.
        """
        with self._lock, self._store.write() as tx:
            self._lose(tx, None, "restart")
            for incident in tx.with_pending_clip():  # the ring that it would be cut from is gone
                self._attach(tx, incident, ClipRef("none"))
            return len(tx.of_camera(None, Activity.UNSEEN))

    def record(self, finding: Finding, frame: Frame | None, persons: tuple[Box, ...] = ()) -> Alert | None:
        """Record what a finding changes.

        Args:
            finding: the claim; a repeated call with the same one changes nothing twice.
            frame: the picture that shows it, for the still; None where there is none.
            persons: boxes of persons in the picture, blurred in what leaves.

        Returns:
            The alert after the change, or None where no row was due (live facts, nothing known).

        Raises:
            StoreError: the database does not answer; call again.
        """
        still = self._still(finding, frame, persons)  # before the transaction: what a row names exists
        with self._lock, self._store.write() as tx:
            incident, join = self._place(tx, finding)
            change = self._change(incident, join, finding)
            if still is not None:
                change = _shown(incident, change, still, finding, self._clock.now())
            act = self._act("outside_schedule" if join is Join.HIDES else None)
            written = None if change is None else self._recording.write(tx, incident, change, act)
            owner = written or incident
            if still is not None and owner is not None:
                self._note_files(tx, owner.alert.id, (still.sha256, CLEAN), (still.masked_sha256, MASKED))
        if still is not None and self._evidence is not None:
            self._evidence.named((still.sha256, still.masked_sha256))
        if join in (Join.ENDS, Join.HIDES, Join.LEAVES, Join.NOTHING):
            self._claims.release(finding.finding_id)
        elif owner is not None:
            self._claims.hold(finding.finding_id, owner.alert.id)
        return written.alert if written and change and change.kind else None

    def camera_lost(self, camera_id: str, reason: str) -> int:
        """Make a camera's ongoing incidents unseen: it cannot tell. Return how many.

        Findings that go on keep their hold: their detector says later whether they were still there.

        Raises:
            StoreError: the database does not answer.
        """
        with self._lock, self._store.write() as tx:
            return self._lose(tx, camera_id, reason)

    def let_go(self, finding_ids: Iterable[str]) -> None:
        """Release what findings hold whose detector is gone: nobody will say any more that they ended."""
        with self._lock:
            for finding_id in finding_ids:
                self._claims.release(finding_id)

    def settle(self, camera_id: str, kind: Kind) -> int:
        """End a camera's unseen incidents of one kind that no finding claimed: it has seen long enough. Return how many.

        How long is enough depends on the kind: a detector that needs minutes to claim again must be given them.

        Raises:
            StoreError: the database does not answer.
        """
        now = self._clock.now()
        with self._lock, self._store.write() as tx:
            left = [
                one
                for one in tx.of_camera(camera_id, Activity.UNSEEN)
                if one.alert.kind is kind and not self._claims.held(one.alert.id)
            ]
            for incident in left:
                change = joining.ends(incident, now, now)
                self._recording.write(tx, incident, change, self._act("seen_again_without_it"))
        return len(left)

    def decide(
        self,
        incident_id: str,
        decision: Decision,
        *,
        by: str,
        reason: DismissReason | str | None = None,
        note: str = "",
        seen_revision: int | None = None,
    ) -> Alert:
        """Record an operator's decision and return the alert after it; repeating the one that stands changes nothing.

        Args:
            incident_id: which incident.
            decision: confirmed or dismissed.
            by: pseudonymous staff code.
            reason: of a dismissal a `DismissReason`; of a changed confirmation any words.
            note: free words.
            seen_revision: the revision that the operator saw; None skips the check.

        Raises:
            UnknownIncident: there is none with this id.
            DecisionConflict: somebody decided since `seen_revision`.
            UnknownRevision: there is no such revision (yet).
            IllegalDecision: this decision is not allowed.
            StoreError: the database does not answer.
        """
        given = decisions.verdict(decision, by=by, reason=reason, note=note, seen_revision=seen_revision)
        now = self._clock.now()
        with self._lock, self._store.write() as tx:
            incident = _known(tx, incident_id)
            change = decisions.decide(incident, given, now)
            if change is None:
                return incident.alert
            act = Act(actor=f"operator:{given.by}", at=now, reason=given.reason, note=given.note)
            return self._recording.write(tx, incident, change, act).alert

    def answer(self, reply: CaseReply) -> str:
        """Record an answer of the case system: recorded, duplicate, orphan, or illegal (kept, but it moved nothing).

        Raises:
            StoreError: the database does not answer; do not acknowledge the answer.
        """
        with self._lock, self._store.write() as tx:
            return self._answers.take(tx, reply)

    def keep_unreadable(self, error: DecodeError, entry_id: str) -> str:
        """Record an entry of the reply stream that is no reply, as it came: orphan, or duplicate.

        Raises:
            StoreError: the database does not answer; do not acknowledge the entry.
        """
        with self._lock, self._store.write() as tx:
            return self._answers.keep(tx, error, entry_id)

    def attach_clip(self, incident_id: str, mp4: bytes | None, pre_roll_s: float | None = None) -> None:
        """Give an incident its clip; None says that there will be none.

        Args:
            pre_roll_s: seconds that it shows before the opening; below 0 it begins after it.

        Raises:
            UnknownIncident: there is none with this id.
            StoreError: the database does not answer.
        """
        sha256 = None
        if mp4 is not None and (evidence := self._evidence) is not None:
            sha256 = self._stored(lambda: evidence.put_clip(mp4))
        clip = ClipRef("none") if sha256 is None else ClipRef("ready", sha256, pre_roll_s=pre_roll_s)
        with self._lock, self._store.write() as tx:
            self._attach(tx, _known(tx, incident_id), clip)
            if sha256 is not None:
                self._note_files(tx, incident_id, (sha256, CLIP))
        if sha256 is not None and self._evidence is not None:
            self._evidence.named((sha256,))

    def attach_detail(self, incident_id: str, shot: Shot | None = None, mp4: bytes | None = None) -> None:
        """Give an incident what the camera's main stream shows of it: a larger still, a clip, or both. Refused is no change.

        Raises:
            UnknownIncident: there is none with this id.
            StoreError: the database does not answer.
        """
        if (evidence := self._evidence) is None:
            return
        still = None if shot is None else self._stored(lambda: evidence.put_shot(shot))
        clip = None if mp4 is None else self._stored(lambda: evidence.put_clip(mp4))
        stored = [] if still is None else [(still.sha256, CLEAN), (still.masked_sha256, MASKED)]
        stored += [] if clip is None else [(clip, CLIP)]
        if not stored:
            return
        with self._lock, self._store.write() as tx:
            incident = _known(tx, incident_id)
            was = incident.alert.detail or DetailRef()
            detail = DetailRef(still or was.still, clip or was.clip_sha256)
            after = replace(incident, alert=replace(incident.alert, detail=detail))
            told = {"detail_still": still.sha256 if still else None, "detail_clip": clip}
            act = replace(self._act(), extra={name: sha256 for name, sha256 in told.items() if sha256})
            self._recording.note(tx, incident, after, "evidence", act)
            self._note_files(tx, incident_id, *stored)
        evidence.named(sha256 for sha256, _ in stored)

    def attach_masked_clip(self, incident_id: str, mp4: bytes, *, asked_by: str) -> str | None:
        """Give an incident the clip that may leave, asked for by `asked_by`; return its hash, None where it is refused.

        It is kept no longer than the clip that it was made of.

        Raises:
            UnknownIncident: there is none with this id.
            StoreError: the database does not answer.
        """
        evidence = self._evidence
        sha256 = None if evidence is None else self._stored(lambda: evidence.put_clip(mp4, masked=True))
        if sha256 is None or evidence is None:
            return None
        with self._lock, self._store.write() as tx:
            incident = _known(tx, incident_id)
            stored_at = files.stored_at(tx.connection, incident_id, incident.alert.clip.sha256 or "")
            if stored_at is None:  # retention was faster
                return None
            clip = replace(incident.alert.clip, masked_sha256=sha256)
            after = replace(incident, alert=replace(incident.alert, clip=clip))
            act = replace(self._act("to_leave"), extra={"masked_clip": sha256, "asked_by": asked_by})
            self._recording.note(tx, incident, after, "evidence", act)
            self._note_files(tx, incident_id, (sha256, MASKED_CLIP), at=stored_at)
        evidence.named((sha256,))
        return sha256

    def _place(self, tx: Writer, finding: Finding) -> tuple[Incident | None, Join]:
        holding = self._claims.incident_of(finding.finding_id)
        incident = tx.incident(holding) if holding else None
        claimed = incident is not None and incident.alert.activity is not Activity.ENDED
        if not claimed:
            mode = self._opener.run_mode_of(finding)
            incident = tx.latest(finding.camera_id, finding.kind, finding.subtype, mode)
        others = incident is not None and self._claims.held(incident.alert.id, but_not=finding.finding_id)
        join = joining.joins(finding, incident, claimed=claimed, held_by_others=others)
        return None if join is Join.NEW else incident, join

    def _change(self, incident: Incident | None, join: Join, finding: Finding) -> Change | None:
        now, place = self._clock.now(), self._opener.place_of(finding.camera_id)
        if join is Join.NEW:
            return Change("opened", self._opener.open(finding, now))
        if incident is None or join in (Join.NOTHING, Join.LEAVES):
            return None
        if join is Join.HIDES:
            return joining.unseen(incident, now)
        if join is Join.REOPENS:
            return joining.reopens(incident, finding, place, now)
        if join is Join.ENDS:
            return joining.ends(joining.with_facts(incident, finding), finding.at, now)
        return joining.goes_on(incident, finding, place, now)

    def _still(self, finding: Finding, frame: Frame | None, persons: tuple[Box, ...]) -> StillRef | None:
        evidence = self._evidence
        if frame is None or evidence is None or not self._wants_still(finding):
            return None
        veil = finding.kind is Kind.CROWD  # the counter sees people who have no boxes
        return self._stored(lambda: evidence.put_still(frame, finding.boxes, finding.at, persons, veil=veil))

    def _stored(self, put: Callable[[], T]) -> T | None:
        """Store evidence, once more after what is expendable made room; None, and counted, where it is refused."""
        try:
            try:
                return put()
            except EvidenceFull as full:
                with self._lock:
                    room = self._expendable is not None and self._expendable.free(full.size)
                if not room:
                    raise
                return put()
        except Exception:  # noqa: BLE001  the picture may fail in its decoder or for want of memory; the record must not
            self.refused_evidence += 1
            return None

    def _wants_still(self, finding: Finding) -> bool:
        with self._lock, self._store.write() as tx:
            incident, join = self._place(tx, finding)
        return join in (Join.NEW, Join.REOPENS) or (
            join is Join.GOES_ON and incident is not None and not incident.stills
        )

    def _lose(self, tx: Writer, camera_id: str | None, reason: str) -> int:
        now = self._clock.now()
        lost = tx.of_camera(camera_id, Activity.ONGOING)
        for incident in lost:
            self._recording.write(tx, incident, joining.unseen(incident, now), self._act(reason))
        return len(lost)

    def _note_files(
        self, tx: Writer, incident_id: str, *stored: tuple[str, str], at: datetime | None = None
    ) -> None:
        """List what was stored as the incident's, now or `at`, so that retention finds it."""
        evidence = self._evidence
        if evidence is not None:
            sized = [(sha256, suffix, evidence.size(sha256, suffix)) for sha256, suffix in stored]
            tx.note_evidence(incident_id, sized, at or self._clock.now())

    def _attach(self, tx: Writer, incident: Incident, clip: ClipRef) -> None:
        after = replace(incident, alert=replace(incident.alert, clip=clip))
        self._recording.note(tx, incident, after, "evidence", self._act())

    def _act(self, reason: str | None = None) -> Act:
        return Act(actor=MACHINE, at=self._clock.now(), reason=reason)


def _known(tx: Writer, incident_id: str) -> Incident:
    incident = tx.incident(incident_id)
    if incident is None:
        raise UnknownIncident(incident_id)
    return incident


def _shown(
    incident: Incident | None, change: Change | None, still: StillRef, finding: Finding, now: datetime
) -> Change | None:
    """Return the change with its picture. A first picture is worth a revision, though nothing else is new."""
    after = incident if change is None else change.after
    if after is None:
        return None
    after = _with_still(after, still, finding)
    if change is not None and change.kind is not None:
        return replace(change, after=after)
    return Change("updated", joining.revised(after, now))


def _with_still(incident: Incident, still: StillRef, finding: Finding) -> Incident:
    """Return the incident with its newest still, and the boxes that belong on that picture."""
    stills = (*incident.stills, still)
    if len(stills) > STILLS_MAX:
        stills = (stills[0], *stills[-STILLS_MAX + 1 :])
    return replace(
        incident,
        stills=stills,
        alert=replace(incident.alert, still=still, boxes=joining.plain_boxes(finding.boxes)),
    )
