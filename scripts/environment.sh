# SPDX-License-Identifier: AGPL-3.0-or-later
# Sourced by the scripts: makes .venv at the root from a hashed lock, once per change of the locks.
# usage: prepare_environment run|dev
stop_with() { printf '%s\n' "$1" >&2; exit 2; }

supported() { command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name there=none
  if [ -n "${GRIDWATCH_PYTHON:-}" ]; then
    set -- "$GRIDWATCH_PYTHON"
  else
    set -- python3 python3.14 python3.13 python3.12 python3.11
  fi
  for name; do
    if supported "$name"; then printf '%s' "$name"; return; fi
  done
  command -v "$1" >/dev/null 2>&1 && there=$("$1" --version 2>&1)
  stop_with "gridwatch needs Python 3.11 or newer; found $there. Install it (Debian/Ubuntu: apt install python3 python3-venv) or name one in GRIDWATCH_PYTHON."
}

# On a terminal pip shows its own progress; elsewhere (CI, logs) it is silent unless something is wrong.
pip_install() {
  local quiet=--quiet
  [ -t 2 ] && quiet=--progress-bar=on
  .venv/bin/python -m pip install "$quiet" --disable-pip-version-check --no-input --retries 2 "$@" >&2
}

prepare_environment() {
  local lock="requirements/$1.lock" stamp python
  stamp=".venv/.gridwatch-$({ printf '%s' "$PWD"; cat requirements/*.lock pyproject.toml; } | cksum | cut -d' ' -f1)"
  if { [ -e "$stamp-$1" ] || [ -e "$stamp-dev" ]; } && .venv/bin/python -c '' 2>/dev/null; then
    return  # dev holds all that run needs
  fi
  if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$(find_python) || exit 2
    "$python" -c 'import venv, ensurepip' 2>/dev/null \
      || stop_with "$python has no venv module. Debian/Ubuntu: apt install python3-venv"
    rm -rf .venv  # none yet, half made, of an older Python, or its Python is gone
    echo "Making .venv with $("$python" --version) ..." >&2
    "$python" -m venv .venv || stop_with "Making .venv failed; remove the folder .venv and run this again."
  fi
  echo "Installing what gridwatch needs from $lock (about 150 MB, once) ..." >&2
  pip_install --no-deps --require-hashes -r "$lock" \
    || stop_with "Installing $lock failed; the lines above say why. Is the package index reachable? Run the command again, it goes on where it stopped."
  pip_install --no-deps --no-build-isolation -e . || stop_with "Installing gridwatch itself failed; the lines above say why."
  touch "$stamp-$1"
}

# The photograph of people and a bus that the demo's scenes composite: read as a file out of the pinned ultralytics wheel.
prepare_scenes() {
  [ -e .venv/scenes/ultralytics/assets/bus.jpg ] && return
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
    -d .venv/scenes -r requirements/scenes.lock \
    || stop_with "Fetching the demo's photograph failed; the lines above say why. Run the command again."
  .venv/bin/python scripts/unpack_scenes.py .venv/scenes >&2 || exit $?
}
