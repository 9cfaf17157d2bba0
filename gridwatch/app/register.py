# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the register in the store to the cameras that are watched, at the start and whenever somebody changes one.

A camera whose document cannot be used any more does not disappear: it stands there, off, with the reason.
"""

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import structlog
from pydantic import ValidationError

from events.registry import CameraVersion, Changes, Registry
from gridwatch.app.cameras import CameraFields, camera_of, flaws_of, load_documents, unset_variables
from gridwatch.app.settings import Settings
from gridwatch.core.camera import Camera, Watch
from gridwatch.core.errors import InputError
from gridwatch.core.redact import SecretUrl

log = structlog.get_logger()

FILE_ACTOR = "configuration"
_STANDS_FOR_UNSET = "1"  # of an address that is never connected to
_UNSET: Final = "environment variable "

Unserved: TypeAlias = Callable[[Camera], str]  # why the network cannot serve a camera; empty where it can


@dataclass(frozen=True, slots=True)
class Registered:
    """The cameras of a register at one revision.

    Attributes:
        cameras: all of them, by id; one that cannot be used is there too, off.
        unusable: why, by the id of each camera that cannot be used.
    """

    revision: int
    cameras: tuple[Camera, ...]
    unusable: Mapping[str, str]


def read_registry(
    registry: Registry, known: Registered | None = None, unserved: Unserved = lambda _camera: ""
) -> Registered:
    """Return the cameras of a register as they are now.

    Args:
        registry: of the open store.
        known: what was read before: a camera whose document cannot be used any more stays as it was there, and is named.
        unserved: tells why the network cannot serve a camera: one that is to be watched is off then, and named.

    Raises:
        StoreError: the store does not answer.
    """
    revision, versions = registry.cameras()
    before = {camera.camera_id: camera for camera in known.cameras} if known else {}
    cameras: list[Camera] = []
    unusable: dict[str, str] = {}
    for version in versions:
        camera, problem = _camera(version)
        if problem:
            unusable[version.camera_id] = problem
            camera = before.get(version.camera_id, camera)
        elif problem := _unserved(camera, unserved):
            unusable[version.camera_id] = problem
            camera = replace(camera, watch=Watch.OFF)
        cameras.append(camera)
    return Registered(revision, tuple(cameras), unusable)


def follow_configured(registry: Registry, file: Path) -> Changes:
    """Take the configured cameras.yaml into the register; may be done at every start, and while gridwatch runs.

    Where the file cannot be used, or is not there, a register that has cameras goes on with them: a running system keeps
    the last good ones.

    Raises:
        InputError: it cannot be used, and the register is empty.
        StoreError: the store does not answer.
    """
    try:
        changes = registry.follow(load_documents(file), FILE_ACTOR)
    except InputError as error:
        if registry.revision() == 0:
            raise
        log.error(
            "cameras_not_read", file=str(file), problem=str(error), means="the register's cameras go on"
        )
        return Changes()
    counts = {name: len(getattr(changes, name)) for name in ("added", "changed", "removed", "kept")}
    if any(counts.values()):
        log.info("cameras_followed", file=str(file), **counts)
    return changes


def may_have_cameras(settings: Settings) -> bool:
    """Tell whether a register is there that may have cameras; nothing is opened for it."""
    return settings.store is not None or (settings.state / "gridwatch.db").is_file()


def unserved_of(fields: CameraFields, unserved: Unserved) -> str:
    """Return why the network cannot serve a camera as it is described; empty where it can, or is not to watch it.

    What its address needs of the environment may be missing here: that says nothing of the network.
    """
    try:
        return _unserved(camera_of(fields, unset=_STANDS_FOR_UNSET), unserved)
    except ValueError:
        return ""


def is_of_this_environment(problem: str) -> bool:
    """Tell whether what is wrong with a camera is a variable that is not set here: where gridwatch runs it may be."""
    return problem.startswith(_UNSET)


def person() -> str:
    """Return who gives a command on this machine, for the record."""
    try:
        return f"command:{getpass.getuser()}"
    except (OSError, KeyError):  # a user without a name, as in some containers
        return "command"


def fields_of(document: Mapping[str, Any]) -> tuple[CameraFields | None, str]:
    """Return what a document says, and what is wrong with it in one sentence: one of the two."""
    try:
        fields = CameraFields.model_validate(document)
    except ValidationError as error:
        return None, sentence_of(error)
    flaws = flaws_of(fields)
    if flaws:
        where, text = flaws[0]
        return None, f"{'.'.join(map(str, where))}: {text}"
    return fields, ""


def sentence_of(error: ValidationError) -> str:
    """Return every mistake of a document, without the values: they may be secrets."""
    said = []
    for details in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in details["loc"])
        said.append(f"{path}: {details['msg'].removeprefix('Value error, ')}")
    return "; ".join(said)


def _camera(version: CameraVersion) -> tuple[Camera, str]:
    """Return the camera, and what is wrong with it; then it is off, and nothing connects to it.

    With one that is not to be watched nothing is wrong: what it lacks is missed when it is switched on.
    """
    camera, problem = _made(version)
    said = version.document.get("watch")
    if problem and said in (Watch.OFF, Watch.MAINTENANCE):
        return replace(camera, watch=Watch(said)), ""
    return camera, problem


def _unserved(camera: Camera, unserved: Unserved) -> str:
    return unserved(camera) if camera.watch is Watch.ON else ""


def _made(version: CameraVersion) -> tuple[Camera, str]:
    fields, problem = fields_of(version.document)
    if fields is None:
        return _nameplate(version), problem
    unset = unset_variables(fields)
    try:
        camera = camera_of(fields, unset=_STANDS_FOR_UNSET if unset else None)
    except ValueError as error:
        return _nameplate(version), str(error)
    if unset and camera.watch is Watch.ON:
        return replace(camera, watch=Watch.OFF), f"{_UNSET}{unset[0][1]} is not set"
    return camera, ""


def _nameplate(version: CameraVersion) -> Camera:
    """Return a camera of which nothing can be used but that it is there."""
    name = version.document.get("name")
    return Camera(
        camera_id=version.camera_id,
        name=name if isinstance(name, str) and name else version.camera_id,
        url=SecretUrl(""),
        watch=Watch.OFF,
    )
