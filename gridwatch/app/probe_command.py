# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch probe`: what a camera's stream is, over TCP and over UDP, whether it has a smaller one, and what to configure.

One connection after the other, and few of them: a camera that refuses a password is asked once, or it locks the account.
"""

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import typer
import yaml
from rich.progress import Progress

from events.registry import Registry
from gridwatch.app.addresses import address_of, address_to_try, has_secret
from gridwatch.app.bars import progress_bars
from gridwatch.app.cameras import CameraFields, load_documents
from gridwatch.app.probe_advice import advice
from gridwatch.app.register import fields_of
from gridwatch.app.settings import IngestSettings, Settings, load_settings
from gridwatch.app.storage import open_store
from gridwatch.core.camera import Address, Transport
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact
from ingest.errors import SourceError, UnauthorizedError
from ingest.frame import DecodedFrame
from ingest.probe import ProbeBounds, StreamFacts, probe

SHORT: Final = ProbeBounds(keys=1, at_least_s=0.0, at_most_s=6.0)  # whether a way works at all
SMALLER: Final = ProbeBounds(keys=2, at_least_s=1.0, at_most_s=8.0)
GROUP_WITHIN_S: Final = ProbeBounds().at_most_s  # so long a second key frame is waited for
PICTURE_WIDTH: Final = 1920
LOGIN: Final = "${CAM_USER}:${CAM_PASSWORD}"
_TELLS_EVERY_S: Final = 0.1
# How makers name the smaller stream beside the main one, in path and query.
_SMALLER_NAMES: Final = (
    (re.compile(r"(?i)(/streaming/channels/\d*)01\b"), r"\g<1>02"),
    (re.compile(r"\bsubtype=0\b"), "subtype=1"),
    (re.compile(r"(?i)/main(?=/|$)"), "/sub"),
    (re.compile(r"(?i)/video1\b"), "/video2"),
    (re.compile(r"(?i)/stream1\b"), "/stream2"),
    (re.compile(r"(?i)/stream0\b"), "/stream1"),
    (re.compile(r"\bav0_0\b"), "av0_1"),
)


@dataclass(slots=True)
class Probed:
    """What was found.

    Attributes:
        tried: why each transport does not work, "" where it does.
        sub_url: the smaller stream as a file would name it; None where none was found.
    """

    tried: dict[Transport, str] = field(default_factory=dict)
    main: StreamFacts | None = None
    picture: DecodedFrame | None = None
    sub: StreamFacts | None = None
    sub_url: str | None = None


@dataclass(frozen=True, slots=True)
class _Target:
    """What is probed: an address, as a file names it ("" for a camera of the register), and a second one to try."""

    shown: str
    address: Address
    written: str
    subs: tuple[tuple[Address, str], ...]


def probe_command(
    target: str, config: Path | None, *, as_json: bool, picture: Path | None, seconds: float
) -> None:
    """Probe a URL or a camera of the configuration, and print what it is and what to configure.

    Raises:
        InputError: it cannot be had over either transport, or there is no such camera; the sentence shows no password.
    """
    settings = load_settings(config)[0] if config else None
    aim = _target(target, settings)
    with progress_bars() as bars:
        found = _probe(aim, max(1.0, seconds), bars)
    if found.main is None:
        raise InputError(
            f"{aim.shown} cannot be had: "
            + "; ".join(f"over {way.upper()}: {why}" for way, why in found.tried.items())
        )
    advised = advice(
        found.main, found.sub, found.tried, (settings.ingest if settings else IngestSettings()).ring_mib
    )
    if as_json:
        typer.echo(json.dumps(_as_json(aim, found, advised), ensure_ascii=False))
    else:
        for line in _lines(aim, found, advised):
            typer.echo(line)
    if picture is not None:
        _keep(picture, found.picture)


def _target(target: str, settings: Settings | None) -> _Target:
    if "://" in target:
        address = address_to_try(target)
        guesses = tuple((address_to_try(url), url) for url in smaller_urls(target))
        return _Target(str(address), address, target, guesses)
    if settings is None:
        raise InputError(
            f"{redact(target)!r} is no rtsp:// URL; name a configuration (-c) to probe one of its cameras"
        )
    return _configured(target, settings)


def _configured(camera_id: str, settings: Settings) -> _Target:
    fields, problem = fields_of(_document(camera_id, settings))
    if fields is None:
        raise InputError(f"camera {camera_id!r} cannot be used: {problem}")
    try:
        address, subs = address_of(fields.url), _subs(fields)
    except ValueError as error:  # nothing is sent in place of a login that is not set here
        raise InputError(f"camera {camera_id!r}: {error}") from None
    return _Target(f"camera {camera_id} at {address.host}", address, "", subs)


def _subs(fields: CameraFields) -> tuple[tuple[Address, str], ...]:
    """Return where a camera's smaller stream is; where it may be, if nothing is said of one."""
    if fields.sub_url is not None:
        return ((address_of(fields.sub_url), ""),)
    guesses = smaller_urls(fields.url) if isinstance(fields.url, str) else []
    return tuple((address_of(url), url) for url in guesses)


