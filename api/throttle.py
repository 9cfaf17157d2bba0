# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often one address may bring something that admits nobody. It slows guessing down; that no token can be guessed is its length's doing."""

import ipaddress
import threading
from collections import OrderedDict
from typing import Final

from gridwatch.core.clock import Clock

ATTEMPTS: Final = 5
REFILL_S: Final = 10.0
_ADDRESSES: Final = 1_024
_IPV6_SITE_BITS: Final = 64


class Throttle:
    """Five failures at once, then one in ten seconds, for each address. Safe for several threads.

    Remembers the addresses that failed last, a bounded number of them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # failures not made good yet, as of when
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Return how long `address` has to wait before its next attempt; 0 where it need not."""
        with self._lock:
            over = self._now_spent(_group(address)) - (ATTEMPTS - 1)
        return max(0.0, over * REFILL_S)

    def failed(self, address: str) -> None:
        """Count a failure of `address`."""
        group = _group(address)
        with self._lock:
            spent = min(self._now_spent(group) + 1, float(ATTEMPTS))
            self._spent[group] = (spent, self._clock.mono_s())
            self._spent.move_to_end(group)
            while len(self._spent) > _ADDRESSES:
                self._spent.popitem(last=False)

    def _now_spent(self, group: str) -> float:
        spent, at_mono_s = self._spent.get(group, (0.0, 0.0))
        return max(0.0, spent - (self._clock.mono_s() - at_mono_s) / REFILL_S)


def _group(address: str) -> str:
    """Return the address; of IPv6 the site, because one machine has as many addresses as it likes."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _IPV6_SITE_BITS), strict=False))
    return str(parsed)
