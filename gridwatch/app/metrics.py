# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prometheus metrics of the running pipeline: read from its parts when scraped, bounded labels. Listed in docs/metrics.md."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from events.relay import Relay, RelayState
from gridwatch.app.live import Shard
from gridwatch.core.camera import SightState
from models.service.asking import Outcome
from models.service.device import DeviceState
from models.service.inference import InferenceService


class PipelineCollector(Collector):
    """What the shard has done, what its cameras see, and what waits for the case system."""

    def __init__(self, shard: Shard, backlog: Callable[[], tuple[int, float]]) -> None:
        self._shard, self._backlog = shard, backlog

    def collect(self) -> Iterator[Metric]:
        """Return every metric now."""
        yield self._cameras()
        yield from self._ages()
        yield from self._flow()
        yield from self._following()
        yield from _inference(self._shard.service)
        count, oldest_s = self._backlog()
        yield GaugeMetricFamily(
            "gridwatch_queue_backlog_messages", "Messages the case queue has not got yet", value=count
        )
        yield GaugeMetricFamily(
            "gridwatch_queue_backlog_oldest_seconds", "Age of the oldest of them", value=oldest_s
        )
        waiting = self._shard.recorder.waiting
        yield GaugeMetricFamily(
            "gridwatch_recordings_waiting", "Findings that the store has not got yet", value=waiting
        )

    def _cameras(self) -> Metric:
        states = [status.state for status in self._shard.statuses()]
        family = GaugeMetricFamily("gridwatch_cameras", "Cameras by state of sight", labels=["state"])
        for state in SightState:
            family.add_metric([state.value], states.count(state))
        return family

    def _ages(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "gridwatch_look_age_seconds", "Age of a camera's last answered look", labels=["camera"]
        )
        for status in self._shard.statuses():
            if status.last_look_age_s is not None:
                family.add_metric([status.camera_id], status.last_look_age_s)
        yield family

    def _flow(self) -> Iterator[Metric]:
        counts = self._shard.counts
        named = {
            "gridwatch_key_frames_decoded": ("Key frames decoded", counts.decoded),
            "gridwatch_key_frames_damaged": ("Key frames that could not be decoded", counts.damaged),
            "gridwatch_key_frames_replaced": (
                "Key frames dropped for a newer one",
                self._shard.to_decode.replaced,
            ),
            "gridwatch_looks": ("Looks that were decided: answered or unknown", counts.looks),
            "gridwatch_looks_replaced": ("Looks dropped for a newer one", self._shard.service.replaced),
            "gridwatch_looks_unknown": ("Looks that got no answer", counts.unknown),
            "gridwatch_findings": ("Findings that the detectors made", counts.findings),
            "gridwatch_recordings_dropped": ("Recordings that found no room", self._shard.recorder.dropped),
        }
        troubles = self._shard.troubles()
        named |= {
            "gridwatch_stream_failures": (
                "Streams that could not be opened or ended",
                troubles["stream_failures"],
            ),
            "gridwatch_feeds_abandoned": (
                "Demuxers that never returned and were left behind",
                troubles["feeds_abandoned"],
            ),
            "gridwatch_evidence_refused": (
                "Stills and clips that could not be stored",
                troubles["evidence_refused"],
            ),
        }
        for name, (text, value) in named.items():
            yield CounterMetricFamily(name, text, value=value)

    def _following(self) -> Iterator[Metric]:
        follow, troubles = self._shard.follow, self._shard.troubles()
        text = "Cameras that are decoded picture by picture because something may be happening"
        yield GaugeMetricFamily("gridwatch_cameras_followed", text, value=follow.following)
        numbers = {
            "gridwatch_follow_refused": (
                "Times that a camera got no place among them, or lost it",
                follow.refused,
            ),
            "gridwatch_follow_overflows": (
                "Times that packets of a camera decoded picture by picture were left out",
                troubles["follow_overflows"],
            ),
            "gridwatch_groups_refused": (
                "Groups of pictures in memory that were not decoded: too many at once",
                follow.refused_groups,
            ),
            "gridwatch_burst_looks_dropped": (
                "Looks of bursts without room, and looks replaced while a burst was answered",
                troubles["burst_looks_dropped"],
            ),
        }
        for name, (text, value) in numbers.items():
            yield CounterMetricFamily(name, text, value=value)


