# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which faults are troubles, and what of them belongs together."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from events.troubles import _OF_FAULT as KINDS
from events.troubles import (
    EVERYWHERE,
    Group,
    Onset,
    Trouble,
    TroubleKind,
    TroubleRules,
    grouped,
    network_of,
    troubles_of,
)
from gridwatch.core.camera import CameraStatus, Fault, SightState

AT = datetime(2026, 11, 26, tzinfo=UTC)
RULES = TroubleRules()


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("10.1.2.3:554", "10.1.2.0/24"),
        ("10.1.2.3", "10.1.2.0/24"),
        ("[2001:db8:1:2::7]:554", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("camera-7.example:554", "camera-7.example"),
        ("nvr-3", "nvr-3"),
        ("", ""),
        ("10.1.2.300:554", "10.1.2.300"),
        ("一号录像机", "一号录像机"),
    ],
)
def test_neighbours_share_a_network(host, network):
    """An address stands for its /24 (IPv6: /64), a name for itself."""
    assert network_of(host) == network


def test_every_fault_is_somebodys_trouble_or_wanted():
    """A fault that is added must be given to somebody; only patrols and the switch are nobody's."""
    assert set(Fault) - set(KINDS) == {Fault.ELSEWHERE, Fault.SWITCHED_OFF}


@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        (Fault.UNAUTHORIZED, [TroubleKind.ACCESS]),
        (Fault.SWITCHED_OFF, []),
        (Fault.SET_ASIDE, [TroubleKind.SET_ASIDE]),
    ],
)
def test_a_camera_that_is_off_is_a_trouble_where_nobody_switched_it_off(fault, kinds):
    """One without its password is blind until somebody sets it; a machine must not be silent about that."""
    status = CameraStatus("c", "c", SightState.OFF, "why", AT, None, None, fault)
    found = troubles_of([status], {"c": "10.1.2.3:554"}, AT)
    assert [one.kind for one in found] == kinds
    assert all(one.reason == "why" for one in found)


def onset(subject, at_s, kind=TroubleKind.CONNECTION, place="10.1.2.0/24"):
    return Onset(Trouble(kind=kind, subject=subject, place=place, fault="f", reason="", began_at=AT), at_s)


def shape(groups):
    return [(one.alert_id, one.place, [item.trouble.subject for item in one.joining]) for one in groups]


def test_what_begins_together_in_one_network_is_one_group():
    """Order does not matter, and a chain of onsets, each near the last, is one storm."""
    fresh = [onset("c", 500), onset("a", 0), onset("b", 250)]
    assert shape(grouped(fresh, fresh, [], RULES)) == [(None, "10.1.2.0/24", ["a", "b", "c"])]


def test_a_storm_does_not_go_on_for_ever():
    """Single faults of an hour, each near the last, are no storm: after a quarter of an hour another group begins."""
    fresh = [onset(f"c{at:04}", at) for at in range(0, 3_600, 200)]
    groups = grouped(fresh, fresh, [], RULES)
    assert [len(one.joining) for one in groups] == [5, 5, 5, 3]
    known = Group("old", TroubleKind.CONNECTION, EVERYWHERE, 0.0, 800.0)
    assert shape(grouped(fresh[4:6], fresh, [known], RULES)) == [
        ("old", EVERYWHERE, ["c0800"]),
        (None, "10.1.2.0/24", ["c1000"]),
    ]


def test_a_camera_that_waits_for_its_first_turn_is_no_trouble():
    """As long as what it was promised is not broken."""
    status = CameraStatus("c", "c", SightState.BLIND, "why", AT, None, None, Fault.NOT_VISITED, waits=True)
    assert troubles_of([status], {}, AT) == []
    (found,) = troubles_of([replace(status, waits=False)], {}, AT)
    assert found.kind is TroubleKind.TURNS


def test_what_begins_later_is_another_group():
    """Beyond five minutes it is a new happening, also beside a group that there is."""
    known = Group("old", TroubleKind.CONNECTION, "10.1.2.0/24", 0.0, 0.0)
    fresh = [onset("a", 299), onset("b", 700)]
    assert shape(grouped(fresh, fresh, [known], RULES)) == [
        ("old", "10.1.2.0/24", ["a"]),
        (None, "10.1.2.0/24", ["b"]),
    ]


@pytest.mark.parametrize(("networks", "places"), [(4, 4), (5, 1)])
def test_many_networks_at_once_are_one_group(networks, places):
    """From five networks on what fails is above them all."""
    fresh = [onset(f"c{n}", n, place=f"10.1.{n}.0/24") for n in range(networks)]
    groups = grouped(fresh, fresh, [], RULES)
    assert len(groups) == places
    assert (groups[0].place == EVERYWHERE) is (places == 1)


def test_a_storm_is_known_by_those_that_have_not_lasted_yet():
    """The first camera that has lasted opens the alert for all networks that fail with it; they join it later."""
    likely = [onset(f"c{n}", n, place=f"10.1.{n}.0/24") for n in range(6)]
    (group,) = grouped(likely[:1], likely, [], RULES)
    assert (group.place, len(group.joining)) == (EVERYWHERE, 1)
    known = Group("wide", group.kind, group.place, group.first_onset_mono_s, group.last_onset_mono_s)
    assert shape(grouped(likely[1:], likely, [known], RULES)) == [
        ("wide", EVERYWHERE, ["c1", "c2", "c3", "c4", "c5"])
    ]


def test_kinds_do_not_mix():
    """A wrong clock and a dead line of one network are two groups; this machine's own are one, whenever they begin."""
    fresh = [
        onset("a", 0),
        onset("a", 0, TroubleKind.CLOCK),
        onset("b", 0, TroubleKind.SET_ASIDE, EVERYWHERE),
        onset("c", 90_000, TroubleKind.SET_ASIDE, EVERYWHERE),
    ]
    assert [len(group.joining) for group in grouped(fresh, fresh, [], RULES)] == [1, 1, 2]
