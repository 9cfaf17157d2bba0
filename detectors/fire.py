# SPDX-License-Identifier: AGPL-3.0-or-later
"""Suspected flames: boxes of fire that recur in a zone and flicker. Not a certified fire alarm."""

import numpy as np

from detectors.burning import BurningRule, BurningSettings
from detectors.claims import Hold, Topic
from detectors.recurrence import Thresholds
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.geometry import iou
from gridwatch.core.zone import Kind, Zone

# 0.35 is the network's operating point (2.5 % of its validation negatives). Flames seen at key frames changed
# by 12 to 100, lamps and signs that the network takes for fire by 0.5 to 5.
FIRE = BurningSettings(
    wanted=ObjectClass.FIRE,
    thresholds=Thresholds(low=0.20, high=0.35, change_floor=8.0),
    hold=Hold(seconds=12.0, looks=4),
)


# IoU from which a flame's and a smoke's box are about the same thing. The network may call one plume both: white smoke
# in the sun scores as fire too, but higher as smoke.
_SAME_THING = 0.5


def flames_only(detections: Detections) -> Detections:
    """Return the detections without the fire boxes that the network would rather call smoke."""
    fires, smokes = (
        np.flatnonzero(detections.class_id == kind) for kind in (ObjectClass.FIRE, ObjectClass.SMOKE)
    )
    if not len(fires) or not len(smokes):
        return detections
    same = iou(detections.xyxy[fires], detections.xyxy[smokes]) >= _SAME_THING
    stronger = detections.confidence[smokes][None, :] >= detections.confidence[fires][:, None]
    keep = np.ones(len(detections), np.bool_)
    keep[fires[(same & stronger).any(axis=1)]] = False
    return detections.where(keep)


def fire_rule(camera_id: str, zone: Zone) -> BurningRule:
    """Return the rule for one zone."""
    return BurningRule(Topic(camera_id, zone, Kind.FIRE, "flame"), FIRE)
