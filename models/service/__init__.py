# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inference service: which camera's look a device computes next, and what becomes of those that it cannot (docs/adr/0008)."""
