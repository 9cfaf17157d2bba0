# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much more often than others a camera deserves a visit: by its place, the hour, and what was confirmed there.

A weight, not a forecast: nothing here looks at a picture or at a person. The table was chosen by judgement, not
measured; docs/attention.md shows it. Weights are bounded, so that the least camera still gets its turn.
"""

import math
from collections.abc import Mapping

LEAST, MOST = 0.25, 4.0
HOURS = 24


def _by_hour(usual: float, peak: float, *hours: range) -> tuple[float, ...]:
    peaks = {hour % HOURS for some in hours for hour in some}
    return tuple(peak if hour in peaks else usual for hour in range(HOURS))


BY_PLACE: Mapping[str, tuple[float, ...]] = {
    "street": _by_hour(1.0, 1.0),
    "market": _by_hour(1.0, 1.5, range(6, 20)),
    "square": _by_hour(1.0, 2.0, range(18, 23)),
    "school_gate": _by_hour(1.0, 2.0, range(7, 9), range(16, 19)),
    "road": _by_hour(1.0, 1.5, range(7, 10), range(17, 20)),
    "fast_road": _by_hour(1.5, 2.0, range(7, 10), range(17, 20)),
    "forest_edge": _by_hour(1.5, 2.0, range(10, 19)),
    "yard": _by_hour(1.0, 1.5, range(20, 30)),
}


def by_hour(place: str) -> tuple[float, ...]:
    """Return the weight of a place for each local hour, 24 numbers; a place that is not in the table is a street."""
    return BY_PLACE.get(place, BY_PLACE["street"])


def by_history(confirmed: int) -> float:
    """Return the weight of a camera on which operators confirmed so many incidents in the last 30 days: 1 to 4.

    It doubles with the first and grows with the logarithm: one that happened tells much, a tenth little more.
    """
    return min(MOST, 1.0 + math.log2(1 + max(0, confirmed)))


def bounded(risk: float) -> float:
    """Return `risk` between `LEAST` and `MOST`: no camera is forgotten, and none takes everything."""
    return min(MOST, max(LEAST, risk))
