# SPDX-License-Identifier: AGPL-3.0-or-later
"""An operations alert: troubles that keep this system from seeing, told to whoever keeps it running. Never a case.

The shape and its words in Chinese and English. Which troubles belong together stands in `troubles`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from events.times import parse_utc, utc_text
from events.troubles import Trouble, TroubleKind

MEMBERS_MOST: Final = 5_000
PLACE_LONGEST: Final = 255  # characters; a longer one keeps every alert of a step out of PostgreSQL
_TITLES: Final[Mapping[TroubleKind, tuple[str, str]]] = MappingProxyType(
    {
        TroubleKind.CONNECTION: ("{n} 路摄像机没有画面", "no stream from {cameras}"),
        TroubleKind.ACCESS: ("{n} 路摄像机拒绝访问", "access refused by {cameras}"),
        TroubleKind.STREAM: ("{n} 路视频流无法解码", "the stream of {cameras} cannot be decoded"),
        TroubleKind.PICTURE: ("{n} 路画面异常", "the picture of {cameras} is not usable"),
        TroubleKind.INFERENCE: ("分析设备没有应答", "the network does not answer"),
        TroubleKind.TURNS: ("{n} 路摄像机未按时轮巡或解码", "not visited or decoded in time: {cameras}"),
        TroubleKind.SET_ASIDE: (
            "{n} 路摄像机因解码崩溃被搁置",
            "set aside after crashes of the decoder: {cameras}",
        ),
        TroubleKind.EVIDENCE: (
            "{n} 路摄像机取不到主码流，取证用辅码流",
            "no main stream for evidence from {cameras}",
        ),
        TroubleKind.CLOCK: ("{n} 路摄像机时钟不准", "the clock of {cameras} is wrong"),
        TroubleKind.CANARY: ("自检演练没有到达案件队列", "the exercise did not reach the case queue"),
    }
)


@dataclass(frozen=True, slots=True)
class Member:
    """One trouble of an alert: what `Trouble` says of it. `since` is UTC."""

    subject: str
    name: str
    host: str
    fault: str
    reason: str
    since: datetime

    @classmethod
    def of(cls, trouble: Trouble) -> "Member":
        """Take it from a trouble."""
        return cls(
            trouble.subject, trouble.name, trouble.host, trouble.fault, trouble.reason, trouble.began_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsAlert:
    """Troubles that are told together. Times are aware UTC.

    Attributes:
        place: the network or recorder; empty where it is several networks, or this machine itself.
        began_at: when the first of its troubles did.
        most: how many they were at once, at most.
        members: what is wrong now; at the end, what was wrong last. At most 5,000 of `count`.
    """

    alert_id: str
    kind: TroubleKind
    place: str
    began_at: datetime
    opened_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    count: int
    most: int
    members: tuple[Member, ...]

    @property
    def where(self) -> str:
        """The one host that all are reached through, else the place."""
        hosts = {member.host for member in self.members if member.host}
        return hosts.pop() if len(hosts) == 1 and self.place else self.place

    def faults(self) -> dict[str, int]:
        """Return how many members have which fault, the most frequent first."""
        return dict(Counter(member.fault for member in self.members).most_common())

    def title(self) -> dict[str, str]:
        """Return what is wrong, in one phrase, `zh` and `en`."""
        zh, en = _TITLES[self.kind]
        where = self.where
        n = self.most if self.ended_at else self.count
        return {
            "zh": (f"{where}：" if where else "") + zh.format(n=n),
            "en": (f"{where}: " if where else "")
            + en.format(cameras="1 camera" if n == 1 else f"{n} cameras"),
        }

    def values(self) -> dict[str, Any]:
        """Return its row."""
        members = [
            [one.subject, one.name, one.host, one.fault, one.reason, utc_text(one.since)]
            for one in self.members
        ]
        return {
            "alert_id": self.alert_id,
            "kind": self.kind.value,
            "place": self.place.replace("\x00", "")[:PLACE_LONGEST],
            "began_at": utc_text(self.began_at),
            "opened_at": utc_text(self.opened_at),
            "updated_at": utc_text(self.updated_at),
            "ended_at": utc_text(self.ended_at) if self.ended_at else None,
            "count": self.count,
            "most": self.most,
            "members": json.dumps(members, ensure_ascii=False, separators=(",", ":")),
        }

    @classmethod
    def of_row(cls, values: Mapping[str, Any]) -> "OperationsAlert":
        """Read its row."""
        fields = dict(values)
        fields["kind"] = TroubleKind(fields["kind"])
        for name in ("began_at", "opened_at", "updated_at", "ended_at"):
            fields[name] = parse_utc(fields[name]) if fields[name] else None
        fields["members"] = tuple(
            Member(subject, name, host, fault, reason, parse_utc(since))
            for subject, name, host, fault, reason, since in json.loads(fields["members"])
        )
        return cls(**fields)


def first_members(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return as many as an alert keeps, those that began first."""
    return tuple(sorted(members, key=lambda one: (one.since, one.subject))[:MEMBERS_MOST])
