# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells a process that its parent is gone.

A parent keeps its child's standard input open and writes nothing to it. However it ends, kill -9 included, the child
then reads end-of-file.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress


def when_parent_is_gone(tell: Callable[[], None]) -> None:
    """Call `tell` once, on a thread of its own, when standard input ends."""

    def watch() -> None:
        with suppress(OSError, ValueError):  # closed already: then the parent is as gone as it can be
            while os.read(sys.stdin.fileno(), 4096):
                pass
        tell()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
