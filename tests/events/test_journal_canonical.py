# SPDX-License-Identifier: AGPL-3.0-or-later
"""Canonical bytes: the fast way and the library's write every value alike."""

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from events.alerts import Decision
from events.journal import canonical

NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(JSON)
@example({"ﬀ": 1, "\U0001f600": 2, "a": 3})  # sorted by UTF-16 units the second comes first
@example([1.0, -0.0, 3.0e15, 0.1, -2.5, 9007199254740991.0])  # no exponent anywhere: the fast way
@example([1.0, -0.0, 1e21, 1e-7, 1e16, 0.1, 123456789012345680.0, 1e-6, 9007199254740993.0])
@example('\x00\x1f\x7f\u2028"\\\b\f\n\r\t/疑似')
@example({"b": {"z": 1, "y": (1, 2)}, "a": Decision.CONFIRMED, "": True})
def test_canonical_bytes_are_those_of_rfc_8785(value):
    """Whatever JSON can say comes out as the reference library writes it."""
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    "value",
    [2**53, float("nan"), float("inf"), "\ud800", {"\udc00": 1}, {1: 2}, object(), {1, 2}],
    ids=["integer", "nan", "infinity", "surrogate", "surrogate-key", "number-key", "object", "set"],
)
def test_what_json_cannot_say_is_refused(value):
    """What RFC 8785 has no bytes for raises, also deep inside."""
    for inside in (value, [value], {"a": {"b": value}}):
        with pytest.raises((rfc8785.CanonicalizationError, UnicodeEncodeError)):
            canonical(inside)
