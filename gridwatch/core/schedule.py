# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a zone is watched (布防时段): times of the week, on the wall clock of the place. It knows no holidays."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Final, Self

DAY_MIN: Final = 24 * 60
WEEK_MIN: Final = 7 * DAY_MIN
FORM: Final = "write HH:MM-HH:MM, and before it the days if not every day: mon-fri 07:00-08:30 16:00-18:30"

_DAYS: Final = MappingProxyType(
    {day: number for number, day in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))}
    | {f"周{day}": number for number, day in enumerate("一二三四五六日")}
    | {"周天": 6}
)
_SIGNS: Final = MappingProxyType(str.maketrans("–—~至到、", "-----,"))  # as people write them
_AROUND_SIGNS = re.compile(r"\s*([-,])\s*")
_TIMES = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Minutes of every week. By the wall clock: where it is set forward or back, the hour is left out or comes twice.

    Attributes:
        edges: the minutes of the week (0 is Monday 00:00) at which it begins, ends, begins …; ascending, an even number.
        clock: the time zone of the place.
        lines: as it was written.
    """

    edges: tuple[int, ...]
    clock: tzinfo
    lines: tuple[str, ...] = field(compare=False)

    @classmethod
    def parse(cls, lines: Sequence[str], clock: tzinfo) -> Self:
        """Read times such as `22:00-06:00` or `mon-fri 07:00-08:30 16:00-18:30`; together they are what is included.

        Each line says its own days. A time that ends at or before its beginning ends on the next day.

        Raises:
            ValueError: one is none; the text says what to write.
        """
        return cls(_merged(span for line in lines for span in _spans(line)), clock, tuple(lines))

    def includes(self, at: datetime) -> bool:
        """Tell whether it includes a moment, aware; the minute that a time ends with is not included."""
        local = at.astimezone(self.clock)
        return self.includes_minute(local.weekday() * DAY_MIN + local.hour * 60 + local.minute)

    def includes_minute(self, minute: int) -> bool:
        """Tell whether it includes a minute of the week, 0 to 10 079."""
        return bisect_right(self.edges, minute) % 2 == 1

    def __str__(self) -> str:
        """Return it as it was written, on one line."""
        return "; ".join(self.lines)


def _merged(spans: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    edges: list[int] = []
    for begin, end in sorted(spans):
        if edges and begin <= edges[-1]:
            edges[-1] = max(edges[-1], end)
        else:
            edges += (begin, end)
    return tuple(edges)


def _spans(line: str) -> Iterator[tuple[int, int]]:
    """Yield the minutes of the week from which and to which a line goes; what goes past Sunday goes on on Monday."""
    words = _AROUND_SIGNS.sub(r"\1", unicodedata.normalize("NFKC", line).translate(_SIGNS)).lower().split()
    days: Sequence[int] = range(7)
    if words and not words[0][0].isdigit():
        days = _days(line, words.pop(0))
    times = [_times(line, text) for word in words for text in word.split(",")]
    if not times:
        raise ValueError(f"{line!r} says no time: {FORM}")
    for day in days:
        for from_min, for_min in times:
            begin = day * DAY_MIN + from_min
            yield begin, min(begin + for_min, WEEK_MIN)
            if begin + for_min > WEEK_MIN:
                yield 0, begin + for_min - WEEK_MIN


def _days(line: str, word: str) -> list[int]:
    found: list[int] = []
    for part in word.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{line!r}: {part!r} is no day (mon tue wed thu fri sat sun): {FORM}")
        found += ((_DAYS[first] + n) % 7 for n in range((_DAYS[last or first] - _DAYS[first]) % 7 + 1))
    return found


def _times(line: str, text: str) -> tuple[int, int]:
    """Return at which minute of the day a time begins, and for how many minutes it lasts."""
    match = _TIMES.fullmatch(text)
    if match is None:
        raise ValueError(f"{line!r}: {text!r} is no time: {FORM}")
    from_h, from_m, to_h, to_m = map(int, match.groups())
    begin, end = from_h * 60 + from_m, to_h * 60 + to_m
    if max(from_m, to_m) > 59 or begin >= DAY_MIN or end > DAY_MIN:  # noqa: PLR2004  minutes of an hour
        raise ValueError(f"{line!r}: {text!r} is no time of a day (00:00 to 24:00): {FORM}")
    if begin == end:
        raise ValueError(f"{line!r}: {text!r} ends when it begins; the whole day is 00:00-24:00")
    return begin, (end - begin) % DAY_MIN or DAY_MIN
