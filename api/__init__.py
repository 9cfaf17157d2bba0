# SPDX-License-Identifier: AGPL-3.0-or-later
"""Serves HTTP: alerts, cameras, health, metrics and the console."""
