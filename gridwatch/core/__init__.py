# SPDX-License-Identifier: AGPL-3.0-or-later
"""The leaf that every room shares: words, shapes, time and ports. Imports nothing of the other rooms."""
