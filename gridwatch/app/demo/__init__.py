# SPDX-License-Identifier: AGPL-3.0-or-later
"""`./scripts/demo`: the whole chain on simulated cameras, and the check that proves it. Not part of a real system."""
