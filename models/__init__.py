# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights and the engines that run them: looks to detections."""
