# SPDX-License-Identifier: AGPL-3.0-or-later
"""The names and values of variants, as they come from a command line or a control call."""

from fractions import Fraction

import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.coding import Coding, Keys
from gridwatch.simulator.variants import VARIANTS, scaled, variant

SOURCE = Coding(width=1920, height=1080, fps=Fraction(25), bit_rate=4_000_000)


def test_every_variant_has_a_text_and_a_plan():
    """Each can be listed for people and made with the values that it has by itself."""
    for name, kind in VARIANTS.items():
        assert kind.text.endswith(".")
        plan = variant(name).plan(SOURCE)
        assert (plan.coding.width, plan.coding.bit_rate) > (0, 0)


def test_numbers_may_come_as_text():
    """A flag brings text, a control call brings numbers: the same variant."""
    assert variant("size", width="1280", height="720") == variant("size", width=1280, height=720)
    assert variant("intra-refresh", recovery_points="false") == variant(
        "intra-refresh", recovery_points=False
    )
    assert variant("freeze") != variant("freeze", noise=1)


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("melt", {}, "there is no variant 'melt'; there are: freeze, "),
        ("blur", {"radius": 3}, "blur has no value 'radius'; it has: share"),
        ("endless-gop", {"gop_s": 3}, "endless-gop has no value 'gop_s'; it has: no values"),
        ("cover", {"share": "most"}, "cover: share is a number, got 'most'"),
        ("cover", {"share": 1.5}, "cover: share is 0 to 1, got 1.5"),
        ("cover", {"share": float("nan")}, "cover: share is 0 to 1, got nan"),
        ("size", {"width": "12.5"}, "size: width is a number, got '12.5'"),
        ("codec", {"codec": "av1"}, "codec: codec is one of h264, hevc, got 'av1'"),
        (
            "intra-refresh",
            {"recovery_points": "maybe"},
            "intra-refresh: recovery_points is true or false, got 'maybe'",
        ),
    ],
)
def test_what_is_not_known_is_refused_in_one_sentence(name, values, told):
    """With what there is instead."""
    with pytest.raises(InputError) as error:
        variant(name, **values)
    assert str(error.value).startswith(told)


def test_plans_change_what_their_name_says():
    """And nothing else of the coding."""
    size = variant("size", width=961, height=540).plan(SOURCE).coding
    assert (size.width, size.height, size.fps) == (960, 540, SOURCE.fps)
    assert variant("fps", fps=12.5).plan(SOURCE).coding.fps == Fraction(25, 2)
    assert variant("codec").plan(SOURCE).coding.codec == "hevc"
    assert variant("gop", gop_s=8).plan(SOURCE).gop_s == 8
    assert variant("b-frames", count=3).plan(SOURCE).coding.b_frames == 3
    opened = variant("open-gop", gop_s=4).plan(SOURCE).coding
    assert (opened.keys, opened.gop_frames, opened.b_frames) == (Keys.OPEN, 100, 2)


def test_a_smaller_picture_has_as_many_bits_a_pixel():
    """But never so few that nothing can be seen."""
    assert scaled(SOURCE, 960, 540).bit_rate == 1_000_000
    assert scaled(SOURCE, 64, 64).bit_rate == 64_000


def test_a_dome_on_patrol_comes_home_in_between():
    """Away and home in turn from the moment it was switched on; without a time at home it stays away."""
    patrol = variant("elsewhere", away_s=10, home_s=20)
    assert [patrol.is_on(at_s) for at_s in (0, 9.9, 10, 29.9, 30, 39, 40)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]
    assert variant("elsewhere").is_on(1e6)
    assert variant("elsewhere", away_s=10).is_on(1e6)
