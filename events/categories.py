# SPDX-License-Identifier: AGPL-3.0-or-later
"""Static tables: category, lane, level, unit hint and deadlines of each kind and subtype, and their neutral words.

Codes and defaults are this project's proposal; no standard gives them, and every city sets its own deadlines. Deadlines
are plain hours here (no work calendar). The words say 疑似 and what was seen; a crowd is a count or a density, nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from events.alerts import Lane
from gridwatch.core.finding import Fact
from gridwatch.core.zone import Kind

FAST_ROAD = "fast_road"
_GENERAL_PLATFORM = "综治工作平台"
_ENFORCEMENT_PLATFORM = "综合执法平台"


@dataclass(frozen=True, slots=True)
class Category:
    """One category.

    Attributes:
        severity: default level, 1 (highest) to 4.
        unit_hint: platform that usually handles it; the dispatcher decides.
        zh, en: the title.
        purpose: the safety purpose for which its evidence is kept.
    """

    code: str
    lane: Lane
    severity: int
    unit_hint: str
    zh: str
    en: str
    purpose: str


_FIRE, _CROWD, _ROAD = "fire_safety", "crowd_safety", "traffic_safety"

CATEGORIES: Mapping[tuple[Kind, str], Category] = MappingProxyType(
    {
        (Kind.CROWD, "density"): Category(
            "CROWD-01", Lane.NON_POLICE, 3, _GENERAL_PLATFORM, "人员密度超限", "Crowd density above limit", _CROWD
        ),
        (Kind.CROWD, "count"): Category(
            "CROWD-02", Lane.NON_POLICE, 3, _GENERAL_PLATFORM, "区域人数超限", "Number of people above limit", _CROWD
        ),
        (Kind.CROWD, "flow"): Category(
            "CROWD-03", Lane.POLICE, 2, _GENERAL_PLATFORM, "人流滞留或对冲", "Crowd at a standstill or counter-flow", _CROWD
        ),
        (Kind.FIRE, "flame"): Category(
            "FIRE-01", Lane.FIRE, 1, _GENERAL_PLATFORM, "疑似明火", "Suspected flame", _FIRE
        ),
        (Kind.FIRE, "open_burning"): Category(
            "FIRE-02", Lane.NON_POLICE, 3, _ENFORCEMENT_PLATFORM, "疑似露天焚烧", "Suspected open burning", _FIRE
        ),
        (Kind.SMOKE, "smoke"): Category(
            "SMOKE-01", Lane.FIRE, 2, _GENERAL_PLATFORM, "疑似烟雾", "Suspected smoke", _FIRE
        ),
        (Kind.TRAFFIC, "congestion"): Category(
            "TRAF-01", Lane.NON_POLICE, 4, _ENFORCEMENT_PLATFORM, "疑似拥堵", "Suspected congestion", _ROAD
        ),
        (Kind.TRAFFIC, "stopped_vehicle"): Category(
            "TRAF-02", Lane.NON_POLICE, 4, _ENFORCEMENT_PLATFORM, "疑似异常停车", "Suspected stopped vehicle", _ROAD
        ),
        (Kind.TRAFFIC, "wrong_way"): Category(
            "TRAF-03", Lane.POLICE, 2, _ENFORCEMENT_PLATFORM, "疑似逆行", "Suspected wrong-way driving", _ROAD
        ),
        (Kind.TRAFFIC, "pedestrian_on_road"): Category(
            "TRAF-04", Lane.POLICE, 2, _ENFORCEMENT_PLATFORM, "疑似行人进入车行道", "Suspected pedestrian on the road", _ROAD
        ),
        (Kind.TRAFFIC, "debris"): Category(
            "TRAF-05", Lane.NON_POLICE, 3, _ENFORCEMENT_PLATFORM, "疑似抛洒物", "Suspected debris on the road", _ROAD
        ),
        (Kind.TRAFFIC, "crash"): Category(
            "TRAF-06", Lane.POLICE, 2, _ENFORCEMENT_PLATFORM, "疑似交通事故", "Suspected traffic accident", _ROAD
        ),
    }
)  # fmt: skip
_FIRST_OF_KIND = MappingProxyType(
    {
        Kind.CROWD: (Kind.CROWD, "count"),
        Kind.FIRE: (Kind.FIRE, "flame"),
        Kind.SMOKE: (Kind.SMOKE, "smoke"),
        Kind.TRAFFIC: (Kind.TRAFFIC, "stopped_vehicle"),
    }
)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Natural time; `review` from opening to an operator's look, the others one after the other from confirmation."""

    review: timedelta
    sign: timedelta
    handle: timedelta
    verify: timedelta


DEADLINES: Mapping[int, Deadlines] = MappingProxyType(
    {
        1: Deadlines(timedelta(seconds=60), timedelta(minutes=5), timedelta(hours=1), timedelta(hours=12)),
        2: Deadlines(timedelta(seconds=120), timedelta(minutes=15), timedelta(hours=4), timedelta(hours=24)),
        3: Deadlines(timedelta(minutes=10), timedelta(hours=2), timedelta(hours=24), timedelta(hours=48)),
        4: Deadlines(timedelta(minutes=30), timedelta(hours=4), timedelta(hours=72), timedelta(hours=72)),
    }
)

