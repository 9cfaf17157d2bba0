# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alembic's folder of migrations; `events.stores.migrate` runs them."""
