# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a shard runs, and what it has done: plain data beside `live`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ingest.decoding_page import DecodingPage
from ingest.follow_budget import FollowBudget


@dataclass(slots=True)
class Counts:
    """What the shard has done since it started; written by its threads, read by metrics.

    `left`: failures and left-behind threads of feeds, and overflows of followed streams, of cameras that are gone.
    """

    decoded: int = 0
    damaged: int = 0
    looks: int = 0
    unknown: int = 0
    findings: int = 0
    left_failures: int = 0
    left_abandoned: int = 0
    left_overflows: int = 0


@dataclass(frozen=True, slots=True)
class ShardSpec:
    """How a shard runs.

    Attributes:
        decoders: shared decoder threads.
        decode_on: "cpu" or "cuda".
        pre_roll_s, post_roll_s: a clip's seconds before and after the alert.
        beat: called every second to say that the shard lives.
        page: names the cameras that are being decoded to whoever outlives a crash of the decoder.
        follow: who is followed, as the cameras' wiring has it; read by metrics alone.
    """

    decoders: int = 2
    decode_on: str = "cpu"
    pre_roll_s: float = 5.0
    post_roll_s: float = 5.0
    beat: Callable[[], None] = lambda: None
    page: DecodingPage = field(default_factory=DecodingPage.create)
    follow: FollowBudget = field(default_factory=partial(FollowBudget, 0))
