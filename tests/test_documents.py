# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the documents list is what there is: configuration fields, metrics, commands."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from api.metrics import ApiMetrics
from gridwatch.app.addresses import ResolverFields
from gridwatch.app.cameras import CameraFields, CrowdFields, LocationFields, TrafficFields, ZoneFields
from gridwatch.app.cli import app
from gridwatch.app.live import Shard
from gridwatch.app.metrics import PipelineCollector
from gridwatch.app.settings import (
    ApiSettings,
    AttentionSettings,
    CanarySettings,
    EvidenceSettings,
    InferenceSettings,
    IngestSettings,
    ModelSettings,
    QueueSettings,
    Settings,
)
from gridwatch.app.shard_spec import ShardSpec
from models.service.device import Device
from models.service.inference import InferenceService

DOCS = Path(__file__).parents[1] / "docs"


def test_every_configuration_field_is_described():
    """Each field of gridwatch.yaml and cameras.yaml stands in docs/cameras.md, and has a sentence in the code."""
    text = (DOCS / "cameras.md").read_text(encoding="utf-8")
    models: tuple[type[BaseModel], ...] = (
        CameraFields, ResolverFields, CrowdFields, LocationFields, TrafficFields, ZoneFields, Settings, QueueSettings, ApiSettings, ModelSettings, IngestSettings,
        EvidenceSettings, InferenceSettings, AttentionSettings, CanarySettings,
    )  # fmt: skip
    missing = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        if not re.search(rf"[`.]{name}[`.]", text)
        or not (field.description or isinstance(field.default, BaseModel))
    ]
    assert [name for name in missing if not name.endswith((".location", ".crowd", ".traffic"))] == []


def test_every_metric_is_described():
    """Each metric that /metrics can show stands in docs/metrics.md."""
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    registry = CollectorRegistry()
    ApiMetrics(registry)
    service = InferenceService(Device(_Network(), _Clock()), _Clock())
    shard = Shard(None, service, _Book(), _Clock(), ShardSpec(0))
    registry.register(PipelineCollector(shard, lambda: (0, 0.0)))
    names = {metric.name for metric in registry.collect()}
    assert [name for name in sorted(names) if name not in text] == []


class _Book:
    refused_evidence = 0


class _Network:
    batch = 1


class _Clock:
    def mono_s(self) -> float:
        return 0.0


def test_every_command_is_described():
    """Each command stands in the README or under docs/."""
    texts = (DOCS.parent / "README.md").read_text(encoding="utf-8") + "".join(
        path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")
    )
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    for group in app.registered_groups:
        names += [f"{group.name} {command.name}" for command in group.typer_instance.registered_commands]
    assert [name for name in names if f"gridwatch {name}" not in texts] == []
