# SPDX-License-Identifier: AGPL-3.0-or-later
"""The incident book's policy as this machine's configuration says it."""

from importlib.metadata import version

from events.policy import KeepDays, Policy
from gridwatch.app.settings import Settings


def policy_of(settings: Settings, model_sha256: str | None = None) -> Policy:
    """Return the policy; `model_sha256` is of the network that runs, None where none does."""
    return Policy(
        source_id=settings.source_id,
        run_mode=settings.run_mode,
        push=dict(settings.queue.push),
        keep_days=KeepDays(**settings.evidence.keep_days.model_dump()),
        version=version("gridwatch"),
        model_sha256=model_sha256,
    )
