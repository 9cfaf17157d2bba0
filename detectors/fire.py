# SPDX-License-Identifier: AGPL-3.0-or-later
"""Suspected flames: boxes of fire that recur in a zone and flicker. Not a certified fire alarm."""

from detectors.burning import BurningRule, BurningSettings
from detectors.claims import Hold, Topic
from detectors.recurrence import Thresholds
from gridwatch.core.detections import ObjectClass
from gridwatch.core.zone import Kind, Zone

# 0.35 is the network's operating point (2.5 % of its validation negatives). Flames seen at key frames changed
# by 12 to 100, lamps and signs that the network takes for fire by 0.5 to 5.
FIRE = BurningSettings(
    wanted=ObjectClass.FIRE,
    thresholds=Thresholds(low=0.20, high=0.35, change_floor=8.0),
    hold=Hold(seconds=12.0, looks=4),
)


def fire_rule(camera_id: str, zone: Zone) -> BurningRule:
    """Return the rule for one zone."""
    return BurningRule(Topic(camera_id, zone, Kind.FIRE, "flame"), FIRE)
