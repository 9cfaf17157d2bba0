# SPDX-License-Identifier: AGPL-3.0-or-later
"""Make golden.npz: what ONNX's own reference evaluator says of the test picture. Not a test; takes half a minute.

    python tests/models/make_golden.py [FLAMES.npz SCENE FRAME]

To be run again whenever the default network's file changes: the golden file names the weights that it was made from.
Nothing of `models/` is used but the weights file: the input is laid out and the answer decoded by plain loops here,
so the golden values check the engine, the letterbox and the decoding at once. Without arguments the fields of the
golden file that is there are kept.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from conftest import GOLDEN, burning_yard
from onnx.reference import ReferenceEvaluator

WEIGHTS = Path(__file__).parents[2] / "models" / "weights" / "gridwatch.onnx"
LEAST = 0.3


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def anchors_of(people, fire):
    """Yield (score, class, box) of what reaches `LEAST`: of people and vehicles an anchor's best, of fire and smoke each."""
    for first, raw in ((0, people), (6, fire)):
        for anchor in raw.T.astype(np.float64):
            x, y, w, h = anchor[:4]
            box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            scores = list(enumerate(anchor[4:], first))
            for kind, score in scores if first else [max(scores, key=lambda each: each[1])]:
                if score >= LEAST:
                    yield score, kind, box


def boxes_of(people, fire):
    kept = []
    for score, kind, box in sorted(anchors_of(people, fire), reverse=True):
        limit = 0.6 if kind < 6 else 0.5
        if all(other != kind or overlap(box, its) <= limit for _, other, its in kept):
            kept.append((score, kind, box))
    return kept


def main(arguments):
    if arguments:
        with np.load(arguments[0]) as fields:
            flame, smoke = (fields[name][int(arguments[1]), int(arguments[2])] for name in ("flame", "smoke"))
    else:
        with np.load(GOLDEN) as stored:
            flame, smoke = stored["flame"], stored["smoke"]
    picture = burning_yard(flame, smoke)
    images = np.full((1, 3, 384, 640), np.float32(114 / 255), np.float32)
    images[0, :, :360] = picture[:, :, ::-1].transpose(2, 0, 1) / np.float32(255)
    outputs = ["people", "fire", "density"]
    with np.errstate(all="ignore"):
        people, fire, density = ReferenceEvaluator(str(WEIGHTS)).run(outputs, {"images": images})
    boxes = boxes_of(people[0], fire[0])
    np.savez_compressed(
        GOLDEN,
        flame=flame,
        smoke=smoke,
        weights=hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        xyxy=np.array([box for _, _, box in boxes], np.float32).reshape(-1, 4)
        / np.float32([640, 360, 640, 360]),
        confidence=np.array([score for score, _, _ in boxes], np.float32),
        class_id=np.array([kind for _, kind, _ in boxes], np.int64),
        persons=density[0, 0, :45].sum(dtype=np.float64),
    )
    for score, kind, box in boxes:
        print(kind, round(float(score), 4), [round(float(side), 1) for side in box])
    print("persons", density[0, 0, :45].sum())


if __name__ == "__main__":
    main(sys.argv[1:])
