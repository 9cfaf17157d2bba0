# SPDX-License-Identifier: AGPL-3.0-or-later
"""One contestant as a process of its own: reads cameras, and says on each line of standard input what it has used so far.

The first argument is the contestant, the others are URLs. Each answer is one JSON object: CPU seconds of this process, user
and system, its resident memory, and the pictures handed out of each camera.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from others import OTHERS
from ours import OURS

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def usage(contestant: Any) -> dict[str, Any]:
    """Return what this process has used so far, and what its cameras gave."""
    times = os.times()
    return {
        "cpu_s": times.user + times.system,
        "at_s": time.monotonic(),
        "rss_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
        "counts": list(contestant.counts),
        "more": contestant.more() if hasattr(contestant, "more") else {},
    }


def main(name: str, urls: Sequence[str]) -> None:
    """Read until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # contestants talk on standard output, too
    contestant = {**OTHERS, **OURS}[name](urls)
    for _ in sys.stdin:
        print(json.dumps(usage(contestant)), file=answers, flush=True)
    os._exit(0)  # threads of other people's libraries do not end by themselves


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