DENSITY_LEVELS = ((1, 5.0), (2, 4.0), (3, 3.0), (4, 2.0))  # level, persons per m² from which it holds
DENSITY_OFF_PER_M2 = 0.5  # a level is left only this much below where it begins


def category_of(kind: Kind, subtype: str) -> Category:
    """Return the category; a subtype that the table does not know counts as its kind's usual one."""
    return CATEGORIES.get((kind, subtype)) or CATEGORIES[_FIRST_OF_KIND[kind]]


def severity_of(category: Category, place: str, facts: Mapping[str, Fact], before: int | None = None) -> int:
    """Return the level, 1 to 4; `before` is the level so far, for hysteresis.

    A density decides the level of a density alert, and a fast road that of a stopped vehicle.
    """
    density = facts.get("density_per_m2")
    if category.code == "CROWD-01" and isinstance(density, int | float):
        return _density_level(float(density), before)
    if category.code == "TRAF-02" and place == FAST_ROAD:
        return 2
    return category.severity


def lane_of(category: Category, place: str, severity: int) -> Lane:
    """Return who is called by default."""
    if category.code == "CROWD-01" and severity <= 2:  # noqa: PLR2004  levels 1 and 2 are urgent
        return Lane.POLICE
    if category.code == "TRAF-02" and place == FAST_ROAD:
        return Lane.POLICE
    return category.lane


def unit_hint_of(category: Category, kind: Kind, units: Mapping[str, str]) -> str:
    """Return the unit that is usually responsible: the grid's own entry, else the platform."""
    for key in (category.code, kind.value, "default"):
        if units.get(key):
            return units[key]
    return category.unit_hint


def due_of(severity: int, opened_at: datetime, confirmed_at: datetime | None) -> dict[str, datetime]:
    """Return the deadlines that run: `review` always, `sign`, `handle` and `verify` only after a confirmation."""
    limits = DEADLINES[severity]
    due = {"review": opened_at + limits.review}
    if confirmed_at is not None:
        due["sign"] = confirmed_at + limits.sign
        due["handle"] = confirmed_at + limits.handle
        due["verify"] = due["handle"] + limits.verify
    return due


def text_of(
    category: Category, camera_name: str, zone_name: str, facts: Mapping[str, Fact]
) -> dict[str, str]:
    """Return one neutral sentence or two in Chinese and English, from facts that a person can check."""
    place = f"{camera_name}（{zone_name}）" if zone_name else camera_name
    where = f"{camera_name} ({zone_name})" if zone_name else camera_name
    zh, en = [f"{place}画面中出现{category.zh}"], [f"{category.en} at {where}"]
    for part_zh, part_en in _parts(facts):
        zh.append(part_zh)
        en.append(part_en)
    warning_zh = warning_en = ""
    if category.lane is Lane.FIRE:
        warning_zh = "发现火情请立即拨打119，本提示不能代替报警。"
        warning_en = " Call 119 at once if there is a fire; this notice is no fire report."
    return {
        "zh": "，".join(zh) + "，请核实。" + warning_zh,
        "en": ", ".join(en) + ". Please check." + warning_en,
    }


def _density_level(density: float, before: int | None) -> int:
    for level, begins_per_m2 in DENSITY_LEVELS:
        kept = before is not None and before <= level
        if density >= begins_per_m2 - (DENSITY_OFF_PER_M2 if kept else 0.0):
            return level
    return DENSITY_LEVELS[-1][0]


def _parts(facts: Mapping[str, Fact]) -> list[tuple[str, str]]:
    parts = [_people(facts)]
    if (density := _number(facts, "density_per_m2")) is not None:
        parts.append((f"密度约{density:.1f}人/平方米", f"about {density:.1f} persons per m²"))
    if (vehicles := _number(facts, "vehicles")) is not None and vehicles > 1:
        parts.append((f"{vehicles:.0f}辆车", f"{vehicles:.0f} vehicles"))
    if (dwell_s := _number(facts, "dwell_s")) is not None:
        parts.append((f"已持续{dwell_s:.0f}秒", f"for {dwell_s:.0f} s"))
    favour, taken = _number(facts, "looks_in_favour"), _number(facts, "looks_taken")
    if favour is not None and taken is not None:
        parts.append(
            (f"{taken:.0f}次观察中{favour:.0f}次支持", f"{favour:.0f} of {taken:.0f} looks in favour")
        )
    return [part for part in parts if part[0]]


def _people(facts: Mapping[str, Fact]) -> tuple[str, str]:
    """Say a count with its interval and limit where they are known: a bare number promises too much."""
    count, limit = _number(facts, "count"), _number(facts, "limit")
    low, high = _number(facts, "count_low"), _number(facts, "count_high")
    if count is None:
        return "", ""
    zh, en = [], []
    if low is not None and high is not None:
        zh.append(f"估计{low:.0f}至{high:.0f}人")
        en.append(f"estimate {low:.0f} to {high:.0f}")
    if limit is not None:
        zh.append(f"限值{limit:.0f}人")
        en.append(f"limit {limit:.0f}")
    beside_zh = f"（{'，'.join(zh)}）" if zh else ""
    beside_en = f" ({', '.join(en)})" if en else ""
    return f"约{count:.0f}人{beside_zh}", f"about {count:.0f} people{beside_en}"


def _number(facts: Mapping[str, Fact], name: str) -> float | None:
    value = facts.get(name)
    return float(value) if isinstance(value, int | float) else None
