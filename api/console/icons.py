# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small drawings for the kinds, as inline SVG."""

from types import MappingProxyType
from typing import Final

from gridwatch.core.zone import Kind

_PATHS: Final = MappingProxyType(
    {
        Kind.FIRE: '<path d="M12 2c1 4 5 5.6 5 10.6A5.2 5.2 0 0 1 12 18a5.2 5.2 0 0 1-5-5.4C7 10 8.7 9 9 6.6c1.3.6 1.9 1.6 2 2.8C12 7.600 12.500 5 12 2Z"/>'
        '<path d="M6 21.200h12" stroke-width="2" stroke="currentColor"/>',
        Kind.SMOKE: '<path d="M7.500 17a4 4 0 0 1-.4-8A5.400 5.400 0 0 1 17.600 8.200 4.400 4.400 0 0 1 17 17Z"/>'
        '<path d="M8 20.500h8" stroke-width="2" stroke="currentColor"/>',
        Kind.CROWD: '<circle cx="12" cy="7.500" r="3"/><circle cx="5.500" cy="9.500" r="2.300"/><circle cx="18.500" cy="9.500" r="2.300"/>'
        '<path d="M6.700 20c0-4.400 2-7.400 5.300-7.400s5.300 3 5.300 7.400ZM1.700 19c0-3.400 1.300-5.800 3.700-5.800.6 0 1 .1 1.400.3-1 1.600-1.500 3.500-1.500 5.500ZM22.300 19c0-3.400-1.300-5.800-3.700-5.800-.6 0-1 .1-1.400.3 1 1.600 1.500 3.500 1.500 5.500Z"/>',
        Kind.TRAFFIC: '<path d="M5.600 6.200A2 2 0 0 1 7.500 5h9a2 2 0 0 1 1.900 1.200L20 10.600a2 2 0 0 1 1 1.700V19h-3v-2H6v2H3v-6.700a2 2 0 0 1 1-1.700ZM6.400 10h11.200l-1.100-3h-9Z" fill-rule="evenodd"/>',
    }
)


def kind_icon(kind: Kind) -> str:
    """Return the drawing of a kind, in the colour of the text around it."""
    return f'<svg class="gw-icon" viewBox="0 0 24 24" fill="currentColor" aria-hidden="true">{_PATHS[kind]}</svg>'
