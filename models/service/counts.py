# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the service has done since it started: counts, and how old looks were when they were decided."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.service.asking import Outcome

AGES_S = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
)  # upper bounds of the histogram; above the last is its own


@dataclass(slots=True)
class Ages:
    """A histogram of ages in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(AGES_S) + 1))
    total_s: float = 0.0

    def add(self, age_s: float) -> None:
        """Count one age."""
        self.counts[bisect_left(AGES_S, age_s)] += 1
        self.total_s += age_s

    def buckets(self) -> Sequence[tuple[str, int]]:
        """Return (upper bound, count up to it) as Prometheus has it."""
        total, found = 0, []
        for bound, count in zip((*AGES_S, "+Inf"), self.counts, strict=True):
            total += count
            found.append((str(bound), total))
        return found


@dataclass(slots=True)
class ServiceCounts:
    """Written under the service's lock.

    Attributes:
        outcomes: looks by what became of them.
        ages: of looks that were answered, at the end of their judging.
        batches: questions to the network; with `outcomes` it gives the mean batch.
        discarded: answers that came after their look had timed out.
        workers_replaced: workers that never came back and were left behind.
        failed_deliveries: answers that could not be handed on; nothing but a mistake in the program makes one.
    """

    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    ages: Ages = field(default_factory=Ages)
    batches: int = 0
    discarded: int = 0
    workers_replaced: int = 0
    failed_deliveries: int = 0
