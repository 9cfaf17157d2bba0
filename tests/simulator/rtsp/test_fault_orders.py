# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a fault is ordered, by flag and by the control channel."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.core.errors import InputError
from gridwatch.simulator.faults import EVERYWHERE, Where, fault_kinds, make_order, order_from, parse_order


def test_a_flag_names_fault_values_and_camera():
    """What is not said is as the fault has it; numbers come as numbers."""
    order = parse_order("loss:share=0.1,after_s=2@east/gate-1")
    assert (order.kind.name, order.camera, order.on) == ("loss", "east/gate-1", True)
    assert dict(order.values) == {"share": 0.1, "seed": 1, "after_s": 2.0, "for_s": 0.0}


@pytest.mark.parametrize("text", ["stall", "stall:", "stall@*"])
def test_without_a_path_all_cameras_are_meant(text):
    """The star says the same."""
    assert parse_order(text).camera == EVERYWHERE


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("explode", "there is no fault 'explode'"),
        ("loss:colour=red", "fault loss has no value 'colour'"),
        ("loss:share", "written key=value"),
        ("loss:share=much", "share of fault loss is a number"),
        ("loss:share=nan", "share of fault loss is a number"),
        ("loss:share=2", "share of fault loss is 0 to 1"),
        ("loss:seed=1.5", "seed of fault loss is a whole number"),
        ("stall:for_s=-1", "for_s of fault stall is 0 to 86400"),
        ("refuse:cut=perhaps", "cut of fault refuse is true or false"),
        ("garbage:mode=loud", "mode of fault garbage is one of payload, slices, stream"),
        ("cover:share=1.5", "cover: share is 0 to 1"),
        ("Stall!", "a fault is NAME"),
        ("", "a fault is NAME"),
    ],
)
def test_a_wrong_flag_is_told_in_one_sentence(text, problem):
    """What is wrong, and what there is."""
    with pytest.raises(InputError, match=problem.replace("[", r"\[")):
        parse_order(text)


def test_an_ask_carries_values_beside_the_name():
    """JSON's own types are taken."""
    order = order_from({"ask": "fault", "camera": "a", "fault": "refuse", "on": False, "cut": False})
    assert (order.camera, order.on, order.values["cut"]) == ("a", False, False)


@pytest.mark.parametrize(
    "change", [{"camera": None}, {"fault": 3}, {"on": "yes"}, {"share": True}, {"share": []}, {"x": 1}]
)
def test_an_ask_that_is_not_whole_is_refused(change):
    """Every field is checked."""
    with pytest.raises(InputError):
        order_from({"ask": "fault", "camera": "a", "fault": "loss", "on": True} | change)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_flag_is_read_or_refused(text):
    """Nothing else is raised."""
    with suppress(InputError):
        parse_order(text)


@pytest.mark.parametrize("name", sorted(fault_kinds()))
def test_every_fault_can_be_ordered_as_it_stands_and_tells_itself(name):
    """Its defaults pass its own check, and its text is a sentence."""
    order = make_order(name, {})
    told = order.kind.as_json()
    assert set(order.values) == set(told["values"])
    assert told["text"].endswith(".")


def test_there_are_faults_of_connection_stream_and_pictures():
    """Those of the pictures are the variants that a clip can be shown in."""
    names = {where: {k.name for k in fault_kinds().values() if k.where is where} for where in Where}
    assert {"drop", "refuse", "unauthorized", "stall", "slow-loris"} <= names[Where.CONNECTION]
    assert {"no-packets", "silent", "loss", "reorder", "truncate", "garbage"} <= names[Where.STREAM]
    assert {"no-timestamps", "jump", "no-reports", "clock", "restart"} <= names[Where.STREAM]
    assert {"freeze", "black", "blur", "cover", "move", "codec", "size", "fps"} <= names[Where.PICTURES]
    assert {"endless-gop", "intra-refresh", "elsewhere", "white"} <= names[Where.PICTURES]
