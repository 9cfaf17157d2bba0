# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ends a process that this one started: asked first, then made to."""

import subprocess


def end_process(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Ask a process to end, kill it where it has not after `within_s`, and wait for it. One that ended already is waited for."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
