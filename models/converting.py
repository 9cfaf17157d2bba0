# SPDX-License-Identifier: AGPL-3.0-or-later
"""An Ultralytics `.pt` as ONNX, made by a process of its own.

A `.pt` is a pickle: reading it runs whatever code is in it (docs/adr/0004). The process gets a scratch folder as its
home and none of this one's environment, so no passwords that stand there; it is no sandbox: it has the caller's rights.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from models.errors import WeightsError

NEEDED = ("torch", "ultralytics", "onnx")
TIMEOUT_S = 600.0
MOST_CHARS = 200  # of what it says
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")
QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "OMP_NUM_THREADS": "1"}


def to_onnx(pickled: bytes, scratch: Path) -> bytes:
    """Return the ONNX form of a `.pt`, which is written and loaded in `scratch`.

    Raises:
        WeightsError: a package is missing, or it cannot be converted.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise WeightsError(
            f"reading a .pt needs {', '.join(missing)}: install gridwatch with the extra `train`, or export the network to "
            "ONNX where it was trained"
        )
    home = scratch / "home"
    home.mkdir()
    source, out = scratch / "network.pt", scratch / "network.onnx"
    try:
        source.write_bytes(pickled)
        done = subprocess.run(
            [sys.executable, "-m", "models.training.convert", source.name, out.name],
            cwd=scratch,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode == 0:
            return out.read_bytes()
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"converting it took longer than {TIMEOUT_S:.0f} seconds") from error
    except OSError as error:
        raise WeightsError(f"it cannot be converted: {error.strerror}") from error
    raise WeightsError(f"Ultralytics cannot convert it: {_last_line(done.stderr, done.returncode)}")


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    here = str(Path(__file__).resolve().parents[1])
    folders = {"HOME": str(home), "YOLO_CONFIG_DIR": str(home), "MPLCONFIGDIR": str(home), "PYTHONPATH": here}
    return {**kept, **QUIET, **folders}


def _last_line(said: bytes, code: int) -> str:
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    text = re.sub(r"^ERROR\W+", "", lines[-1])[:MOST_CHARS] if lines else f"it ended with {code}"
    return "".join(sign if sign.isprintable() else " " for sign in text)
