# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the figures were taken on: the CPU's instructions that matter, how busy it was, versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
FLAGS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni"),
    "avx512_bf16": ("avx512_bf16",),
    "amx": ("amx_tile",),
}
PACKAGES = (
    "torch",
    "ultralytics-opencv-headless",
    "openvino",
    "onnxruntime",
    "nncf",
    "opencv-python-headless",
    "numpy",
)
LIMITS = (
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
)  # with AVX2 and avx2, OpenVINO and torch use no AVX-512
FAST, PLAIN = (
    3.2,
    2.0,
)  # how many times as fast as `.pt` is asked for, with AVX-512 and VNNI, and with AVX2 alone


def describe() -> dict[str, Any]:
    """Return it as JSON would have it."""
    lines = _CPUINFO.read_text("utf-8").splitlines() if _CPUINFO.exists() else []
    seen = set(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), []))
    model = next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "features": {name: any(flag in seen for flag in flags) for name, flags in FLAGS.items()},
        "held_to": {name: os.environ[name] for name in LIMITS if name in os.environ},
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def asked_of(about: dict[str, Any]) -> float:
    """Return the ratio to `.pt` that this CPU has to reach."""
    features = about["features"]
    return FAST if features["avx512"] and features["vnni"] and not about["held_to"] else PLAIN


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
