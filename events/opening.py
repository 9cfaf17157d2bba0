# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes the first record of an incident from a finding and what is configured about its camera."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from events.alerts import Activity, Alert, CaseState, ClipRef, Decision
from events.categories import category_of, due_of, lane_of, severity_of, text_of, unit_hint_of
from events.compose import clean_facts, short
from events.grids import Grid, Grids
from events.incident import Incident
from events.joining import facts_of, plain_boxes, share
from events.policy import Policy
from events.report import ADDRESS_CHARS, NAME_CHARS
from gridwatch.core.camera import Camera
from gridwatch.core.finding import Finding
from gridwatch.core.ids import uuid7

_NO_PLACE = "street"


class Opener:
    """Knows cameras, grids and policy. A camera that is not configured any more keeps its id as its name."""

    def __init__(
        self, places: Mapping[str, Camera], grids: Grids, policy: Policy, *, keeps_evidence: bool
    ) -> None:
        self._places, self._grids, self._policy = places, grids, policy
        self._clip = ClipRef("pending" if keeps_evidence else "none")

    def place_of(self, camera_id: str) -> str:
        """Return what kind of place a camera watches: street, fast_road or another."""
        camera = self._places.get(camera_id)
        return camera.place if camera else _NO_PLACE

    def run_mode_of(self, finding: Finding) -> str:
        """Return what a finding's incident is: actual, exercise or test; the machine's own where its camera says nothing.

        What the camera was when it saw it counts: it may be another by now.
        """
        if finding.run_mode is not None:
            return finding.run_mode or self._policy.run_mode
        camera = self._places.get(finding.camera_id)
        return (camera.run_mode if camera else None) or self._policy.run_mode

    def open(self, finding: Finding, now: datetime) -> Incident:
        """Return the incident that `finding` opens at `now` (UTC), revision 1."""
        camera = self._places.get(finding.camera_id)
        location = camera.location if camera else None
        grid = self._grids.locate(location)
        incident = Incident(
            alert=self._alert(finding, camera, grid, now),
            grid=grid,
            location=location,
            zones=(finding.zone_id,),
            stills=(),
            revised_at=now,
            revised_facts={},
            activity_at=now,
        )
        return replace(incident, revised_facts=facts_of(incident))

    def _alert(self, finding: Finding, camera: Camera | None, grid: Grid | None, now: datetime) -> Alert:
        category = category_of(finding.kind, finding.subtype)
        place = camera.place if camera else _NO_PLACE
        name = short(camera.name if camera else finding.camera_id, NAME_CHARS)
        zone_name = short(finding.zone_name, NAME_CHARS)
        facts = clean_facts(finding.facts)
        severity = severity_of(category, place, facts)
        return Alert(
            id=uuid7(now),
            revision=1,
            kind=finding.kind,
            subtype=finding.subtype,
            category=category.code,
            run_mode=self.run_mode_of(finding),
            camera_id=finding.camera_id,
            camera_name=name,
            zone_id=finding.zone_id,
            zone_name=zone_name,
            grid_id=grid.grid_id if grid else None,
            grid_name=grid.name if grid else None,
            address_text=short(camera.address_text if camera else "", ADDRESS_CHARS),
            severity=severity,
            lane=lane_of(category, place, severity),
            dept_hint=unit_hint_of(category, finding.kind, grid.units if grid else {}),
            activity=Activity.ONGOING,
            decision=Decision.PENDING,
            case=CaseState.NONE,
            case_id=None,
            opened_at=now,
            began_at=finding.began_at,
            last_seen_at=finding.at,
            ended_at=None,
            title={"zh": category.zh, "en": category.en},
            text=text_of(category, name, zone_name, facts),
            confidence=share(finding.confidence),
            facts=facts,
            boxes=plain_boxes(finding.boxes),
            still=None,
            clip=self._clip,
            decided=None,
            due=due_of(severity, now, None),
        )