def _document(camera_id: str, settings: Settings) -> Mapping[str, Any]:
    """Return what the register says of a camera, or else the file."""
    known: Mapping[str, Mapping[str, Any]] = {}
    with contextlib.suppress(InputError), open_store(settings) as store:  # there may be none yet
        known = {one.camera_id: one.document for one in Registry(store, SystemClock()).cameras()[1]}
    if camera_id not in known:
        known = load_documents(settings.cameras)
    if camera_id not in known:
        raise InputError(f"there is no camera {camera_id!r}; `gridwatch cameras list` shows them")
    return known[camera_id]


def smaller_urls(url: str) -> list[str]:
    """Return where the smaller stream of a main one may be, the likeliest first, at most two."""
    parts = urlsplit(url)
    rest = urlunsplit(("", "", parts.path, parts.query, ""))
    guesses = [pattern.sub(name, rest, count=1) for pattern, name in _SMALLER_NAMES if pattern.search(rest)][
        :1
    ]
    if parts.path.strip("/") and not parts.query:
        guesses.append(parts.path.rstrip("/") + "/sub")
    start = url[: len(url) - len(rest)] if url.endswith(rest) else f"{parts.scheme}://{parts.netloc}"
    return [start + guess for guess in dict.fromkeys(guesses)]


def _probe(aim: _Target, seconds: float, bars: Progress) -> Probed:
    found = Probed()
    whole = ProbeBounds(at_least_s=min(6.0, seconds), at_most_s=seconds, group_s=GROUP_WITHIN_S)
    for transport in (Transport.TCP, Transport.UDP):
        bounds = whole if found.main is None else SHORT
        try:
            facts, picture = _read(aim.address, transport, bounds, bars, f"over {transport.upper()}")
        except UnauthorizedError as error:  # asked again, some cameras lock the account
            raise InputError(f"{aim.shown}: {error.reason}") from None
        except SourceError as error:
            found.tried[transport] = error.reason
            continue
        found.tried[transport] = ""
        if found.main is None:
            found.main, found.picture = facts, picture
    if found.main is not None:
        _find_smaller(aim, found, bars)
    return found


def _find_smaller(aim: _Target, found: Probed, bars: Progress) -> None:
    way = Transport.UDP if found.tried[Transport.TCP] else Transport.TCP
    for address, written in aim.subs:
        try:
            facts, _ = _read(address, way, SMALLER, bars, "a smaller stream")
        except UnauthorizedError:  # at the next address it would be refused again
            return
        except SourceError:
            continue
        if found.main is not None and 0 < facts.width < found.main.width:
            found.sub, found.sub_url = facts, written
            return


def _read(
    address: Address, transport: Transport, bounds: ProbeBounds, bars: Progress, what: str
) -> tuple[StreamFacts, DecodedFrame | None]:
    longest_s = max(bounds.at_most_s, bounds.group_s)
    task = bars.add_task(what, total=longest_s)
    shown_s = 0.0

    def told(seconds: float) -> None:  # every packet: the bar is asked to move a few times a second only
        nonlocal shown_s
        if seconds - shown_s >= _TELLS_EVERY_S:
            shown_s = seconds
            bars.update(task, completed=round(seconds, 1))

    try:
        return probe(address, SystemClock(), transport, bounds, told)
    finally:
        bars.update(task, completed=longest_s)