class QueueCollector(Collector):
    """How the relay stands with the case queue, and what it did."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def collect(self) -> Iterator[Metric]:
        """Return every metric now."""
        state = GaugeMetricFamily("gridwatch_queue_state", "How the relay stands", labels=["state"])
        for one in RelayState:
            state.add_metric([one.value], one is self._relay.state)
        yield state
        counts, trimmed = self._relay.counts, self._relay.trimmed
        numbers = {
            "gridwatch_queue_messages_sent": ("Messages that were appended", counts.appended),
            "gridwatch_queue_messages_given_up": ("Messages that no queue takes", counts.buried),
            "gridwatch_queue_entries_trimmed": ("Entries removed from the streams", counts.trimmed),
            "gridwatch_queue_marks_taken_over": ("Marks of an earlier epoch taken over", counts.taken_over),
        }
        for name, (text, value) in numbers.items():
            yield CounterMetricFamily(name, text, value=value)
        text = "Messages that were given up and not replayed"
        yield GaugeMetricFamily("gridwatch_dead_letters", text, value=self._relay.dead_letters())
        length = self._relay.stream_length
        if length is not None:
            text = "Entries of the stream of messages, when it was looked at last"
            yield GaugeMetricFamily("gridwatch_queue_stream_entries", text, value=length)
        if trimmed is not None:
            text = "1 while the stream is longer than queue.max_length because readers have not acknowledged more"
            yield GaugeMetricFamily("gridwatch_queue_trim_held", text, value=bool(trimmed.held_by))


def _inference(service: InferenceService) -> Iterator[Metric]:
    counts, device = service.counts, service.device
    unanswered = CounterMetricFamily(
        "gridwatch_looks_unanswered", "Looks that got no answer, by reason", labels=["reason"]
    )
    for outcome in Outcome:
        if outcome is not Outcome.ANSWERED:
            unanswered.add_metric([outcome.value], counts.outcomes[outcome])
    yield unanswered
    text = "Age of looks that were answered, when they had been judged"
    buckets, total_s = list(counts.ages.buckets()), counts.ages.total_s
    yield HistogramMetricFamily(
        "gridwatch_look_decided_age_seconds", text, buckets=buckets, sum_value=total_s
    )
    state = GaugeMetricFamily("gridwatch_inference_device", "What computes the looks", labels=["state"])
    answers = DeviceState.LOST if device.lost_for_s() > 0 else device.state
    for one in DeviceState:
        state.add_metric([one.value], one is answers)
    yield state
    working, stuck = service.workers
    gauges = {
        "gridwatch_looks_waiting": ("Looks that wait for their turn", service.waiting),
        "gridwatch_inference_workers": ("Workers that compute looks", working),
        "gridwatch_inference_workers_stuck": ("Workers that were replaced and have not come back", stuck),
    }
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(name, text, value=value)
    numbers = {
        "gridwatch_inference_batches": ("Questions to the network, of one look or several", counts.batches),
        "gridwatch_looks_discarded": ("Answers that came after their look had timed out", counts.discarded),
        "gridwatch_looks_not_delivered": ("Answers that could not be handed on", counts.failed_deliveries),
        "gridwatch_inference_workers_replaced": ("Workers that did not come back", counts.workers_replaced),
        "gridwatch_inference_openings": ("Times that a lost device or its fallback opened", device.reopened),
        "gridwatch_inference_openings_failed": ("Times that it did not", device.failed_openings),
    }
    for name, (text, value) in numbers.items():
        yield CounterMetricFamily(name, text, value=value)
