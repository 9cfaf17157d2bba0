# SPDX-License-Identifier: AGPL-3.0-or-later
"""Suspected smoke: boxes of smoke that recur in a zone and drift. Fog and haze recur and stand still."""

from detectors.burning import BurningRule, BurningSettings
from detectors.claims import Hold, Topic
from detectors.recurrence import Thresholds
from gridwatch.core.detections import ObjectClass
from gridwatch.core.zone import Kind, Zone

# 0.38 is the network's operating point. Smoke changes less than flames (6 and more between key frames; fog 2).
# Where a fire is claimed on the same camera, smoke is likely beforehand, so less evidence suffices.
SMOKE = BurningSettings(
    wanted=ObjectClass.SMOKE,
    thresholds=Thresholds(low=0.20, high=0.38, change_floor=3.5),
    hold=Hold(seconds=20.0, looks=5),
    looks_beside_fire=2,
)


def smoke_rule(camera_id: str, zone: Zone) -> BurningRule:
    """Return the rule for one zone."""
    return BurningRule(Topic(camera_id, zone, Kind.SMOKE, "smoke"), SMOKE)
