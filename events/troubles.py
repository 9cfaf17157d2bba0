# SPDX-License-Identifier: AGPL-3.0-or-later
"""What keeps this system from seeing, and what of it belongs together. Pure: no store, no clock.

Never about what happens in the pictures: a trouble becomes an operations alert for whoever keeps the system running, not
a case. Cameras that fail together do so for one reason, a switch or a recorder, and are told together: by their network,
and by when it began. A fault that has stood for days does not swallow the storm that comes later.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from gridwatch.core.camera import CameraStatus, Fault, Note, SightState

EVERYWHERE: Final = (
    ""  # the place of what is no single network's: several of them at once, or this machine itself
)
_IPV6_PREFIX: Final = 64


class TroubleKind(StrEnum):
    """What is wrong, as far as it matters for who is sent."""

    CONNECTION = "connection"  # no stream, or nothing in it: network, power
    ACCESS = "access"  # user, password or path are refused, or not set
    STREAM = "stream"  # what comes cannot be decoded
    PICTURE = "picture"  # frozen, black, covered, moved: somebody has to go there
    INFERENCE = "inference"  # the network answers no looks
    TURNS = "turns"  # cameras are not visited in time: more of them than the machine can watch
    SET_ASIDE = "set_aside"  # a stream crashed the decoder twice
    EVIDENCE = "evidence"  # its main stream cannot be had: clips and stills are the second one's
    CLOCK = "clock"
    CANARY = "canary"  # the exercise did not reach the case queue


_OF_FAULT: Final[Mapping[Fault, TroubleKind]] = MappingProxyType(
    {
        Fault.UNREACHABLE: TroubleKind.CONNECTION,
        Fault.SILENT: TroubleKind.CONNECTION,
        Fault.BROKEN_OFF: TroubleKind.CONNECTION,
        Fault.UNAUTHORIZED: TroubleKind.ACCESS,
        Fault.NOT_FOUND: TroubleKind.ACCESS,
        Fault.DAMAGED: TroubleKind.STREAM,
        Fault.UNSUPPORTED: TroubleKind.STREAM,
        Fault.UNANSWERED: TroubleKind.INFERENCE,
        Fault.FROZEN: TroubleKind.PICTURE,
        Fault.BLACK: TroubleKind.PICTURE,
        Fault.WASHED_OUT: TroubleKind.PICTURE,
        Fault.COVERED: TroubleKind.PICTURE,
        Fault.BLURRED: TroubleKind.PICTURE,
        Fault.MOVED: TroubleKind.PICTURE,
        Fault.SLOW: TroubleKind.PICTURE,
        Fault.NOT_VISITED: TroubleKind.TURNS,
        Fault.NOT_DECODED: TroubleKind.TURNS,
        Fault.SET_ASIDE: TroubleKind.SET_ASIDE,
    }
)  # a dome that is elsewhere, and a camera that was switched off, are as somebody wants them
_OF_THIS_MACHINE: Final = frozenset(
    {TroubleKind.INFERENCE, TroubleKind.TURNS, TroubleKind.SET_ASIDE, TroubleKind.CANARY}
)
HIDES_PICTURE: Final = frozenset(
    {
        TroubleKind.CONNECTION,
        TroubleKind.ACCESS,
        TroubleKind.STREAM,
        TroubleKind.INFERENCE,
        TroubleKind.TURNS,
        TroubleKind.SET_ASIDE,
    }
)
"""While one of these stands nobody knows what the picture is like."""
_AT_ONCE: Final = frozenset(
    {TroubleKind.SET_ASIDE, TroubleKind.CANARY}
)  # they have lasted when they are told


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong now.

    Attributes:
        subject: the camera's id; what else it is about, where it is no camera.
        place: the network or recorder behind which the subject is; EVERYWHERE where it is this machine's own.
        host: who is asked for its stream, for people.
        fault: the word for it.
        reason: one short phrase, in English.
        began_at: UTC, for people; decisions use the time at which it was seen first.
    """

    kind: TroubleKind
    subject: str
    place: str
    fault: str
    reason: str
    began_at: datetime
    name: str = ""
    host: str = ""

    @property
    def key(self) -> tuple[TroubleKind, str]:
        """What it is the same trouble by."""
        return self.kind, self.subject


@dataclass(frozen=True, slots=True)
class TroubleRules:
    """When troubles become alerts.

    Attributes:
        lasting_s: so long a fault must stand before it is told, in one piece or with pauses.
        within_s: over so long its time is added up. What came back within it stays told; see `Spell.is_well`.
        clear_s: longer than this it must be gone before it is over.
        together_s: what begins within so long of each other in one network is one storm.
        longest_s: but not what begins later than this after the first of it: onsets would chain without end.
        widespread: networks that fail within that time from which on it is one alert for all of them.
        likely_s: faults that stand so long count when it is asked how many networks fail.
    """

    lasting_s: float = 60.0
    within_s: float = 300.0
    clear_s: float = 30.0
    together_s: float = 300.0
    longest_s: float = 900.0
    widespread: int = 5
    likely_s: float = 10.0

    def lasts_s(self, kind: TroubleKind) -> float:
        """Return how long a trouble of `kind` must stand before it is told."""
        return 0.0 if kind in _AT_ONCE else self.lasting_s


@dataclass(frozen=True, slots=True)
class Onset:
    """A trouble, and when it was first seen on the monotonic clock."""

    trouble: Trouble
    at_mono_s: float


