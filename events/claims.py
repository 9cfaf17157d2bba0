# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which running findings hold which incident. Memory of this process only: findings have no identity across a restart."""


class Claims:
    """Findings by id, each holding one incident. Bounded by what detectors hold open: an end releases."""

    def __init__(self) -> None:
        self._incident_of: dict[str, str] = {}
        self._holders: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._incident_of)

    def hold(self, finding_id: str, incident_id: str) -> None:
        """Let a finding hold an incident; it lets go of another one."""
        if self._incident_of.get(finding_id) != incident_id:
            self.release(finding_id)
            self._incident_of[finding_id] = incident_id
            self._holders.setdefault(incident_id, set()).add(finding_id)

    def release(self, finding_id: str) -> None:
        """Let a finding hold nothing."""
        incident_id = self._incident_of.pop(finding_id, None)
        if incident_id is not None:
            holders = self._holders[incident_id]
            holders.discard(finding_id)
            if not holders:
                del self._holders[incident_id]

    def incident_of(self, finding_id: str) -> str | None:
        """Return the incident that a finding holds, or None."""
        return self._incident_of.get(finding_id)

    def held(self, incident_id: str, *, but_not: str | None = None) -> bool:
        """Tell whether a finding, other than `but_not`, holds an incident."""
        return bool(self._holders.get(incident_id, set()) - {but_not})
