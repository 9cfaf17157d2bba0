# SPDX-License-Identifier: AGPL-3.0-or-later
"""How well a share that was counted is known."""

import math

Z_95 = 1.959963984540054  # two-sided 95 % of the normal distribution


def wilson(hits: int, of: int) -> tuple[float, float] | None:
    """Return the 95 % Wilson score interval of a proportion (Wilson 1927); None for nothing out of nothing."""
    if of == 0:
        return None
    share, z2 = hits / of, Z_95**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z_95 * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2)) / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)