@dataclass(frozen=True, slots=True)
class Group:
    """Troubles that are told together.

    Attributes:
        alert_id: of the alert that they are told by; None while there is none yet.
        first_onset_mono_s, last_onset_mono_s: when the oldest and the youngest of them began.
        joining: those that come in now.
    """

    alert_id: str | None
    kind: TroubleKind
    place: str
    first_onset_mono_s: float
    last_onset_mono_s: float
    joining: tuple[Onset, ...] = ()


def troubles_of(statuses: Iterable[CameraStatus], hosts: Mapping[str, str], now: datetime) -> list[Trouble]:
    """Return what is wrong with the cameras.

    Args:
        statuses: of every camera.
        hosts: by camera id, what it is reached through: `host:port`, or a recorder's name.
        now: UTC.
    """
    found = []
    for status in statuses:
        kind = _kind_of(status)
        host = hosts.get(status.camera_id, "")
        if kind is not None:
            fault = str(status.fault or Fault.UNREACHABLE)
            began_at = min(status.since, now)
            found.append(_trouble(kind, status, host, (fault, status.reason, began_at)))
        if Note.MAIN_STREAM_AWAY in status.notes and status.state in {SightState.SEEING, SightState.DEGRADED}:
            what = (Note.MAIN_STREAM_AWAY.value, "", now)  # of one that is blind there is more to tell
            found.append(_trouble(TroubleKind.EVIDENCE, status, host, what))
        if Note.CLOCK_WRONG in status.notes:
            offset = status.clock_offset_s
            reason = "" if offset is None else f"{offset:+.0f} s"
            found.append(_trouble(TroubleKind.CLOCK, status, host, (Note.CLOCK_WRONG.value, reason, now)))
    return found


def own_trouble(kind: TroubleKind, subject: str, reason: str, began_at: datetime) -> Trouble:
    """Return a trouble of this machine itself: a lost device, an exercise that did not arrive. `reason` in English."""
    return Trouble(
        kind=kind, subject=subject, place=EVERYWHERE, fault=kind.value, reason=reason, began_at=began_at
    )


def _kind_of(status: CameraStatus) -> TroubleKind | None:
    if status.fault is Fault.SET_ASIDE:  # whatever its state is called: nobody asked for this
        return TroubleKind.SET_ASIDE
    if status.state is SightState.OFF and status.fault is Fault.UNAUTHORIZED:  # nobody switched it off
        return TroubleKind.ACCESS
    if status.waits or status.state not in {SightState.BLIND, SightState.DEGRADED}:
        return None
    if status.fault is None:  # it has not said why yet
        return TroubleKind.CONNECTION if status.state is SightState.BLIND else None
    return _OF_FAULT.get(status.fault)


def _trouble(kind: TroubleKind, status: CameraStatus, host: str, what: tuple[str, str, datetime]) -> Trouble:
    fault, reason, began_at = what
    return Trouble(
        kind=kind,
        subject=status.camera_id,
        place=EVERYWHERE if kind in _OF_THIS_MACHINE else network_of(host),
        fault=fault,
        reason=reason,
        began_at=began_at,
        name=status.name,
        host=host,
    )


def network_of(host: str) -> str:
    """Return the network in which a host probably shares a switch with its neighbours: /24, of IPv6 /64.

    A name stands for itself, without its port.
    """
    bare = host
    if host.startswith("["):
        bare = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        bare = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return bare
    if address.version == 4:  # noqa: PLR2004  IP's version; thousands are asked for at a time, so without a network object
        return f"{str(address).rpartition('.')[0]}.0/24"
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))


def grouped(
    fresh: Sequence[Onset], likely: Sequence[Onset], known: Sequence[Group], rules: TroubleRules
) -> list[Group]:
    """Return the groups that troubles come into: known ones with what joins, and new ones.

    Args:
        fresh: troubles that have lasted and are in no group yet.
        likely: all that stand long enough to be no hiccup, `fresh` among them.
        known: the groups there are.
        rules: see there.
    """
    groups = list(known)
    for onset in sorted(fresh, key=lambda one: (one.at_mono_s, one.trouble.subject)):
        index = next((n for n, group in enumerate(groups) if _joins(onset, group, rules)), None)
        if index is None:
            place = _place_of(onset, likely, rules)
            at = onset.at_mono_s
            groups.append(Group(None, onset.trouble.kind, place, at, at, (onset,)))
            continue
        group = groups[index]
        last = max(group.last_onset_mono_s, onset.at_mono_s)
        groups[index] = replace(group, last_onset_mono_s=last, joining=(*group.joining, onset))
    return [group for group in groups if group.joining]


def _joins(onset: Onset, group: Group, rules: TroubleRules) -> bool:
    trouble = onset.trouble
    if trouble.kind is not group.kind:
        return False
    if trouble.kind in _OF_THIS_MACHINE:
        return True
    near = abs(onset.at_mono_s - group.last_onset_mono_s) <= rules.together_s
    one_storm = abs(onset.at_mono_s - group.first_onset_mono_s) <= rules.longest_s
    return near and one_storm and group.place in {trouble.place, EVERYWHERE}


def _place_of(onset: Onset, likely: Sequence[Onset], rules: TroubleRules) -> str:
    """Return the place of a new group: the trouble's own, or EVERYWHERE where many networks fail with it."""
    trouble = onset.trouble
    places = {
        one.trouble.place
        for one in likely
        if one.trouble.kind is trouble.kind and abs(one.at_mono_s - onset.at_mono_s) <= rules.together_s
    }
    return EVERYWHERE if len(places) >= rules.widespread else trouble.place
