# SPDX-License-Identifier: AGPL-3.0-or-later
# Sourced by the scripts: makes .venv (and .venv-torch where it is asked for) at the root from hashed locks, once per
# change of the locks.
# usage: prepare_environment run|dev; prepare_torch
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

# usage: make_venv FOLDER
make_venv() {
  local python
  if "$1/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then return; fi
  python=$(find_python) || exit 2
  "$python" -c 'import venv, ensurepip' 2>/dev/null \
    || stop_with "$python has no venv module. Debian/Ubuntu: apt install python3-venv"
  rm -rf "$1"  # none yet, half made, of an older Python, or its Python is gone
  echo "Making $1 with $("$python" --version) ..." >&2
  "$python" -m venv "$1" || stop_with "Making $1 failed; remove the folder $1 and run this again."
}

# usage: pip_install FOLDER arguments
# On a terminal pip shows its own progress; elsewhere (CI, logs) it is silent unless something is wrong.
pip_install() {
  local venv=$1 quiet=--quiet
  shift
  [ -t 2 ] && quiet=--progress-bar=on
  "$venv/bin/python" -m pip install "$quiet" --disable-pip-version-check --no-input --retries 2 "$@" >&2
}

# usage: install_lock FOLDER LOCK
install_lock() {
  pip_install "$1" --no-deps --require-hashes -r "$2" \
    || stop_with "Installing $2 failed; the lines above say why. Is the package index reachable? Run the command again, it goes on where it stopped."
}

# usage: install_gridwatch FOLDER
install_gridwatch() {
  pip_install "$1" --no-deps --no-build-isolation -e . || stop_with "Installing gridwatch itself failed; the lines above say why."
}

# usage: stamp_of FOLDER FILE…: the mark of an environment that was made here from these files
stamp_of() { printf '%s/.gridwatch-%s' "$1" "$({ printf '%s' "$PWD"; shift; cat "$@"; } | cksum | cut -d' ' -f1)"; }

prepare_environment() {
  local lock="requirements/$1.lock" stamp
  stamp=$(stamp_of .venv requirements/run.lock requirements/dev.lock pyproject.toml)
  if { [ -e "$stamp-$1" ] || [ -e "$stamp-dev" ]; } && .venv/bin/python -c '' 2>/dev/null; then
    return  # dev holds all that run needs
  fi
  make_venv .venv
  echo "Installing what gridwatch needs from $lock (about 150 MB, once) ..." >&2
  install_lock .venv "$lock"
  install_gridwatch .venv
  touch "$stamp-$1"
}

# An environment of its own for what needs torch, so that everything else runs as on a machine that has none.
prepare_torch() {
  local stamp torch
  quiet_ultralytics
  torch=$(grep '^torch==' requirements/torch.in)
  stamp=$(stamp_of .venv-torch requirements/dev.lock requirements/torch.in requirements/torch.lock pyproject.toml tests/stubs/torchvision/*)
  if [ -e "$stamp" ] && .venv-torch/bin/python -c '' 2>/dev/null; then return; fi
  make_venv .venv-torch
  echo "Installing $torch, Ultralytics and NNCF into .venv-torch (about 600 MB, 4 GB where it is the CUDA build; once) ..." >&2
  install_lock .venv-torch requirements/dev.lock
  install_lock .venv-torch requirements/torch.lock
  pip_install .venv-torch --no-deps --no-build-isolation ./tests/stubs/torchvision || stop_with "Installing the stub of torchvision failed; the lines above say why."
  # Its own dependencies are there already, hashed, except CUDA's libraries where the index serves that build.
  pip_install .venv-torch --no-warn-conflicts "$torch" || stop_with "Installing $torch failed; the lines above say why. Run the command again."
  install_gridwatch .venv-torch
  touch "$stamp"
}

# Ultralytics asks the network whether it is there, reports to its maker, installs packages and writes into the home
# folder, unless it is told not to.
quiet_ultralytics() {
  export YOLO_CONFIG_DIR="$PWD/.venv-torch/ultralytics" YOLO_OFFLINE=true YOLO_AUTOINSTALL=false
  export MPLCONFIGDIR="$PWD/.venv-torch/matplotlib"
}

# The photograph of people and a bus that the demo's scenes composite: read as a file out of the pinned ultralytics wheel.
prepare_scenes() {
  [ -e .venv/scenes/ultralytics/assets/bus.jpg ] && return
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
    -d .venv/scenes -r requirements/scenes.lock \
    || stop_with "Fetching the demo's photograph failed; the lines above say why. Run the command again."
  .venv/bin/python scripts/unpack_scenes.py .venv/scenes >&2 || exit $?
}
