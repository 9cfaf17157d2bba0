# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests of a camera's sight share: pictures and answers as time passes."""

from datetime import timedelta

from gridwatch.core.look import Look, LookReason


def look_at(clock, age_s=0.0):
    """Return a look of now, or of some seconds ago."""
    at = clock.mono_s() - age_s
    return Look("cam", LookReason.PATROL, at, clock.now() - timedelta(seconds=age_s), 0.0, None)


def see(sight, clock, seconds, key_s=2.0):
    """Decode and answer for some time."""
    for _ in range(int(seconds / key_s)):
        clock.advance(key_s)
        sight.decoded(clock.mono_s())
        sight.looked(look_at(clock))


def visit(sight, clock, next_by_s=300.0):
    """See for a moment, and have the next visit promised."""
    see(sight, clock, 4)
    sight.between_visits(clock.mono_s() + next_by_s)
