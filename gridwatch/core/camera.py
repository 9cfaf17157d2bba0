# SPDX-License-Identifier: AGPL-3.0-or-later
"""A configured camera, where its streams are, and what is known of its sight."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone


@dataclass(frozen=True, slots=True)
class Location:
    """Where a camera stands. `crs` is WGS84, CGCS2000, GCJ02 or BD09; degrees; `accuracy_m` metres."""

    lon: float
    lat: float
    crs: str = "WGS84"
    kind: str = "camera"
    accuracy_m: float = 30.0


@dataclass(frozen=True, slots=True)
class Resolver:
    """Tells a stream's URL when asked, at every opening: play addresses of video platforms expire.

    Attributes:
        http: asked with GET; its answer is the URL, as text or as the field `url` of a JSON object.
        command: a program and its arguments; the first line that it prints is the URL. Used where there is no `http`.
        timeout_s: the longest that is waited for it.
    """

    http: SecretUrl | None = None
    command: tuple[str, ...] = ()
    timeout_s: float = 10.0

    @property
    def host(self) -> str:
        """Who is asked: the host and port, or the program."""
        return self.http.host if self.http is not None else self.command[0]


Address: TypeAlias = SecretUrl | Resolver


class Transport(StrEnum):
    """How RTP travels: inside the RTSP connection, or beside it in datagrams."""

    TCP = "tcp"
    UDP = "udp"


class EvidenceFrom(StrEnum):
    """When the main stream of a camera with two streams is read."""

    ON_INCIDENT = "main-on-incident"  # from the incident on; before it the clip is the sub-stream's
    ALWAYS = "main-always"  # never decoded, but kept: where the time before an incident matters


class Watch(StrEnum):
    """Whether somebody wants a camera to be watched."""

    ON = "on"
    OFF = "off"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True)
class Camera:
    """A configured camera. `camera_id` is opaque (a 20-digit GB/T 28181 id is usual).

    Attributes:
        url: its main stream.
        sub_url: its smaller second stream, for looking; None: the main stream serves for everything.
        recorder: the recorder or gateway that it is reached through, which bounds sessions; its host where nothing is said.
        patrols: it is a dome that turns by itself: away from its home picture it is elsewhere, not broken.
        watch: off and maintenance are not connected to.
        run_mode: of its incidents, where it differs from the machine's (a test camera: `exercise`).
    """

    camera_id: str
    name: str
    url: Address
    zones: tuple[Zone, ...] = ()
    location: Location | None = None
    address_text: str = ""
    place: str = "street"
    sub_url: Address | None = None
    evidence: EvidenceFrom = EvidenceFrom.ON_INCIDENT
    transport: Transport = Transport.TCP
    recorder: str = ""
    patrols: bool = False
    watch: Watch = Watch.ON
    run_mode: str | None = None

    @property
    def looked_at(self) -> Address:
        """The stream that is looked at."""
        return self.sub_url or self.url

    @property
    def reached_through(self) -> str:
        """What bounds connections and sessions: the recorder, or the host."""
        return self.recorder or self.looked_at.host

    def zones_for(self, kind: Kind) -> tuple[Zone, ...]:
        """Return the zones in which `kind` is looked for."""
        return tuple(zone for zone in self.zones if kind in zone.kinds)


class SightState(StrEnum):
    """Whether a camera sees. Silence is never taken for safety: not seeing is a state of its own."""

    SEEING = "seeing"
    DEGRADED = "degraded"
    BLIND = "blind"
    OFF = "off"
    MAINTENANCE = "maintenance"


class Fault(StrEnum):
    """What is wrong with a camera's sight. The value names it on the wire and in metrics."""

    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    SILENT = "silent"  # the connection stands, and nothing or no picture comes
    BROKEN_OFF = "broken_off"  # the other side ended the stream
    DAMAGED = "damaged"  # what comes cannot be decoded
    UNSUPPORTED = "unsupported"  # neither H.264 nor H.265
    UNANSWERED = "unanswered"  # pictures come; the network answers none of them
    FROZEN = "frozen"  # the same picture again and again, the encoder still running
    BLACK = "black"
    WASHED_OUT = "washed_out"
    COVERED = "covered"
    BLURRED = "blurred"
    MOVED = "moved"
    ELSEWHERE = "elsewhere"  # a dome away from its home picture
    SLOW = "slow"  # too few pictures
    NOT_VISITED = "not_visited"  # more cameras than the machine can watch: its turn has not come
    NOT_DECODED = "not_decoded"  # more cameras than the machine can decode: its key frames are replaced before their turn
    SET_ASIDE = "set_aside"  # its stream crashed the decoder twice
    SWITCHED_OFF = "switched_off"


class Note(StrEnum):
    """What is said of a camera beside its state: it sees, but not all that it should serve for."""

    CLOCK_WRONG = "clock_wrong"  # its clock is more than 2 s off ours: records carry our time
    RING_SHORT = (
        "ring_short"  # memory holds no clip, or no two groups of pictures: a clip may lack the time before
    )
    NO_KEY_FRAMES = "no_key_frames"  # every picture has to be decoded
    SUB_STREAM_AWAY = "sub_stream_away"  # its second stream cannot be had: the main stream is looked at
    MAIN_STREAM_AWAY = (
        "main_stream_away"  # its main stream cannot be had when it is wanted: evidence is the second one's
    )
    NOT_FOLLOWED = "not_followed"  # it should be followed, and the machine follows others already


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """What is known of one camera's sight now.

    Attributes:
        state: see `SightState`.
        reason: why, in one short phrase; empty while it sees.
        since: when the state began, UTC.
        last_look_at: when the last look that the network answered was captured; None if none yet.
        last_look_age_s: its age now, seconds; None if none yet.
        fault: what is wrong; None while it sees.
        notes: what is said beside the state.
        clock_offset_s: the camera's clock minus ours; None while it is not known.
        zones_suspended: the picture is not the one that zones were drawn on.
        waits: it waits for its first turn, and the time by which that is promised has not passed: nothing is wrong with it.
    """

    camera_id: str
    name: str
    state: SightState
    reason: str
    since: datetime
    last_look_at: datetime | None
    last_look_age_s: float | None
    fault: Fault | None = None
    notes: tuple[Note, ...] = ()
    clock_offset_s: float | None = None
    zones_suspended: bool = False
    waits: bool = False