def _keep(file: Path, picture: DecodedFrame | None) -> None:
    if picture is None:
        raise InputError("there is no picture to keep: no key frame could be decoded")
    try:
        file.write_bytes(picture.jpeg(PICTURE_WIDTH))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=file) from error


def _as_json(aim: _Target, found: Probed, advised: list[str]) -> Mapping[str, Any]:
    return {
        "probed": aim.shown,
        "transports": {way.value: why or "works" for way, why in found.tried.items()},
        "main": asdict(found.main) if found.main else None,
        "sub": asdict(found.sub) if found.sub else None,
        "advice": advised,
        "configuration": _configuration(aim, found),
    }


def _configuration(aim: _Target, found: Probed) -> Mapping[str, Any]:
    """Return the fields of cameras.yaml that were found out, with the login named, not written."""
    fields: dict[str, Any] = {}
    if aim.written:
        fields["url"] = _without_login(aim.written)
    if found.sub is not None and found.sub_url:
        fields["sub_url"] = _without_login(found.sub_url)
    if found.tried.get(Transport.TCP):
        fields["transport"] = Transport.UDP.value
    return fields


def _without_login(url: str) -> str:
    """Return a URL as a file may hold it: with a login that is named, not written."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    rest = urlunsplit(("", "", parts.path, parts.query, ""))
    if (
        not at or "@" in rest or not has_secret(url)
    ):  # with an @ further on, what stands before it may be a password
        return url if login and not has_secret(url) else redact(url)
    return f"{parts.scheme}://{LOGIN}@{host}{redact(rest)}"


def _lines(aim: _Target, found: Probed, advised: list[str]) -> list[str]:
    main = found.main
    lines = [aim.shown, *(f"  {way.upper():<12}{why or 'works'}" for way, why in found.tried.items())]
    lines += [] if main is None else ["main stream", *_described(main)]
    lines += [] if found.sub is None else ["smaller stream", *_described(found.sub)]
    lines += ["to do", *(f"  - {sentence}" for sentence in advised)] if advised else ["nothing to do"]
    fields = _configuration(aim, found)
    if fields:
        told = yaml.safe_dump(dict(fields), allow_unicode=True, sort_keys=False, width=4096)
        lines += ["in cameras.yaml", *(f"  {line}" for line in told.splitlines())]
    return lines


def _described(facts: StreamFacts) -> list[str]:
    profile = " ".join(part for part in (facts.profile, facts.level and f"level {facts.level}") if part)
    shown = {
        "codec": f"{facts.codec} {profile}".strip(),
        "size": f"{facts.width}×{facts.height}",
        "pictures": f"{_number(facts.fps)} a second (it says {_number(facts.announced_fps)})",
        "bit rate": f"{_number(facts.bit_rate_bps and facts.bit_rate_bps / 1e6)} Mbit/s",
        "key frames": _keys_described(facts),
        "B-frames": "yes" if facts.b_frames else "no",
        "clock": "not reported" if facts.clock_offset_s is None else f"{facts.clock_offset_s:+.2f} s to ours",
        "first key": "none"
        if facts.first_picture_s is None
        else f"{facts.first_picture_s:.2f} s after the first byte",
    }
    return [f"  {name:<12}{value}" for name, value in shown.items()]


def _keys_described(facts: StreamFacts) -> str:
    refreshes = f"; {facts.refreshes} more only begin a gradual refresh" if facts.refreshes else ""
    if facts.gop_s is None or facts.gop_pictures is None:
        return f"{facts.keys} in {facts.seconds:.0f} s{refreshes}"
    shortest, usual, longest = facts.gop_s
    without = f"; {facts.keys_without_sets} without parameter sets" if facts.keys_without_sets else ""
    return f"every {usual:.2f} s ({shortest:.2f} to {longest:.2f}), {facts.gop_pictures[1]:g} pictures{without}{refreshes}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")
