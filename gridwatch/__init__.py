# SPDX-License-Identifier: AGPL-3.0-or-later
"""gridwatch: cameras to incidents in a city's grids; core, application root and simulator."""
