# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same YOLOv8n by Ultralytics' `YOLO.predict` and by this project, side by side: pictures per CPU second, boxes compared.

Three matches, each in turns within one run (benchmarks/contest): Ultralytics against this project and the bare engines at
two input shapes; Ultralytics held to one thread, and with OpenVINO's own choice of precision (left out of a short run); this
project's own network.
Then the inference service under load, and a GPU where there is one. Ratios are medians over turns side by side. The last
line is one JSON object; its headline figures are the worst of all shapes and precisions that were measured. Run it by
`./scripts/bench inference`; the first run makes the network's forms (a minute or two) and keeps them under `out/`.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from contest import gpu, machine
from contest.agreement import compare
from contest.arena import ContestantError, Corner, Score, hold, ratio, save
from contest.contestants import DEFAULT_PRECISION, ONE_THREAD, Spec
from contest.exports import Forms, prepare
from contest.scenes import SHAPES, Shape, make_pictures

from gridwatch.core.detections import Part
from models.network import Network

OUT = Path(__file__).resolve().parents[1] / "out" / "inference"
PICTURES, SEED = 6, 7
TURN_S, LEAST_ROUNDS = 0.3, 3
SHORT_S = 100.0  # a run that is asked to be shorter leaves out the variants and does not judge fairness
SERVICE_S, SHORT_SERVICE_S = 30.0, 6.0  # 30 s lets each of 200 cameras have several looks on two cores
ASKED_OF_OPENVINO, ASKED_SHARE, ASKED_IOU, ASKED_JAIN = 1.4, 0.9, 0.98, 0.95
WIDE = SHAPES[:1]

PT = Spec("predict", "pt", "f32")
THEIRS = {precision: Spec("predict", "openvino", precision) for precision in ("f32", "int8")}
OURS = {precision: Spec("gridwatch", "openvino", precision) for precision in ("f32", "int8")}
OURS_ORT, BARE_ORT = Spec("gridwatch", "onnxruntime", "f32"), Spec("bare", "onnxruntime", "f32")
BARE = {precision: Spec("bare", "openvino", precision) for precision in ("f32", "int8")}
PEOPLE, FIRE, CROWD = Part.PEOPLE, Part.FIRE, Part.CROWD
OWN = tuple(
    Spec("own", "", "", frozenset(parts))
    for parts in ((PEOPLE, FIRE, CROWD), (PEOPLE,), (FIRE,), (PEOPLE, CROWD))
)


class Match:
    """Some contestants on some shapes; `play` measures them."""

    def __init__(self, specs: Sequence[Spec], shapes: Sequence[Shape], forms: Forms, pictures: Path) -> None:
        self.shapes = shapes
        self._corners = {spec: Corner(spec, shapes, forms, pictures) for spec in specs}

    def play(self, seconds: float) -> None:
        """Take turns for about so many CPU seconds, three rounds at least."""
        rounds = max(LEAST_ROUNDS, round(seconds / (len(self._corners) * len(self.shapes) * TURN_S)))
        names = ", ".join(spec.name for spec in self._corners)
        print(f"{rounds} rounds of {names}", file=sys.stderr)
        hold(list(self._corners.values()), self.shapes, rounds, TURN_S)

    def score(self, spec: Spec, shape: Shape) -> Score:
        """Return one contestant's score on one shape."""
        return self._corners[spec].scores[shape.name]

    def ratio(self, first: Spec, second: Spec, shape: Shape) -> float:
        """Return how many times as fast the first is."""
        return round(ratio(self.score(first, shape), self.score(second, shape)), 3)

    def fps(self, shape: Shape) -> dict[str, float]:
        """Return pictures per CPU second of all."""
        return {spec.name: round(self.score(spec, shape).median_fps, 2) for spec in self._corners}

    def input_shapes(self, shape: Shape) -> set[tuple[int, int]]:
        """Return the inputs that the contestants really had; one where all is well."""
        return {seen.input_shape for spec in self._corners if (seen := self.score(spec, shape).seen)}

    def agreement(self, first: Spec, second: Spec, shape: Shape) -> dict[str, Any]:
        """Compare boxes: of pictures without padding, and beside it of the ones that were timed."""
        one, other = self.score(first, shape).seen, self.score(second, shape).seen
        assert one is not None and other is not None  # noqa: PT018  both were introduced
        padded = compare(one.boxes, other.boxes)
        return {**asdict(compare(one.snug_boxes, other.snug_boxes)), "mean_iou_as_timed": padded.mean_iou}


