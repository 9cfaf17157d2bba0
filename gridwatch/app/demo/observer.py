# SPDX-License-Identifier: AGPL-3.0-or-later
"""Watches a running demo from outside, as its users would: the API over HTTP, the queue with a plain Redis client."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import redis

from gridwatch.core.errors import GridwatchError

POLL_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Seen:
    """When (unix time) something was first seen of one incident; `alert` is its newest JSON."""

    alert: dict[str, Any]
    on_api: float
    on_stream: float | None = None
    still_problem: str | None = "not on the stream"
    closed: float | None = None
    confirmed: bool = False


@dataclass(slots=True)
class Observer:
    """Polls the alerts and the stream; `confirm` decides as an operator would."""

    base_url: str
    queue_url: str
    incidents: dict[str, Seen] = field(default_factory=dict)
    coverage: dict[str, Any] = field(default_factory=dict)
    _last_entry: str = "0-0"
    _on_stream: dict[str, tuple[float, str]] = field(default_factory=dict)

    def poll(self) -> None:
        """Ask the API and the stream once."""
        for alert in self._alerts():
            seen = self.incidents.setdefault(alert["id"], Seen(alert, time.time()))
            seen.alert = alert
            if alert["case"] == "closed" and seen.closed is None:
                seen.closed = time.time()
        self._read_stream()
        for incident_id, seen in self.incidents.items():
            if seen.on_stream is None and incident_id in self._on_stream:
                seen.on_stream, data = self._on_stream[incident_id]
                seen.still_problem = self._still_problem(json.loads(data))

    def confirm(self, seen: Seen) -> None:
        """Confirm an alert over HTTP, with the revision that was seen."""
        answer = httpx.post(
            f"{self.base_url}/api/v1/alerts/{seen.alert['id']}/confirm",
            json={"note": "demo"},
            headers={"If-Match": f'"{seen.alert["revision"]}"'},
            timeout=POLL_TIMEOUT_S,
        )
        if answer.is_error:
            raise GridwatchError(
                f"confirming {seen.alert['id']} was refused: {answer.status_code} {answer.text}"
            )
        seen.confirmed = True

    def wait_until_seeing(self, cameras: int, timeout_s: float) -> bool:
        """Wait until all cameras are seen; tell whether they are."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                self._alerts()
                if self.coverage.get("seeing", 0) >= cameras:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        return False

    def _alerts(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.base_url}/api/v1/alerts", params={"limit": 200}, timeout=POLL_TIMEOUT_S)
        answer.raise_for_status()
        page = answer.json()
        self.coverage = page["coverage"]
        found: list[dict[str, Any]] = page["items"]
        return found

    def _read_stream(self) -> None:
        with redis.Redis.from_url(self.queue_url, decode_responses=True) as client:
            entries = client.xrange("gridwatch:cases", f"({self._last_entry}", "+")
        for entry, fields in entries:
            self._last_entry = entry
            self._on_stream.setdefault(fields["subject"], (time.time(), fields["data"]))

    def _still_problem(self, data: dict[str, Any]) -> str | None:
        """Fetch the picture that a message names; return what is wrong with it, or None."""
        stills = [media for media in data["media"] if media["kind"] == "still"]
        if not stills:
            return "the message names no still"
        answer = httpx.get(self.base_url + stills[0]["uri"], timeout=POLL_TIMEOUT_S)
        if answer.is_error:
            return f"the still is not served ({answer.status_code})"
        same = hashlib.sha256(answer.content).hexdigest() == stills[0]["sha256"]
        return None if same else "the still's SHA-256 is not the message's"
