# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clocks, identifiers and detections."""

import uuid
from datetime import UTC, datetime, timedelta

import numpy as np

from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.errors import InputError
from gridwatch.core.ids import uuid7

START = datetime(2026, 5, 1, tzinfo=UTC)


def test_a_manual_clock_never_goes_back():
    """An earlier time is ignored; wall time and monotonic time move together."""
    clock = ManualClock(START)
    clock.advance_to(5)
    clock.advance_to(3)
    clock.advance(1)
    assert clock.mono_s() == 6
    assert clock.now() == START + timedelta(seconds=6)


def test_uuid7_has_its_version_and_sorts_by_time():
    """RFC 9562: version 7, variant 10, milliseconds in front."""
    early, late = uuid7(START), uuid7(START + timedelta(milliseconds=1))
    assert uuid.UUID(early).version == 7
    assert uuid.UUID(early).variant == uuid.RFC_4122
    assert early < late
    assert uuid7(START) != early


def test_detections_are_picked_by_class_and_confidence():
    """Arrays stay aligned, the density stays with them."""
    density = np.ones((2, 2), np.float32)
    found = Detections(
        np.zeros((3, 4), np.float32),
        np.array([0.9, 0.5, 0.2], np.float32),
        np.array([ObjectClass.PERSON, ObjectClass.FIRE, ObjectClass.PERSON]),
        np.full(3, np.nan, np.float32),
        density,
    )
    people = found.of(ObjectClass.PERSON, at_least=0.25)
    assert len(people) == 1
    assert people.density is density
    assert len(Detections.none()) == 0


def test_an_input_error_names_file_and_line():
    """One clear sentence: where, then what."""
    assert str(InputError("is wrong", file="a.yaml", line=3)) == "a.yaml:3: is wrong"
    assert str(InputError("is wrong", file="a.yaml")) == "a.yaml: is wrong"
