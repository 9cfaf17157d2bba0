# SPDX-License-Identifier: AGPL-3.0-or-later
"""The same network on a GPU in half precision: this project's whole way against the bare network, and what it is good for.

Frames per second of wall time at 640×640. The bare network is Ultralytics' own module, fused, channels last, as a CUDA
graph over input that lies on the device already. Two threads call this project's engine, as its service does.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from contest.contestants import CONFIDENCE
from contest.exports import Forms
from contest.scenes import SHAPES, Picture, cut

from gridwatch.core.detections import Part
from models.backends.choose import Asked
from models.catalogue import Catalogue
from models.network import Network, NetworkSettings
from models.pictures import Picture as PictureFrame

BATCHES = (1, 2, 4, 8, 16, 32)
LOOKS_PER_S = (1, 5)
CALLERS, DECODERS = 2, 8
PEOPLE = frozenset({Part.PEOPLE})
SQUARE = SHAPES[-1]
WARM_UPS = 5
LEAST_SHARE = 0.9
NOT_MEASURED = "GPU: not yet measured"


def measure(forms: Forms, pictures: list[Picture], seconds: float) -> dict[str, Any]:
    """Return the GPU's part of the result; `{"measured": False}` where torch sees no GPU."""
    import torch  # noqa: PLC0415  seconds, and a machine without it may still run the rest

    if not torch.cuda.is_available():
        return {"measured": False, "said": NOT_MEASURED}
    squares = cut(pictures, SQUARE.picture_width)
    each_s = max(seconds / (2 * len(BATCHES) + 1), 0.5)
    bare = {batch: _rate(_bare(torch, forms, batch), batch, 1, each_s) for batch in BATCHES}
    network = open_network(forms)
    whole = {batch: _rate(_whole(network, squares, batch), batch, CALLERS, each_s) for batch in BATCHES}
    decoded = _decoded_per_s(pictures, each_s)
    best = max(whole.values())
    return {
        "measured": True,
        "device": torch.cuda.get_device_name(),
        "engine": network.device,
        "input": SQUARE.name,
        "whole_fps": whole,
        "bare_fps": bare,
        "engine_share": round(best / max(bare.values()), 3),
        "decoded_1080p_fps": decoded,
        "cameras": _cameras(best, decoded),
    }


def open_network(forms: Forms) -> Network:
    """Return the benchmark's network on the GPU."""
    asked = Asked(backend="torch", precision="f16", device="cuda")
    settings = NetworkSettings(least_confidence=CONFIDENCE, asked=asked)
    return Network.open(threads=CALLERS, settings=settings, catalogue=Catalogue.load(forms.catalogue(SQUARE)))


def _cameras(looks_per_s: float, decoded_per_s: float | None) -> dict[str, dict[str, int | None]]:
    """Return how many cameras a GPU serves: looks alone, and with one 1080p picture a look decoded on it."""
    both = None if decoded_per_s is None else min(looks_per_s, decoded_per_s)
    return {
        f"at_{rate}_per_s": {
            "without_decoding": int(looks_per_s / rate),
            "with_decoding": None if both is None else int(both / rate),
        }
        for rate in LOOKS_PER_S
    }


def _whole(network: Network, pictures: Picture, batch: int) -> Callable[[], Any]:
    frames = [PictureFrame(pictures[at % len(pictures)]) for at in range(batch)]
    network.prepare(SQUARE.width, SQUARE.height, parts=PEOPLE)
    return lambda: network.detect_all(frames, parts=PEOPLE)


def _bare(torch: Any, forms: Forms, batch: int) -> Callable[[], Any]:
    from ultralytics import YOLO  # noqa: PLC0415  seconds, and only here

    module = YOLO(forms.pt(SQUARE)).model.fuse(verbose=False).eval().cuda().half()
    module = module.to(memory_format=torch.channels_last)
    shape = (batch, 3, SQUARE.height, SQUARE.width)
    images = torch.rand(shape, device="cuda", dtype=torch.float16).to(memory_format=torch.channels_last)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.inference_mode():
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                module(images)
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            module(images)

    def step() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return step


def _rate(step: Callable[[], Any], batch: int, callers: int, seconds: float) -> float:
    """Return pictures per second of wall time while `callers` threads call `step`."""
    for _ in range(WARM_UPS):
        step()
    counts = [0] * callers
    began = time.monotonic()

    def call(caller: int) -> None:
        while time.monotonic() - began < seconds:
            step()
            counts[caller] += batch

    _together(call, callers)
    return round(sum(counts) / (time.monotonic() - began), 1)


def _together(work: Callable[[int], None], threads: int) -> None:
    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _decoded_per_s(pictures: list[Picture], seconds: float) -> float | None:
    """Return 1080p H.264 key frames per second through the GPU's decoder; None where FFmpeg has no way to it."""
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        _encode(pictures, clip)
        counts = [0] * DECODERS
        began = time.monotonic()

        def decode(number: int) -> None:
            while time.monotonic() - began < seconds:
                with av.open(str(clip), hwaccel=HWAccel("cuda", allow_software_fallback=False)) as container:
                    for _ in container.decode(video=0):
                        counts[number] += 1

        try:
            with av.open(str(clip), hwaccel=HWAccel("cuda", allow_software_fallback=False)) as container:
                next(container.decode(video=0))
        except (av.FFmpegError, RuntimeError, NotImplementedError, ValueError):
            return None
        began = time.monotonic()
        _together(decode, DECODERS)
        return round(sum(counts) / (time.monotonic() - began), 1)


def _encode(pictures: list[Picture], clip: Path) -> None:
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "1"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures * 16:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
