# SPDX-License-Identifier: AGPL-3.0-or-later
"""The variants of a camera's stream that can be switched on while it runs: faults of the picture, other ways to code it.

Here they are named, described and checked; recoding.py makes them. Faults of the connection are not here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import TypeAlias

from gridwatch.core.errors import InputError
from gridwatch.simulator import treatments
from gridwatch.simulator.coding import Coding, Keys
from gridwatch.simulator.treatments import Treatment

Value: TypeAlias = str | float | bool

_NEARLY_S = 0.001


@dataclass(frozen=True, slots=True)
class Plan:
    """How a variant is made of a clip.

    Attributes:
        is_still: one picture of the clip, again and again.
        gop_s: seconds between key pictures; None: where the clip has them.
        is_endless: coded while it is shown, and never from a key picture again after the first.
        drops_recovery_points: no message in the stream tells where a decoder could begin.
    """

    coding: Coding
    treatment: Treatment = treatments.untouched
    is_still: bool = False
    gop_s: float | None = None
    is_endless: bool = False
    drops_recovery_points: bool = False


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant with all its values: hashable, equal where it shows the same."""

    name: str
    values: tuple[tuple[str, Value], ...] = ()

    def plan(self, source: Coding) -> Plan:
        """Return how to make it of a clip that is coded as `source`."""
        return VARIANTS[self.name].plan(source, dict(self.values))

    @property
    def is_of_the_moment(self) -> bool:
        """Whether it depends on the moment at which it is switched on."""
        return self.name == "freeze"

    @property
    def begins_at_start(self) -> bool:
        """Whether it can be joined only where the clip begins: later key pictures lean on what was before them."""
        return self.name == "open-gop"

    def is_on(self, elapsed_s: float) -> bool:
        """Tell whether it is shown `elapsed_s` after it was switched on: a dome on patrol comes home in between."""
        values = dict(self.values)
        away_s, home_s = (float(values.get(name, 0.0)) for name in ("away_s", "home_s"))
        return not (away_s and home_s) or (elapsed_s + _NEARLY_S) % (away_s + home_s) < away_s


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of variant: what it is, for people, and its values with what they are where nothing is said.

    Attributes:
        bounds: the least and the greatest of each value that is a number.
    """

    text: str
    plan: Callable[[Coding, Mapping[str, Value]], Plan]
    values: Mapping[str, Value]
    bounds: Mapping[str, tuple[float, float]]


def variant(name: str, **values: Value) -> Variant:
    """Return a checked variant; numbers may come as text.

    Raises:
        InputError: the name or a value is not known, or a value is out of bounds.
    """
    kind = VARIANTS.get(name)
    if kind is None:
        raise InputError(f"there is no variant {name!r}; there are: {', '.join(VARIANTS)}")
    unknown = sorted(values.keys() - kind.values.keys())
    if unknown:
        known = ", ".join(kind.values) or "no values"
        raise InputError(f"{name} has no value {unknown[0]!r}; it has: {known}")
    checked = {key: _checked(name, key, values.get(key, default)) for key, default in kind.values.items()}
    return Variant(name, tuple(checked.items()))


def _checked(name: str, key: str, value: Value) -> Value:
    kind = VARIANTS[name]
    default = kind.values[key]
    if isinstance(default, bool):
        if str(value).lower() not in {"true", "false"}:
            raise InputError(f"{name}: {key} is true or false, got {value!r}")
        return str(value).lower() == "true"
    if isinstance(default, str):
        if value not in _CODECS:
            raise InputError(f"{name}: {key} is one of {', '.join(_CODECS)}, got {value!r}")
        return value
    low, high = kind.bounds[key]
    try:
        number = type(default)(value)
    except ValueError as exc:
        raise InputError(f"{name}: {key} is a number, got {value!r}") from exc
    if not low <= number <= high:
        raise InputError(f"{name}: {key} is {low:g} to {high:g}, got {number:g}")
    return number


_CODECS = ("h264", "hevc")


def _treated(source: Coding, treatment: Treatment, *, is_still: bool = False) -> Plan:
    return Plan(source, treatment, is_still=is_still)


def _frozen(source: Coding, values: Mapping[str, Value]) -> Plan:
    quantizer = int(values["quantizer"])
    coding = replace(source, codec="h264", x264=f"qp={quantizer}") if quantizer else source
    return _treated(coding, treatments.noisy(_number(values, "noise")), is_still=True)


def _number(values: Mapping[str, Value], key: str) -> float:
    return float(values[key])


def _resized(source: Coding, values: Mapping[str, Value]) -> Plan:
    width, height = int(values["width"]), int(values["height"])
    return Plan(scaled(source, width & ~1, height & ~1))


def scaled(source: Coding, width: int, height: int) -> Coding:
    """Return the coding of a smaller or larger picture, at as many bits a pixel, and at least 64 kbit/s."""
    bit_rate = source.bit_rate * width * height // (source.width * source.height)
    return replace(source, width=width, height=height, bit_rate=max(64_000, bit_rate))


def _with_keys(source: Coding, keys: Keys, gop_s: float, b_frames: int = 0) -> Coding:
    return replace(source, codec="h264", keys=keys, gop_s=gop_s, b_frames=b_frames)


def _kind(
    text: str,
    plan: Callable[[Coding, Mapping[str, Value]], Plan],
    bounds: Mapping[str, tuple[float, float]] | None = None,
    **values: Value,
) -> Kind:
    return Kind(text, plan, MappingProxyType(values), MappingProxyType(dict(bounds or {})))


_SHARE = (0.0, 1.0)
_SIDE_PX = (64.0, 7680.0)
_SECONDS = (0.0, 86_400.0)
_LEVELS = (0.0, 50.0)
_QUANTIZERS = (0.0, 51.0)
_GOP_S = (0.2, 60.0)

VARIANTS: Mapping[str, Kind] = MappingProxyType(
    {
        "freeze": _kind(
            "The same picture again and again while the encoder goes on; noise: sensor noise in luma levels; quantizer: H.264 "
            "at this strength always, so that the same bytes come again (0: the rate is held, and they differ a little).",
            _frozen,
            {"noise": _LEVELS, "quantizer": _QUANTIZERS},
            noise=0.0,
            quantizer=0,
        ),
        "black": _kind(
            "Nothing but black; noise: sensor noise in luma levels.",
            lambda source, values: _treated(
                source, treatments.black(_number(values, "noise")), is_still=True
            ),
            {"noise": _LEVELS},
            noise=0.0,
        ),
        "white": _kind(
            "Overexposed; contrast: the share of the picture's differences that is left.",
            lambda source, values: _treated(source, treatments.washed_out(_number(values, "contrast"))),
            {"contrast": _SHARE},
            contrast=0.1,
        ),
        "blur": _kind(
            "Out of focus; share: the blur's sigma as a share of the picture's width.",
            lambda source, values: _treated(source, treatments.blurred(_number(values, "share"))),
            {"share": (0.001, 0.2)},
            share=0.012,
        ),
        "cover": _kind(
            "A dark board before the lens; share: how much of the picture it hides.",
            lambda source, values: _treated(source, treatments.covered(_number(values, "share"))),
            {"share": _SHARE},
            share=0.9,
        ),
        "move": _kind(
            "The camera was knocked; x, y: how far the view shifts, as shares of its width and height.",
            lambda source, values: _treated(
                source, treatments.moved(_number(values, "x"), _number(values, "y"))
            ),
            {"x": (-0.9, 0.9), "y": (-0.9, 0.9)},
            x=0.2,
            y=0.1,
        ),
        "elsewhere": _kind(
            "A dome looks at another part of the scene: away_s there and home_s at home, in turn (0: it stays away).",
            lambda source, _: _treated(source, treatments.elsewhere),
            {"away_s": _SECONDS, "home_s": _SECONDS},
            away_s=0.0,
            home_s=0.0,
        ),
        "size": _kind(
            "Another picture size, width × height pixels.",
            _resized,
            {"width": _SIDE_PX, "height": _SIDE_PX},
            width=640,
            height=360,
        ),
        "fps": _kind(
            "Another number of pictures a second.",
            lambda source, values: Plan(
                replace(source, fps=Fraction(_number(values, "fps")).limit_denominator(1001))
            ),
            {"fps": (0.5, 60.0)},
            fps=5.0,
        ),
        "codec": _kind(
            "Another codec, h264 or hevc: who watches must ask for the description anew.",
            lambda source, values: Plan(
                replace(source, codec="hevc" if values["codec"] == "hevc" else "h264")
            ),
            codec="hevc",
        ),
        "gop": _kind(
            "A key picture every gop_s seconds.",
            lambda source, values: Plan(source, gop_s=_number(values, "gop_s")),
            {"gop_s": _GOP_S},
            gop_s=10.0,
        ),
        "b-frames": _kind(
            "count pictures in a row refer to later ones, so that pictures are not sent in the order shown.",
            lambda source, values: Plan(replace(source, b_frames=int(values["count"]))),
            {"count": (1, 8)},
            count=2,
        ),
        "open-gop": _kind(
            "Groups of pictures that lean on the one before: a key picture every gop_s, b_frames between.",
            lambda source, values: Plan(
                replace(
                    source,
                    keys=Keys.OPEN,
                    gop_s=_number(values, "gop_s"),
                    b_frames=int(values["b_frames"]),
                )
            ),
            {"gop_s": _GOP_S, "b_frames": (1, 8)},
            gop_s=2.0,
            b_frames=2,
        ),
        "endless-gop": _kind(
            "No key picture ever after the first.",
            lambda source, _: Plan(_with_keys(source, Keys.FIRST, 1.0), is_endless=True),
        ),
        "intra-refresh": _kind(
            "No key picture after the first; a column of intra blocks wanders across the picture every gop_s. "
            "recovery_points: the stream tells where a decoder could begin.",
            lambda source, values: Plan(
                _with_keys(source, Keys.INTRA_REFRESH, _number(values, "gop_s")),
                is_endless=True,
                drops_recovery_points=not values["recovery_points"],
            ),
            {"gop_s": _GOP_S},
            gop_s=2.0,
            recovery_points=True,
        ),
    }
)
