# SPDX-License-Identifier: AGPL-3.0-or-later
"""CPU time of one look on this machine, by what it asks for, and of one key frame before it.

Figures are process CPU time of one thread; compare ratios of one run. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import av
import numpy as np

from gridwatch.core.detections import Part
from ingest.frame import DecodedFrame
from ingest.gate import Gate
from models.network import Network

WIDTH, HEIGHT = 1920, 1080
LOOKS = {
    "fire": frozenset({Part.FIRE}),
    "people": frozenset({Part.PEOPLE}),
    "people_and_fire": frozenset({Part.PEOPLE, Part.FIRE}),
    "everything": frozenset(Part),
}


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
    small.view(small.width, small.height)  # kept, so that a look is measured without turning it to BGR
    gate = Gate()
    rest = iter(pictures[2:] * 4)
    canvas = np.empty((384, 640, 3), np.uint8)[:360]
    result: dict[str, object] = {"network": network.describe()}
    for name, parts in LOOKS.items():
        network.prepare(small.width, small.height, parts=parts)
        result[f"look_{name}_ms"] = cpu_ms(partial(network.detect, small, parts=parts), rounds)
    result |= {
        "paint_640x360_of_1080p_ms": cpu_ms(
            lambda: next(rest).paint(canvas), rounds
        ),  # first: it keeps nothing
        "view_640x360_of_1080p_ms": cpu_ms(lambda: next(rest).view(640, 360), rounds),
        "gate_1080p_ms": cpu_ms(lambda: gate.admit(next(rest).luma(), time.monotonic()), rounds),
        "reduced_copy_ms": cpu_ms(lambda: next(rest).reduced(), rounds),
    }
    for name, value in result.items():
        print(f"{name:28} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
