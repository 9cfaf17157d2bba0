# SPDX-License-Identifier: AGPL-3.0-or-later
"""Times as text: UTC in the store, +08:00 with milliseconds in messages (RFC 3339)."""

from datetime import UTC, datetime, timedelta, timezone

CHINA = timezone(timedelta(hours=8))
FIRST_AT, LAST_AT = datetime(2000, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)  # that others may name


def utc_text(at: datetime) -> str:
    """Return fixed-width UTC text with microseconds; its alphabetical order is the order of time."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_utc(text: str) -> datetime:
    """Return the aware UTC time of a text written by `utc_text`."""
    return datetime.fromisoformat(text).astimezone(UTC)


def local_text(at: datetime) -> str:
    """Return RFC 3339 text in +08:00 with milliseconds, as messages carry it."""
    return at.astimezone(CHINA).isoformat(timespec="milliseconds")


def parse_rfc3339(text: str) -> datetime:
    """Return the UTC time of an RFC 3339 text.

    Raises:
        ValueError: no such time, one without an offset, or one outside 2000 to 2100: a time near the calendar's ends
            cannot be written in every offset.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    if not FIRST_AT <= at < LAST_AT:
        raise ValueError(f"{text!r} is outside {FIRST_AT.year} to {LAST_AT.year - 1}")
    return at.astimezone(UTC)
