# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API works on; wiring passes the real rooms in. Opens and owns nothing itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from api.signing import Signer
from events.evidence import EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook
from events.reading import AlertReader
from events.tokens import TokenBook
from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock
from gridwatch.core.ports import CameraControl, LeavingClips, LiveView


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything the API may call.

    Attributes:
        alerts: the store, for reading.
        book: for decisions and the case system's answers only; the API records nothing else.
        evidence: where stored pictures and clips lie.
        live: what every camera sees now.
        ready: reasons for not being ready; empty when ready. Called in a thread.
        backlog: messages waiting for the case queue, and the age of the oldest in seconds. Called in a thread.
        tokens: who may call; without any, whoever calls from this machine.
        signer: signs sessions and links.
        control: takes what a person says of a camera; None where nothing watches any.
        leaving: makes clips that may leave; None where nothing makes any.
        registry: the process's metrics; the API adds its own to it.
        places: the configured cameras by id, as they are now.
    """

    alerts: AlertReader
    book: IncidentBook
    evidence: EvidenceStore
    live: LiveView
    grids: Grids
    clock: Clock
    tokens: TokenBook
    signer: Signer
    registry: CollectorRegistry
    ready: Callable[[], list[str]]
    backlog: Callable[[], tuple[int, float]]
    run_mode: str
    control: CameraControl | None = None
    leaving: LeavingClips | None = None
    places: Callable[[], Mapping[str, Camera]] = dict