def same_network(match: Match, shape: Shape) -> dict[str, Any]:
    """Return what the first match says about one shape."""
    shapes = match.input_shapes(shape)
    return {
        "input": sorted(shapes),
        "picture": [1080, shape.picture_width],
        "equal_inputs": shapes == {(shape.height, shape.width)},
        "fps": match.fps(shape),
        "vs_predict_pt": {spec.name: match.ratio(spec, PT, shape) for spec in (*OURS.values(), OURS_ORT)},
        "vs_predict_openvino": {each: match.ratio(OURS[each], THEIRS[each], shape) for each in OURS},
        "engine_share": {
            **{f"openvino_{each}": match.ratio(OURS[each], BARE[each], shape) for each in OURS},
            "onnxruntime_f32": match.ratio(OURS_ORT, BARE_ORT, shape),
        },
        "agreement": {
            **{f"openvino_{each}": match.agreement(OURS[each], THEIRS[each], shape) for each in OURS},
            "onnxruntime_f32_and_pt": match.agreement(OURS_ORT, PT, shape),
        },
    }


def variants(forms: Forms, pictures: Path, seconds: float) -> dict[str, Any]:
    """Measure Ultralytics on one thread, and as OpenVINO would have it, against this project at the wide shape."""
    one = [
        Spec("predict", spec.engine, spec.precision, variant=ONE_THREAD) for spec in (PT, *THEIRS.values())
    ]
    free = [Spec("predict", "openvino", each, variant=DEFAULT_PRECISION) for each in THEIRS]
    if forms.openvino_default == "f32":
        free = []  # it would choose the same
    match = Match([*OURS.values(), *one, *free], WIDE, forms, pictures)
    match.play(seconds)
    (shape,) = WIDE
    faster = {f"gridwatch_int8_vs_{one[0].name}": match.ratio(OURS["int8"], one[0], shape)}
    for spec in (*one[1:], *free):
        faster[f"gridwatch_{spec.precision}_vs_{spec.name}"] = match.ratio(OURS[spec.precision], spec, shape)
    return {"openvino_takes": forms.openvino_default, "fps": match.fps(shape), "times_as_fast": faster}


def own_network(forms: Forms, pictures: Path, seconds: float) -> dict[str, Any]:
    """Measure this project's own network, whole and in parts, beside YOLOv8n."""
    match = Match([*OWN, *OURS.values()], WIDE, forms, pictures)
    match.play(seconds)
    (shape,) = WIDE
    fps = match.fps(shape)
    return {
        "network": Network.open(threads=1).describe(),
        "input": shape.name,
        "fps": fps,
        "ms": {name: round(1000 / value, 2) for name, value in fps.items()},
    }


def service(seconds: float) -> dict[str, Any]:
    """Run the inference service under load (benchmarks/service_load.py)."""
    from service_load import measure  # noqa: PLC0415  after the matches: its threads would disturb them

    print("the inference service under load", file=sys.stderr)
    result: dict[str, Any] = measure(seconds, SEED)
    return result


def headline(
    shapes: dict[str, Any], loaded: dict[str, Any], about: dict[str, Any], *, short: bool
) -> dict[str, Any]:
    """Return the figures that are asked for, the worst of all shapes and precisions, and whether they suffice.

    None is what this run cannot judge: boxes of a network of random numbers; fairness where a camera had a look or two.
    """
    every = list(shapes.values())
    overlaps = [found["mean_iou"] for one in every for found in one["agreement"].values()]
    figures: dict[str, Any] = {
        "vs_predict_pt": min(one["vs_predict_pt"][OURS["int8"].name] for one in every),
        "vs_predict_openvino": min(min(one["vs_predict_openvino"].values()) for one in every),
        "engine_share": min(min(one["engine_share"].values()) for one in every),
        "mean_iou": None if None in overlaps else min(overlaps),
        "p99_age_ratio": loaded["p99_age_ratio"],
        "jain": loaded["jain"],
    }
    met = {
        "vs_predict_pt": figures["vs_predict_pt"] >= machine.asked_of(about),
        "vs_predict_openvino": figures["vs_predict_openvino"] >= ASKED_OF_OPENVINO,
        "engine_share": figures["engine_share"] >= ASKED_SHARE,
        "mean_iou": None if figures["mean_iou"] is None else figures["mean_iou"] >= ASKED_IOU,
        "p99_age_ratio": figures["p99_age_ratio"] <= 1,
        "jain": None if short else figures["jain"] >= ASKED_JAIN,
        "equal_inputs": all(one["equal_inputs"] for one in every),
    }
    return {**figures, "asked_vs_predict_pt": machine.asked_of(about), "met": met}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="./scripts/bench inference", description=__doc__)
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU too, if any"
    )
    parser.add_argument(
        "--seconds", type=float, default=240.0, help="of measuring; 60 for a short look (default 240)"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="YOLOv8n with COCO's classes, .safetensors or .pt (a pickle: its code is run)",
    )
    options = parser.parse_args()
    if options.weights and (
        options.weights.suffix not in {".safetensors", ".pt"} or not options.weights.is_file()
    ):
        parser.error(
            f"{options.weights}: no .safetensors or .pt file (an .onnx cannot be given to YOLO.predict as .pt)"
        )
    return options


