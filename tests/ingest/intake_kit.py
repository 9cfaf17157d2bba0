# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera with every zone, and what its looks show: for the tests of the intake."""

from gridwatch.core.camera import Camera
from gridwatch.core.look import LookReason
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone

PATROL, SUSPECT, FOLLOW = LookReason.PATROL, LookReason.SUSPECT, LookReason.FOLLOW
CAMERA = Camera("cam", "南门", SecretUrl("rtsp://127.0.0.1/x"), (Zone("all", frozenset(Kind)),))


def times(looks):
    """Return the looks' times, seconds."""
    return [round(look.at_mono_s, 3) for look in looks]


def shows_box(look):
    """Tell whether the thing that passes is in the picture."""
    return look.frame.luma()[80, 130] > 200
