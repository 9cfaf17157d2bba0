# SPDX-License-Identifier: AGPL-3.0-or-later
"""CPU time of one look on this machine, with and without the crowd counter, and of one key frame before it.

Figures are process CPU time of one thread; compare ratios of one run. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable

import av
import numpy as np

from ingest.frame import DecodedFrame
from ingest.gate import Gate
from models.network import Network

WIDTH, HEIGHT = 1920, 1080


def frame(seed: int) -> DecodedFrame:
    """Return a noisy 1080p picture in the decoder's own format."""
    rng = np.random.default_rng(seed)
    video = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane in video.planes:
        plane.update(rng.integers(90, 160, plane.buffer_size, dtype=np.uint8))
    return DecodedFrame(video)


def cpu_ms(step: Callable[[], object], rounds: int) -> float:
    """Return the median CPU time of `step`, milliseconds."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        step()
        taken.append((time.process_time() - began) * 1000)
    return round(float(np.median(taken)), 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    network = Network.open(threads=1)
    pictures = [frame(seed) for seed in range(rounds + 2)]
    small = DecodedFrame(pictures[0]._video.reformat(640, 360))  # noqa: SLF001  the same picture, scaled once
    gate = Gate()
    rest = iter(pictures[2:] * 3)
    for crowd in (False, True):
        network.detect(small, crowd=crowd)  # compiles
    result = {
        "network": network.describe(),
        "look_boxes_ms": cpu_ms(lambda: network.detect(small, crowd=False), rounds),
        "look_with_counter_ms": cpu_ms(lambda: network.detect(small, crowd=True), rounds),
        "view_640x360_of_1080p_ms": cpu_ms(lambda: next(rest).view(640, 360), rounds),
        "gate_1080p_ms": cpu_ms(lambda: gate.admit(next(rest).luma(), time.monotonic()), rounds),
        "reduced_copy_ms": cpu_ms(lambda: next(rest).reduced(), rounds),
    }
    for name, value in result.items():
        print(f"{name:28} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