def measure(options: argparse.Namespace, about: dict[str, Any]) -> dict[str, Any]:
    """Run everything."""
    print("the network's forms (a minute or two, once)", file=sys.stderr)
    forms = prepare(options.weights, OUT)
    pictures = make_pictures(PICTURES, SEED)
    short = options.seconds < SHORT_S
    with tempfile.TemporaryDirectory() as folder:
        save(pictures, SHAPES, Path(folder))
        match = Match(
            [PT, *THEIRS.values(), *OURS.values(), OURS_ORT, *BARE.values(), BARE_ORT],
            SHAPES,
            forms,
            Path(folder),
        )
        match.play(options.seconds * 0.6)
        shapes = {shape.name: shown(shape.name, same_network(match, shape)) for shape in SHAPES}
        other = (
            None
            if short
            else shown(
                "variants of Ultralytics, 384x640", variants(forms, Path(folder), options.seconds * 0.25)
            )
        )
        own = shown(
            "this project's own network, 384x640", own_network(forms, Path(folder), options.seconds * 0.15)
        )
    loaded = service(SHORT_SERVICE_S if short else SERVICE_S)
    nothing = {"measured": False, "said": gpu.NOT_MEASURED}
    return {
        **headline(shapes, loaded, about, short=short),
        "weights": forms.weights,
        "shapes": shapes,
        "variants": other,
        "own": own,
        "service": loaded,
        "gpu": nothing if options.device == "cpu" else gpu.measure(forms, pictures, options.seconds / 4),
    }


def shown(title: str, one: dict[str, Any]) -> dict[str, Any]:
    """Print one match for people; return it."""
    print(f"\n{title}: pictures per CPU second")
    for contestant, fps in one["fps"].items():
        print(f"  {contestant:44} {fps:8.2f}  {1000 / fps:7.2f} ms")
    for key in ("vs_predict_pt", "vs_predict_openvino", "engine_share", "times_as_fast"):
        for pair, value in one.get(key, {}).items():
            print(f"  {key + ' ' + pair:62} {value}")
    for pair, found in one.get("agreement", {}).items():
        print(f"  boxes {pair}: {', '.join(f'{name} {value}' for name, value in found.items())}")
    sys.stdout.flush()
    return one


def conclude(result: dict[str, Any]) -> None:
    """Print the headline figures for people."""
    print()
    for name, met in result["met"].items():
        said = "not judged by this run" if met is None else "met" if met else "not met"
        print(f"{name:24} {result.get(name, '')}  {said}")
    print("GPU: " + json.dumps(result["gpu"]) if result["gpu"]["measured"] else gpu.NOT_MEASURED)


def main() -> int:
    """Measure, print, and end with one line of JSON."""
    options = arguments()
    os.environ["YOLO_VERBOSE"] = "false"
    if options.device == "cuda":
        import torch  # noqa: PLC0415  seconds, and only for this question

        if not torch.cuda.is_available():
            print("--device cuda: torch finds no GPU here", file=sys.stderr)
            return 2
    about = machine.describe()
    try:
        result = measure(options, about)
    except ContestantError as error:
        print(error, file=sys.stderr)
        return 1
    conclude(result)
    print(json.dumps({**result, "machine": about}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
