# SPDX-License-Identifier: AGPL-3.0-or-later
"""Findings to incidents to case messages: grids, journal, evidence, relay, replies."""
