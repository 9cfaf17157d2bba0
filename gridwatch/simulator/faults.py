# SPDX-License-Identifier: AGPL-3.0-or-later
"""The faults that a simulated camera can be given: their names, values and texts, and how an order for one is written.

What a fault does to packets and connections is wire_faults.py's; what it does to pictures is variants.py's.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

from gridwatch.core.errors import InputError
from gridwatch.simulator.variants import VARIANTS, variant

Value: TypeAlias = str | float | int | bool
Values: TypeAlias = Mapping[str, Value]

EVERYWHERE = "*"

_IN_WORDS: Mapping[type, str] = MappingProxyType(
    {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
)

_ORDER = re.compile(r"([a-z-]+)(?::([^@]*))?(?:@(.+))?")
_TRUTH = {
    "true": True,
    "on": True,
    "yes": True,
    "1": True,
    "false": False,
    "off": False,
    "no": False,
    "0": False,
}


class Where(Enum):
    """What a fault is about."""

    CONNECTION = "connection"
    STREAM = "stream"
    PICTURES = "pictures"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One fault that can be ordered.

    Attributes:
        text: what a client notices, in one English sentence.
        values: its values and what they are where nothing is said; their types are the types of these.
        choices: of a value that is one of several words.
    """

    name: str
    where: Where
    text: str
    values: Values = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Return the kind as the control channel tells it."""
        return {
            "name": self.name,
            "about": self.where.value,
            "text": self.text,
            "values": {**TIMING, **self.values},
            "choices": {key: list(words) for key, words in self.choices.items()},
        }


TIMING: Values = MappingProxyType({"after_s": 0.0, "for_s": 0.0})
"""Values that every fault has: seconds until it begins, and how long it lasts (0: until it is told off)."""


def _connection(name: str, text: str, **values: Value) -> FaultKind:
    return FaultKind(name, Where.CONNECTION, text, values)


def _stream(name: str, text: str, **values: Value) -> FaultKind:
    return FaultKind(name, Where.STREAM, text, values)


_DAY_S = 86_400.0
_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "after_s": (0.0, _DAY_S),
        "for_s": (0.0, _DAY_S),
        "every_s": (0.0, _DAY_S),
        "share": (0.0, 1.0),
        "keep": (0.0, 1.0),
        "by": (1, 1_000),
        "by_s": (-_DAY_S, _DAY_S),
        "offset_s": (-1e9, 1e9),
    }
)
_MODES = {"mode": ("payload", "slices", "stream")}

WIRE_FAULTS: tuple[FaultKind, ...] = (
    _connection("drop", "Connections are cut, once or every so often; new ones are taken.", every_s=0.0),
    _connection(
        "refuse", "Connections are closed at once; a camera with a port of its own stops listening.", cut=True
    ),
    _connection("unauthorized", "Every request is answered 401, whatever is sent with it.", cut=True),
    _connection("not-found", "Every request is answered 404.", cut=True),
    _connection("busy", "Every request is answered 453, as by a recorder without a free session.", cut=True),
    _connection("stall", "TCP connections stand, and nothing is answered or sent on them."),
    _connection("slow-loris", "Answers and data come a byte at a time; over UDP no data come.", every_s=0.5),
    _stream(
        "no-packets",
        "PLAY is answered and no RTP follows; sender reports go on if told so.",
        reports=False,
        cut=True,
    ),
    _stream("silent", "The stream stops while the connection stands and requests are answered."),
    _stream("loss", "A share of the RTP packets is lost.", share=0.02, seed=1),
    _stream("reorder", "A share of the RTP packets comes some packets late.", share=0.05, by=3, seed=1),
    _stream("truncate", "A share of the pictures' NAL units is cut off.", share=1.0, keep=0.5, seed=1),
    FaultKind(
        "garbage",
        Where.STREAM,
        "Random bytes: as RTP payloads, in the slices of pictures, or loose in the RTSP connection.",
        {"mode": "payload", "share": 1.0, "seed": 1},
        _MODES,
    ),
    _stream("no-timestamps", "All RTP timestamps are the same, and no sender report comes."),
    _stream("jump", "RTP timestamps jump, once or every so often.", by_s=3600.0, every_s=0.0),
    _stream("no-reports", "No RTCP sender reports come."),
    _stream("clock", "Sender reports tell a wall time that is wrong by so many seconds.", offset_s=60.0),
    FaultKind(
        "restart",
        Where.STREAM,
        "The camera starts anew: another SSRC, other sequence numbers and timestamps, in the same session or after a cut.",
        {"mode": "session", "every_s": 0.0},
        {"mode": ("session", "reconnect")},
    ),
)


def fault_kinds() -> Mapping[str, FaultKind]:
    """Return every fault that there is, by name."""
    pictures = (FaultKind(name, Where.PICTURES, kind.text, kind.values) for name, kind in VARIANTS.items())
    return {kind.name: kind for kind in (*WIRE_FAULTS, *pictures)}


@dataclass(frozen=True, slots=True)
class FaultOrder:
    """A fault switched on or off at one camera, or at all (`EVERYWHERE`). `values` are whole: all that the kind has."""

    kind: FaultKind
    camera: str = EVERYWHERE
    on: bool = True
    values: Values = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """Return a value that is a number."""
        return float(self.values[name])


def parse_order(text: str) -> FaultOrder:
    """Read `NAME[:key=value,...][@PATH]`.

    Raises:
        InputError: it is not written so, or names what there is not.
    """
    match = _ORDER.fullmatch(text)
    if match is None:
        raise InputError(f"a fault is NAME[:key=value,...][@PATH], got {text!r}")
    given: dict[str, object] = {}
    for pair in filter(None, (match[2] or "").split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"a fault's value is written key=value, got {pair!r}")
        given[key.strip()] = value.strip()
    return make_order(match[1], given, camera=match[3] or EVERYWHERE)


def order_from(asked: Mapping[str, object]) -> FaultOrder:
    """Read what the control channel was asked: `fault`, `camera`, `on`, and the fault's values beside them.

    Raises:
        InputError: one of them is missing or not what it can be.
    """
    name, camera, on = asked.get("fault"), asked.get("camera"), asked.get("on")
    if not isinstance(name, str) or not isinstance(camera, str) or not isinstance(on, bool):
        raise InputError('a fault is asked for with "fault" and "camera" as text and "on" as true or false')
    given = {key: value for key, value in asked.items() if key not in {"ask", "fault", "camera", "on"}}
    return make_order(name, given, camera=camera, on=on)


def make_order(
    name: str, given: Mapping[str, object], *, camera: str = EVERYWHERE, on: bool = True
) -> FaultOrder:
    """Return the order for fault `name` with `given` values, the others as they are where nothing is said.

    Raises:
        InputError: there is no such fault or value, or the value is not one that it can have.
    """
    kinds = fault_kinds()
    kind = kinds.get(name)
    if kind is None:
        raise InputError(f"there is no fault {name!r}; there are {', '.join(sorted(kinds))}")
    defaults = {**TIMING, **kind.values}
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise InputError(f"fault {name} has no value {unknown[0]!r}; it has {', '.join(sorted(defaults))}")
    values = {key: _value(kind, key, given.get(key, default)) for key, default in defaults.items()}
    if kind.where is Where.PICTURES:
        variant(name, **{key: values[key] for key in kind.values})
    return FaultOrder(kind, camera, on, MappingProxyType(values))


def _value(kind: FaultKind, key: str, given: object) -> Value:
    """Return `given` in the type that the value has."""
    default = {**TIMING, **kind.values}[key]
    value = _converted(given, default)
    if value is None:
        wanted = next(word for of, word in _IN_WORDS.items() if isinstance(default, of))
        raise InputError(f"value {key} of fault {kind.name} is {wanted}, got {given!r}")
    if key in kind.choices and value not in kind.choices[key]:
        raise InputError(f"value {key} of fault {kind.name} is one of {', '.join(kind.choices[key])}")
    low, high = _BOUNDS.get(key, (-math.inf, math.inf))
    is_own = kind.where is not Where.PICTURES or key in TIMING  # variants know their own bounds
    if is_own and not isinstance(value, str) and not low <= value <= high:
        raise InputError(f"value {key} of fault {kind.name} is {low:g} to {high:g}, got {value}")
    return value


def _converted(given: object, default: Value) -> Value | None:
    """Return `given` in the type of `default`; None where it is nothing of the kind."""
    if isinstance(default, bool):
        return given if isinstance(given, bool) else _TRUTH.get(str(given).lower())
    if isinstance(default, str):
        return given if isinstance(given, str) else None
    number = _number(given)
    if number is None or (isinstance(default, int) and not number.is_integer()):
        return None
    return int(number) if isinstance(default, int) else number


def _number(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, str | float | int):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
