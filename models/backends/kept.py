# SPDX-License-Identifier: AGPL-3.0-or-later
"""What back ends were timed at, kept between starts in one small JSON file. Losing it costs a measurement, no more."""

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FILE = "engines.json"
MOST_KEPT = 16  # networks and library versions; the oldest go
MOST_BYTES = 1 << 16
TRYING = "trying"  # instead of milliseconds, while a plan is timed: where it stays, the process ended or hung meanwhile
_LIBRARIES = ("openvino", "onnxruntime", "torch")
_CPU_LINES = ("model name", "flags", "Features")


class KeptTimings:
    """The file in a folder. Unreadable, foreign or damaged, it is as if it were empty."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def read(self, key: str) -> dict[str, float]:
        """Return milliseconds by plan; empty if nothing is known under this key."""
        ms = self._all().get(key)
        if not isinstance(ms, dict):
            return {}
        return {
            plan: float(value) for plan, value in ms.items() if isinstance(value, int | float) and value > 0
        }

    def unfinished(self, key: str) -> frozenset[str]:
        """Return the plans whose timing began under this key and never ended."""
        ms = self._all().get(key)
        return (
            frozenset(plan for plan, value in ms.items() if value == TRYING)
            if isinstance(ms, dict)
            else frozenset()
        )

    def write(self, key: str, ms: dict[str, float], trying: Iterable[str] = ()) -> None:
        """Keep milliseconds by plan; the file is replaced as a whole. A folder that takes nothing is no error.

        Args:
            key: see `key_of`.
            ms: what was measured.
            trying: plans that are being timed, or whose timing never ended.
        """
        known: dict[str, float | str] = {**ms, **dict.fromkeys(trying, TRYING)}
        kept = {name: value for name, value in self._all().items() if name != key}
        newest = dict(list(kept.items())[-(MOST_KEPT - 1) :]) | {key: known}
        beside = self._file.with_name(f"{FILE}.{os.getpid()}")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps(newest, indent=1), encoding="utf-8")
            beside.replace(self._file)

    def _all(self) -> dict[str, Any]:
        try:
            if self._file.stat().st_size > MOST_BYTES:
                return {}
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def key_of(hashes: Iterable[str], plans: Iterable[str]) -> str:
    """Return what a timing holds for: these files and plans, these versions of the libraries, this CPU."""
    said = [list(hashes), list(plans), [_version(name) for name in _LIBRARIES], _cpu()]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _cpu() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return [platform.machine(), platform.processor()]
    return sorted({line for line in lines if line.startswith(_CPU_LINES)})
