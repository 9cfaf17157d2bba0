# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the API counts about itself, in the registry that wiring passes in. Labels are bounded and present from the start."""

import time
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.guard import is_console
from events.alerts import Decision

OUTCOMES: Final = ("done", "conflict", "illegal", "failed")
_CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
_ELSEWHERE: Final = ("console", "other")
_BUCKETS_S: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class ApiMetrics:
    """The API's metrics. One per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "gridwatch_http_requests",
            "Answers, by operation and class.",
            ("operation", "status"),
            registry=registry,
        )
        self.request_s = Histogram(
            "gridwatch_http_request_seconds",
            "Time to the first byte of an answer.",
            ("operation",),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self.decisions = Counter(
            "gridwatch_decisions",
            "Operators' decisions, by outcome.",
            ("decision", "outcome"),
            registry=registry,
        )
        self.listeners = Gauge(
            "gridwatch_feed_listeners", "Streams and consoles that listen.", registry=registry
        )
        self.listeners_dropped = Counter(
            "gridwatch_feed_listeners_dropped",
            "Listeners dropped because they were too slow.",
            registry=registry,
        )
        self.feed_failures = Counter(
            "gridwatch_feed_failures", "Reads of the journal that failed.", registry=registry
        )
        self.first_end_s = Gauge(
            "gridwatch_token_first_end_seconds",
            "In how many seconds the first valid token ends; NaN where none is valid.",
            registry=registry,
        )
        for decision in (Decision.CONFIRMED, Decision.DISMISSED):
            for outcome in OUTCOMES:
                self.decisions.labels(decision.value, outcome)

    def expect(self, operations: Iterable[str]) -> None:
        """Show every operation from the start, so that absence is visible."""
        for operation in (*operations, *_ELSEWHERE):
            self.request_s.labels(operation)
            for status in _CLASSES:
                self.requests.labels(operation, status)


class Measured:
    """ASGI middleware that counts answers by operation."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics, operations: frozenset[str]) -> None:
        self._app, self._metrics, self._operations = app, metrics, operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count the answer's first message."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(scope, message["status"], time.perf_counter() - began_s)
            await send(message)

        await self._app(scope, receive, counted)

    def _count(self, scope: Scope, status: int, took_s: float) -> None:
        operation = self._operation(scope)
        self._metrics.requests.labels(operation, f"{status // 100}xx").inc()
        self._metrics.request_s.labels(operation).observe(took_s)

    def _operation(self, scope: Scope) -> str:
        endpoint: Any = scope.get("endpoint")
        name = getattr(endpoint, "__name__", "")
        if name in self._operations:
            return name
        return "console" if is_console(scope["path"]) else "other"
