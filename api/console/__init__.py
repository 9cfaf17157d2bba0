# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operators' page. Calls the very operations that the routes call; every asset comes with the packages."""
