# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which back end runs a network on this machine: a GPU where there is one, else what a short timing found fastest.

The order of preference is docs/adr/0005's. What was timed is kept (models/backends/kept.py), so that later starts do
not measure again. Whoever asks for a back end, a precision or a device gets that or an error, never another.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from models.backends.kept import FILE, KeptTimings, key_of
from models.backends.onnxruntime import OnnxRuntimeEngine
from models.backends.openvino import OpenVinoEngine
from models.backends.port import Engine
from models.backends.torch import TorchEngine, has_gpu
from models.catalogue import Catalogue, Entry, Form
from models.errors import BackendError, InferenceError, WeightsError

AUTO = "auto"
BACKENDS = ("openvino", "onnxruntime", "torch")
PRECISIONS = ("f32", "int8", "f16")
DEVICES = ("cpu", "cuda")
LIBRARIES = {"openvino": ("openvino",), "onnxruntime": ("onnxruntime",), "torch": ("torch", "onnx")}
EXTRAS = {
    "onnxruntime": "; it comes with the extra 'onnxruntime'",
    "torch": "; it comes with the extra 'torch'",
}
TIMED_HEIGHT, TIMED_WIDTH = 384, 640  # most cameras' input
TIMED_RUNS = 5
CLEARLY_FASTER = (
    0.9  # a later plan must take less than this share of the time: the choice should not follow noise
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an operator asks for; `auto` leaves it to this module."""

    backend: str = AUTO
    precision: str = AUTO
    device: str = AUTO


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to compute a network."""

    backend: str
    precision: str
    device: str

    @property
    def form(self) -> Form:
        """The files that it reads."""
        return Form.OPENVINO_INT8 if self.precision == "int8" else Form.ONNX

    def __str__(self) -> str:
        return f"{self.backend} {self.precision} on {self.device}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan, why it cannot run here (None if it can), and how long one look took if it was timed, milliseconds."""

    plan: Plan
    problem: str | None = None
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The plan that runs, why, and all that were considered."""

    plan: Plan
    why: str
    candidates: tuple[Candidate, ...]


PLANS = (
    Plan("torch", "f16", "cuda"),
    Plan("torch", "f32", "cuda"),
    Plan("openvino", "int8", "cpu"),
    Plan("openvino", "f32", "cpu"),
    Plan("onnxruntime", "f32", "cpu"),
    Plan("torch", "f32", "cpu"),
)


def survey(entry: Entry) -> tuple[Candidate, ...]:
    """Return every plan, in the order of preference, with what keeps it from running here; nothing is loaded but torch."""
    return tuple(Candidate(plan, _problem(plan, entry)) for plan in PLANS)


def choose(  # noqa: PLR0913  all but three have a default
    catalogue: Catalogue,
    entry: Entry,
    asked: Asked,
    *,
    threads: int,
    state_dir: Path | None = None,
    cache_dir: Path | None = None,
    clock_s: Callable[[], float] = time.perf_counter,
) -> tuple[Engine, Choice]:
    """Open the back end that is to run `entry`.

    Args:
        catalogue: where `entry` stands.
        entry: the network.
        asked: what the operator wants.
        threads: callers at once.
        state_dir: where timings are kept; if None nothing is timed and the first that fits is taken.
        cache_dir: for compiled graphs; nowhere if None.
        clock_s: what a timing reads.

    Raises:
        BackendError: what was asked for is unknown, or not to be had here.
        WeightsError: the network's files are not what they should be, or no engine can read them.
    """
    candidates = survey(entry)
    fitting = fitting_plans(candidates, asked, entry)
    opening = _Opening(catalogue, entry, threads, cache_dir)
    if len(fitting) > 1 and fitting[0].device == "cpu" and state_dir is not None:
        timing = _Timing(opening, entry, clock_s, KeptTimings(state_dir))
        engine, plan, ms, why = timing.fastest(fitting)
        candidates = tuple(replace(each, ms=ms.get(str(each.plan))) for each in candidates)
    else:
        engine, plan, why = _first(opening, fitting, asked)
    return engine, Choice(plan, why, candidates)


def fitting_plans(candidates: tuple[Candidate, ...], asked: Asked, entry: Entry) -> list[Plan]:
    """Return the plans that can run here and are what was asked for, in the order of preference.

    Raises:
        BackendError: there is none.
    """
    for what, value, known in (
        ("back end", asked.backend, BACKENDS),
        ("precision", asked.precision, PRECISIONS),
        ("device", asked.device, DEVICES),
    ):
        if value not in {AUTO, *known}:
            raise BackendError(f"no {what} is called {value!r}; there are: auto, {', '.join(known)}")
    wanted = [each for each in candidates if _is_wanted(each.plan, asked, entry)]
    fitting = [each.plan for each in wanted if each.problem is None]
    if fitting:
        return fitting
    request = f"back end {asked.backend}, precision {asked.precision}, device {asked.device}"
    why = "; ".join(f"{each.plan}: {each.problem}" for each in wanted) or "no back end computes so"
    raise BackendError(f"the network {entry.name!r} cannot run as asked for ({request}): {why}")


def kept_timings(entry: Entry, fitting: list[Plan], state_dir: Path | None) -> dict[str, float]:
    """Return what an earlier start found, milliseconds by plan; empty if it found nothing, or nothing is kept."""
    return {} if state_dir is None else KeptTimings(state_dir).read(_key(entry, fitting))


def expected_plan(fitting: list[Plan], ms: dict[str, float]) -> Plan:
    """Return the plan that runs next, as far as that is known without timing."""
    return fitting[0] if fitting[0].device == "cuda" else _quickest(fitting, ms) or fitting[0]


def _key(entry: Entry, fitting: list[Plan]) -> str:
    hashes = [stored.sha256 for form in Form for stored in entry.forms.files(form)]
    return key_of(hashes, map(str, fitting))


def _is_wanted(plan: Plan, asked: Asked, entry: Entry) -> bool:
    if asked.backend not in {AUTO, plan.backend} or asked.device not in {AUTO, plan.device}:
        return False
    if plan.backend == "torch" and plan.device == "cpu" and asked.backend == AUTO:
        return False  # half as fast as the others, measured; it is there for tests and for comparing numbers
    if asked.precision != AUTO:
        return asked.precision == plan.precision
    if plan.device == "cuda":
        return plan.precision == "f16"
    return plan.precision in {"f32", entry.precision}


def _problem(plan: Plan, entry: Entry) -> str | None:
    missing = [name for name in LIBRARIES[plan.backend] if find_spec(name) is None]
    if missing:
        return f"{missing[0]} is not installed{EXTRAS.get(plan.backend, '')}"
    if not entry.forms.files(plan.form):
        return "the network has no 8-bit form"
    if plan.device == "cuda" and not has_gpu():
        return "torch finds no GPU"
    return None


def _first(opening: "_Opening", fitting: list[Plan], asked: Asked) -> tuple[Engine, Plan, str]:
    """Open the first plan that can be opened; tell those before it that could not."""
    problems: list[str] = []
    failed: WeightsError | None = None
    for plan in fitting:
        try:
            engine = opening.open(plan)
        except WeightsError as error:
            failed = failed or error
            problems.append(f"{plan}: {error.problem}")
        else:
            why = (
                "a GPU is there" if plan.device == "cuda" and asked.device == AUTO else "the first that fits"
            )
            why = "as asked for" if AUTO not in {asked.backend, asked.precision, asked.device} else why
            return engine, plan, "; ".join([why, *problems])
    raise failed or BackendError("no back end fits")


@dataclass(frozen=True, slots=True)
class _Opening:
    catalogue: Catalogue
    entry: Entry
    threads: int
    cache_dir: Path | None

    def open(self, plan: Plan) -> Engine:
        weights = self.catalogue.read(self.entry, plan.form)
        try:
            return self._open(plan, weights)
        except (InferenceError, ImportError, OSError) as error:
            reason = (
                error.reason
                if isinstance(error, InferenceError)
                else f"{plan.backend} cannot be loaded: {error}"
            )
            file = self.catalogue.paths_of(self.entry, plan.form)[0]
            raise WeightsError(reason, file=file) from error

    def _open(self, plan: Plan, weights: tuple[bytes, ...]) -> Engine:
        if plan.backend == "torch":
            return TorchEngine.open(
                weights[0], device=plan.device, precision=plan.precision, threads=self.threads
            )
        if plan.backend == "openvino":
            return OpenVinoEngine.open(weights, threads=self.threads, cache_dir=self.cache_dir)
        return OnnxRuntimeEngine.open(weights[0], threads=self.threads)


@dataclass(frozen=True, slots=True)
class _Timing:
    """Finds the fastest of several plans, by what an earlier start kept or by a few looks each."""

    opening: _Opening
    entry: Entry
    clock_s: Callable[[], float]
    kept: KeptTimings

    def fastest(self, fitting: list[Plan]) -> tuple[Engine, Plan, dict[str, float], str]:
        key = _key(self.entry, fitting)
        ms = self.kept.read(key)
        said = "timed at an earlier start"
        plan = _quickest(fitting, ms)
        engine = None if plan is None else self._opened(plan)
        if plan is None or engine is None:
            said = "timed now"
            plan, ms = self._measure(fitting, key)
            # Opened anew: what was timed holds a graph of the timing's size, and engines keep few.
            engine = self.opening.open(plan)
        told = ", ".join(f"{name} {value:.1f} ms" for name, value in ms.items())
        why = [f"the fastest, {said}: {told}"]
        why += [f"{name}: its timing never ended ({FILE})" for name in sorted(self.kept.unfinished(key))]
        return engine, plan, ms, "; ".join(why)

    def _opened(self, plan: Plan) -> Engine | None:
        """Return the engine, or None if it cannot be opened any more: then all are timed anew."""
        try:
            return self.opening.open(plan)
        except WeightsError:
            return None

    def _measure(self, fitting: list[Plan], key: str) -> tuple[Plan, dict[str, float]]:
        """Time the plans. What crashes or hangs in native code ends this process: the next start leaves that plan out."""
        left_out = self.kept.unfinished(key) & set(map(str, fitting))
        if len(left_out) == len(fitting):
            left_out = frozenset()
        ms: dict[str, float] = {}
        failed: WeightsError | None = None
        for plan in fitting:
            if str(plan) in left_out:
                continue
            self.kept.write(key, ms, {*left_out, str(plan)})
            try:
                ms[str(plan)] = self._look_ms(self.opening.open(plan))
            except WeightsError as error:
                failed = failed or error
            except InferenceError as error:
                failed = failed or WeightsError(error.reason, file=self.opening.catalogue.file)
            finally:  # whatever was raised, it has ended
                self.kept.write(key, ms, left_out)
        quickest = _quickest(fitting, ms)
        if quickest is None:
            raise failed or BackendError("no back end fits")
        return quickest, ms

    def _look_ms(self, engine: Engine) -> float:
        outputs = self.entry.outputs
        height, width = engine.fixed_size or (TIMED_HEIGHT, TIMED_WIDTH)
        picture = engine.canvas(1, height, width)
        picture[:] = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
        engine.prepare(height, width, outputs)
        engine.run(picture, outputs)
        taken = []
        for _ in range(TIMED_RUNS):
            began = self.clock_s()
            engine.run(picture, outputs)
            taken.append((self.clock_s() - began) * 1000)
        return round(min(taken), 2)  # the least disturbed by whatever else runs


def _quickest(fitting: list[Plan], ms: dict[str, float]) -> Plan | None:
    """Return the preferred plan, unless a later one is clearly faster."""
    best: Plan | None = None
    for plan in fitting:
        mine = ms.get(str(plan))
        if mine is not None and (best is None or mine < ms[str(best)] * CLEARLY_FASTER):
            best = plan
    return best
