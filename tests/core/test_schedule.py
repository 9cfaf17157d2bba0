# SPDX-License-Identifier: AGPL-3.0-or-later
"""Times of the week: which minutes they include, whatever the clock does, and what is said of those that are none."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.core.schedule import DAY_MIN, WEEK_MIN, Schedule

CHINA = timezone(timedelta(hours=8))
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONDAY = datetime(2026, 3, 2, tzinfo=CHINA)


class SummerTime(tzinfo):
    """An hour ahead of UTC, two from 29 March 2026, 01:00 UTC, until 25 October."""

    def fromutc(self, at):
        summer = (3, 29, 1) <= (at.month, at.day, at.hour) < (10, 25, 1)
        return at + timedelta(hours=2 if summer else 1)


def schedule(*lines, clock=CHINA):
    return Schedule.parse(lines, clock)


def minutes(*lines):
    """Return how many minutes of a week are included."""
    times = schedule(*lines)
    return sum(times.includes_minute(minute) for minute in range(WEEK_MIN))


times_of_day = st.tuples(st.integers(0, DAY_MIN - 1), st.integers(0, DAY_MIN)).filter(lambda t: t[0] != t[1])
ranges = st.lists(st.tuples(st.sets(st.integers(0, 6)), times_of_day), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(ranges)
def test_every_minute_of_the_week_is_included_or_not_as_the_lines_say(given):
    """Against each minute written down: whole days, past midnight, past Sunday, ranges over and beside each other."""
    lines, wanted = [], set()
    for days, (begin, end) in given:
        said = ",".join(DAYS[day] for day in sorted(days))
        lines.append(f"{said} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}".strip())
        for day in days or range(7):
            last = day * DAY_MIN + (end if end > begin else end + DAY_MIN)
            wanted |= {minute % WEEK_MIN for minute in range(day * DAY_MIN + begin, last)}
    times = schedule(*lines)
    assert {minute for minute in range(WEEK_MIN) if times.includes_minute(minute)} == wanted
    assert list(times.edges) == sorted(set(times.edges))


@pytest.mark.parametrize("minute", [0, 1, 59, 1439, 1440, 7199, 8640, 10_079])
def test_a_moment_is_the_minute_of_the_week_that_the_places_clock_shows(minute):
    """To the second: the minute itself is included, what is before and after it is not."""
    begin, end = minute % DAY_MIN, (minute + 1) % DAY_MIN
    times = schedule(
        f"{DAYS[minute // DAY_MIN]} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    )
    at = (MONDAY + timedelta(minutes=minute)).astimezone(UTC)
    assert times.includes(at)
    assert times.includes(at + timedelta(seconds=59.999))
    assert not times.includes(at - timedelta(seconds=0.001))
    assert not times.includes(at + timedelta(seconds=60))
    assert times.includes(at + timedelta(days=7))


@pytest.mark.parametrize(
    ("day", "wanted"),
    [
        (datetime(2026, 3, 29, tzinfo=UTC), {*range(60, 90)}),  # 02:00 to 03:00 does not come
        (datetime(2026, 10, 25, tzinfo=UTC), {*range(30, 60), *range(90, 150)}),  # it comes twice
    ],
)
def test_on_days_when_the_clock_is_set_the_wall_clock_decides(day, wanted):
    """An hour that is left out is not watched, one that comes twice is watched twice."""
    times = schedule("sun 02:30-03:30", clock=SummerTime())
    found = {minute for minute in range(DAY_MIN) if times.includes(day + timedelta(minutes=minute))}
    assert found == wanted


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ("22:00-06:00", "mon-sun 22:00-24:00 00:00-06:00"),
        ("fri-mon 8:00-9:00", "fri,sat,sun,mon 08:00-09:00"),
        ("周一至周五 07：00－08：30、11:30 - 14:00", "mon-fri 07:00-08:30 11:30-14:00"),
        ("周六, 周天 00:00-24:00", "sat-sun 00:00-24:00"),
        ("MON 10:00-00:00", "mon 10:00-24:00"),
    ],
)
def test_times_may_be_written_as_people_write_them(line, same):
    """Chinese days and signs, spaces around them, days over the week's end."""
    assert schedule(line) == schedule(same)
    assert str(schedule(line, "sun 10:00-11:00")) == f"{line}; sun 10:00-11:00"


def test_lines_together_are_what_is_included():
    """What two of them say counts once; the whole week is two edges."""
    assert minutes("mon 08:00-10:00", "mon 09:00-11:00", "mon 11:00-12:00") == 240
    assert schedule("00:00-24:00").edges == (0, WEEK_MIN)
    assert minutes("sun 23:00-01:00") == 120


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "says no time"),
        ("mon-fri", "says no time"),
        ("sta 08:00-09:00", "'sta' is no day (mon tue wed"),
        ("mon-xyz 08:00-09:00", "'mon-xyz' is no day"),
        ("08:00", "'08:00' is no time"),
        ("08:00-09:00 mon", "'mon' is no time"),
        ("8-9", "'8-9' is no time"),
        ("24:00-06:00", "is no time of a day"),
        ("22:00-24:01", "is no time of a day"),
        ("07:60-08:00", "is no time of a day"),
        ("08:00-08:00", "the whole day is 00:00-24:00"),
    ],
)
def test_what_is_no_time_is_refused_with_what_to_write(line, problem):
    """The sentence shows the line, what in it is wrong, and the form."""
    with pytest.raises(ValueError, match=r"HH:MM-HH:MM|00:00-24:00") as caught:
        schedule("mon 08:00-09:00", line)
    assert problem in str(caught.value)
    assert repr(line) in str(caught.value)
