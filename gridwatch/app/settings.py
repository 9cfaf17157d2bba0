# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration of one machine: gridwatch.yaml. Cameras stand in a file of their own (`cameras`)."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator

from api.tls import Tls
from gridwatch.app.environment import from_environment
from gridwatch.app.yaml_border import Document, Strict, load_yaml, validate
from gridwatch.core.zone import Kind

GB_ID_DIGITS = 20
EMBEDDED = "embedded"


def _digits(value: str) -> str:
    if len(value) != GB_ID_DIGITS or not value.isdigit():
        raise ValueError("must have 20 digits (GB/T 28181, type 502 for a video analysis system)")
    return value


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
        raise ValueError("must be a host name without port, such as gridwatch.example.cn")
    return value


HostName = Annotated[str, AfterValidator(_host_name)]


def _queue_url(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    if url == EMBEDDED:
        return secret
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be `embedded`, or begin with redis://, rediss:// or unix://")
    return SecretStr(from_environment(url))


def _store_url(secret: SecretStr | None) -> SecretStr | None:
    if secret is None:
        return None
    url = secret.get_secret_value()
    if not url.startswith(("sqlite:///", "postgresql")):
        raise ValueError("must begin with sqlite:/// or postgresql")
    return SecretStr(from_environment(url))


class QueueSettings(Strict):
    """The case queue."""

    url: Annotated[SecretStr, AfterValidator(_queue_url)] = SecretStr(EMBEDDED)
    """`embedded` runs a Valkey of our own under `state`; or redis://, rediss:// or unix:// of any Redis. `${NAME}` reads the environment."""
    stream: str = "gridwatch:cases"
    """Stream that incidents are appended to."""
    replies: str = "gridwatch:case-replies"
    """Stream that the case system answers on."""
    max_length: int | None = Field(default=None, ge=1000)
    """Entries that each stream keeps at most; what a consumer group has not acknowledged stays all the same (docs/case-queue.md). Nothing is removed where nothing is said."""
    push: dict[Kind, Literal["on_open", "on_confirm"]] = Field(default_factory=dict)
    """When an incident of a kind is pushed; `on_open` (as 待核) where nothing is said."""


class ApiSettings(Strict):
    """The HTTP side."""

    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback only while a token is valid (docs/door.md)."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port; 0 takes a free one."""
    names: list[HostName] = Field(default=[], max_length=32)
    """Host names, without port, by which browsers and programs call this server, beside its addresses."""
    certificate: Path | None = None
    """PEM file with the certificate, and those that it hangs on, for HTTPS. HTTP where nothing is said."""
    key: Path | None = None
    """PEM file with the certificate's key, without a password."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "ApiSettings":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key are named together, or neither")
        return self

    @property
    def tls(self) -> Tls | None:
        """What HTTPS is served with."""
        return None if self.certificate is None or self.key is None else Tls(self.certificate, self.key)


class ModelSettings(Strict):
    """The network and its engine."""

    network: str | None = None
    """Name in the catalogue; its `default` where nothing is said."""
    catalogue: Path | None = None
    """Another catalogue file; the committed one where nothing is said."""
    threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    """Looks at the same time, one core each."""
    backend: Literal["auto", "openvino", "onnxruntime", "torch"] = "auto"
    """What computes. `auto` takes the GPU where there is one, else what a short timing at the first start found fastest."""
    precision: Literal["auto", "f32", "int8", "f16"] = "auto"
    """How exactly. `auto` is f16 on a GPU, and what the catalogue says of the network on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where."""


class InferenceSettings(Strict):
    """The inference service: what becomes of looks when there are too many, and when the device fails."""

    staleness_s: float = Field(default=5.0, ge=0.5, le=60)
    """A look that cannot be answered before it is so old is not computed: its answer is "unknown"."""
    timeout_s: float = Field(default=10.0, ge=1, le=20)
    """A look that is computed for so long is "unknown", and its worker is replaced if it does not come back."""
    batch_deadline_ms: float = Field(default=20.0, ge=0, le=1000)
    """On a GPU a look waits at most so long for others to be computed with; a quarter of `staleness_s` at most."""
    cpu_fallback: bool = True
    """Whether the CPU computes, more slowly, while a GPU is lost."""
    retry_s: float = Field(default=60.0, ge=1, le=3600)
    """The longest pause between two attempts to open a lost device."""

    @field_validator("batch_deadline_ms")
    @classmethod
    def _leaves_time(cls, value: float, given: ValidationInfo) -> float:
        staleness_s = given.data.get("staleness_s")  # missing where it is itself a mistake
        if staleness_s is not None and value / 1000 > staleness_s / 4:
            raise ValueError(
                f"must be a quarter of staleness_s at most ({staleness_s * 250:g} ms): looks would go stale while they wait for a batch"
            )
        return value


class IngestSettings(Strict):
    """Streams and decoding."""

    decoders: int = Field(default=2, ge=1, le=64)
    """Shared decoder threads."""
    look_every_s: float = Field(default=4.0, gt=0, le=8)
    """A camera on which nothing changes is looked at at least this often, or at each key frame where those are rarer; seconds (8 at most: detectors need looks)."""
    ring_s: float = Field(default=20.0, ge=4, le=300)
    """Seconds of packets kept per camera; what a clip needs at least."""
    ring_mib: float = Field(default=8.0, gt=0, le=1024)
    """Hard cap of that memory per camera, MiB. Where a clip does not fit, the camera's state says `ring_short`."""
    follow_at_most: int = Field(default_factory=lambda: 2 * (os.cpu_count() or 1), ge=0, le=1024)
    """Cameras that are decoded picture by picture at the same time, because something may be happening there; 0: key frames are all that is decoded."""
    decode_on: Literal["cpu", "cuda"] = "cpu"
    """Where pictures are decoded; `cuda` falls back to the CPU where it does not work, and says so."""
    connects_per_host: int = Field(default=8, ge=1, le=256)
    """Connections that are being opened at one host at the same time."""
    connects_per_s: float = Field(default=20.0, gt=0, le=1000)
    """Connections that are begun in a second, to all hosts together."""
    sessions: dict[str, Annotated[int, Field(ge=1)]] = Field(default={}, max_length=1000)
    """Sessions that a recorder allows at once, by the `recorder` of its cameras (or by host:port)."""


class AttentionSettings(Strict):
    """What this machine may spend on looking. Where it is less than all cameras need, they take turns (轮巡)."""

    connections: int | None = Field(default=None, ge=1)
    """Cameras that are connected at the same time; all where nothing is said."""
    key_frames_per_s: float | None = Field(default=None, gt=0)
    """Key frames that are decoded in a second."""
    looks_per_s: float | None = Field(default=None, gt=0)
    """Looks that the network is given in a second."""
    mbit_per_s: float | None = Field(default=None, gt=0)
    """Megabits a second from all cameras together."""

    @property
    def bounded(self) -> bool:
        """Whether there is any bound."""
        return any((self.connections, self.key_frames_per_s, self.looks_per_s, self.mbit_per_s))


class CanarySettings(Strict):
    """A test camera whose scene travels the whole way as an exercise, so that a way that broke is noticed."""

    every_min: float | None = Field(default=None, ge=2, le=1440)
    """Minutes from one exercise to the next; none where nothing is said."""
    within_s: float = Field(default=60.0, ge=10, le=600)
    """Seconds in which its message must have reached the case queue."""


class KeepDaysSettings(Strict):
    """For how many days evidence is kept after it was stored, by what was decided; one number stands for all three."""

    confirmed: int = Field(default=90, ge=1, le=36_500)
    """Days for what an operator confirmed."""
    pending: int = Field(default=90, ge=1, le=36_500)
    """Days for what nobody decided about."""
    dismissed: int = Field(default=30, ge=1, le=36_500)
    """Days for what an operator dismissed."""

    @model_validator(mode="before")
    @classmethod
    def _one_for_all(cls, given: object) -> object:
        if isinstance(given, int) and not isinstance(given, bool):
            return dict.fromkeys(("confirmed", "pending", "dismissed"), given)
        return given


class EvidenceSettings(Strict):
    """Stills and clips."""

    max_gib: float = Field(default=20.0, gt=0)
    """Cap of the evidence folder, GiB."""
    pre_roll_s: float = Field(default=5.0, ge=0, le=60)
    """Seconds of clip before the alert."""
    post_roll_s: float = Field(default=5.0, ge=0, le=60)
    """Seconds of clip after the alert."""
    keep_days: KeepDaysSettings = KeepDaysSettings()
    """When evidence is deleted by age. Not while a case is open; at the cap dismissed evidence goes earlier."""


class Settings(Strict):
    """gridwatch.yaml."""

    source_id: Annotated[str, AfterValidator(_digits)] = "51011700005020000001"
    """This system's 20-digit id in messages."""
    run_mode: Literal["actual", "exercise", "test"] = "actual"
    """What incidents are: only `actual` opens real cases."""
    state: Path = Path("run")
    """Folder for the database, evidence and the embedded queue."""
    store: Annotated[SecretStr | None, AfterValidator(_store_url)] = None
    """SQLAlchemy URL; SQLite under `state` where nothing is said. `${NAME}` reads the environment."""
    cameras: Path = Path("cameras.yaml")
    """The cameras, see docs/cameras.md."""
    grids: Path | None = None
    """GeoJSON with the city's grids."""
    queue: QueueSettings = QueueSettings()
    api: ApiSettings = ApiSettings()
    models: ModelSettings = ModelSettings()
    inference: InferenceSettings = InferenceSettings()
    ingest: IngestSettings = IngestSettings()
    attention: AttentionSettings = AttentionSettings()
    canary: CanarySettings = CanarySettings()
    evidence: EvidenceSettings = EvidenceSettings()

    @field_validator("evidence")
    @classmethod
    def _fits_the_ring(cls, value: EvidenceSettings, given: ValidationInfo) -> EvidenceSettings:
        ingest = given.data.get("ingest")  # missing where it is itself a mistake
        wanted_s = value.pre_roll_s + value.post_roll_s
        if ingest is not None and wanted_s > ingest.ring_s:
            raise ValueError(
                f"pre_roll_s and post_roll_s are {wanted_s:g} s together, more than ingest.ring_s keeps ({ingest.ring_s:g} s)"
            )
        return value


def load_settings(file: Path) -> tuple[Settings, Document]:
    """Read gridwatch.yaml; paths in it are relative to its folder.

    Raises:
        ConfigError: with every mistake, each with file and line.
    """
    document = load_yaml(file)
    settings = validate(Settings, document)
    here = file.resolve().parent
    return settings.model_copy(
        update={
            "state": here / settings.state,
            "cameras": here / settings.cameras,
            "grids": here / settings.grids if settings.grids else None,
            "api": settings.api.model_copy(
                update={
                    name: here / file
                    for name, file in (("certificate", settings.api.certificate), ("key", settings.api.key))
                    if file
                }
            ),
            "models": settings.models.model_copy(
                update={"catalogue": here / settings.models.catalogue if settings.models.catalogue else None}
            ),
        }
    ), document
