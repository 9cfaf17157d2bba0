# SPDX-License-Identifier: AGPL-3.0-or-later
"""The paths under /api/v1 and the technical ones. All routes are `def`, so that they run in the thread pool."""
