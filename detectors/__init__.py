# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detections to findings: claims over time, pure and deterministic."""
