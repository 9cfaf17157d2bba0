# SPDX-License-Identifier: AGPL-3.0-or-later
"""Engines behind one port; the only place that imports an inference library."""
