# SPDX-License-Identifier: AGPL-3.0-or-later
"""Boxes and polygons in normalised picture coordinates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.geometry import (
    WHOLE_PICTURE,
    bottom_centre,
    box_area,
    centre,
    inside,
    iou,
    polygon_area,
    polygon_problem,
)

L_SHAPE = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.4), (0.4, 0.4), (0.4, 1.0), (0.0, 1.0))
share = st.floats(0, 1, width=32)


@pytest.mark.parametrize(
    ("point", "expected"),
    [((0.2, 0.2), True), ((0.9, 0.2), True), ((0.2, 0.9), True), ((0.7, 0.7), False), ((1.2, 0.2), False)],
)
def test_points_inside_a_polygon_that_is_not_convex(point, expected):
    """The even-odd rule holds for an L."""
    assert bool(inside(np.array([point]), L_SHAPE)[0]) is expected


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), min_size=1, max_size=20))
def test_everything_in_the_picture_is_inside_the_whole_picture(points):
    """The default zone leaves nothing out."""
    assert inside(np.array(points), WHOLE_PICTURE).all()


@given(share, share, share, share)
def test_a_box_with_area_overlaps_itself_wholly(x0, y0, x1, y1):
    """IoU of a box with itself is 1, and never outside 0 to 1."""
    box = np.array([[min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]], np.float32)
    overlap = float(iou(box, box)[0, 0])
    assert 0 <= overlap <= 1.0001
    if float(box_area(box)[0]) > 1e-6:
        assert overlap == pytest.approx(1, abs=1e-3)


def test_iou_of_known_boxes():
    """Two halves that share a quarter of the picture."""
    a = np.array([[0, 0, 0.5, 1]], np.float32)
    b = np.array([[0.25, 0, 0.75, 1], [0.6, 0, 1, 1]], np.float32)
    assert iou(a, b) == pytest.approx(np.array([[1 / 3, 0]]), abs=1e-6)


def test_anchor_points():
    """People stand on the middle of their box's lower edge."""
    box = np.array([[0.2, 0.1, 0.4, 0.5]], np.float32)
    assert bottom_centre(box) == pytest.approx(np.array([[0.3, 0.5]]))
    assert centre(box) == pytest.approx(np.array([[0.3, 0.3]]))


@pytest.mark.parametrize(
    ("points", "part"),
    [
        ([[0, 0], [1, 1]], "at least 3"),
        ([[0, 0], [2, 0], [1, 1]], "outside 0 to 1"),
        ([[0, 0, 0], [1, 0], [1, 1]], "[x, y]"),
        ([[0, 0], [0.5, 0.5], [1, 1]], "no area"),
    ],
)
def test_a_bad_polygon_is_named(points, part):
    """Each mistake has a phrase of its own."""
    assert part in (polygon_problem(points) or "")


def test_a_good_polygon_has_no_problem_and_its_area():
    """A square of half the side covers a quarter."""
    square = [[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]]
    assert polygon_problem(square) is None
    assert abs(polygon_area(square)) == pytest.approx(0.25)
