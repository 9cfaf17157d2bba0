# SPDX-License-Identifier: AGPL-3.0-or-later
"""Times as operators read them: +08:00, ages and what is left of a deadline. The page's script lets them run on."""

from datetime import datetime, timedelta, timezone
from html import escape
from typing import Final

from api.console.texts import Words

CHINA: Final = timezone(timedelta(hours=8))
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400


def clock_time(at: datetime, now: datetime) -> str:
    """Return the local time, with the date where it is not today's."""
    local = at.astimezone(CHINA)
    same_day = local.date() == now.astimezone(CHINA).date()
    return local.strftime("%H:%M:%S" if same_day else "%m-%d %H:%M:%S")


def age(seconds: float, words: Words) -> str:
    """Return a duration in its largest whole unit."""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return words("time.seconds", n=whole)
    if whole < _HOUR_S:
        return words("time.minutes", n=whole // _MINUTE_S)
    if whole < _DAY_S:
        return words("time.hours", n=whole // _HOUR_S)
    return words("time.days", n=whole // _DAY_S)


def since(at: datetime, now: datetime, words: Words) -> str:
    """Return how long ago `at` was, as an element that runs on."""
    text = words("time.ago", age=age((now - at).total_seconds(), words))
    return (
        f'<time class="gw-since" data-since="{_iso(at)}" title="{clock_time(at, now)}">{escape(text)}</time>'
    )


def left(due: datetime, now: datetime, words: Words) -> str:
    """Return what is left until `due`, or by how much it is over, as an element that runs on."""
    seconds = (due - now).total_seconds()
    key, late = ("time.left", "") if seconds >= 0 else ("time.over", " gw-late")
    text = words(key, age=age(abs(seconds), words))
    return f'<time class="gw-due{late}" data-due="{_iso(due)}">{escape(text)}</time>'


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
