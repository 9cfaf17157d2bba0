# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which back end runs: what fits, what was asked for, what a timing found, and what is kept of it."""

import json

import numpy as np
import pytest

from gridwatch.core.errors import InputError
from models.backends import choose as module
from models.backends.choose import Asked, Plan, choose, fitting_plans, survey
from models.backends.kept import FILE, MOST_KEPT, KeptTimings, key_of
from models.catalogue import OpenVinoPair
from models.errors import BackendError, InferenceError, WeightsError
from models.listing import NOT_ASKED, list_backends

OPENVINO, INT8 = Plan("openvino", "f32", "cpu"), Plan("openvino", "int8", "cpu")
ORT, GPU = Plan("onnxruntime", "f32", "cpu"), Plan("torch", "f16", "cuda")
TORCH = Plan("torch", "f32", "cpu")


class _Clock:
    """Time that only looks move."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


class _Engine:
    precision, batch, device, fixed_size = "f32", 1, "a test", None

    def __init__(self, plan, clock, took_s):
        self.plan, self._clock, self._took_s = plan, clock, took_s

    def canvas(self, batch, height, width):
        return np.empty((batch, height, width, 3), np.uint8)

    def prepare(self, height, width, outputs):
        self._clock.now_s += 5.0  # compiling is not what is timed

    def run(self, pictures, outputs):
        if self._took_s is None:
            raise InferenceError("out of memory")
        self._clock.now_s += self._took_s
        return ()


@pytest.fixture
def machine(monkeypatch):
    """Return a function that says what is installed, whether there is a GPU, and how long a look takes by plan."""
    opened = []

    def make(*libraries, gpu=False, took_s=None):
        clock = _Clock()
        monkeypatch.setattr(module, "find_spec", lambda name: object() if name in libraries else None)
        monkeypatch.setattr(module, "has_gpu", lambda: gpu)

        def opening(_self, plan, _weights):
            opened.append(plan)
            if took_s is not None and plan not in took_s:
                raise ImportError("libsomething.so: cannot open shared object file")
            return _Engine(plan, clock, None if took_s is None else took_s[plan])

        monkeypatch.setattr(module._Opening, "_open", opening)
        return clock, opened

    return make


@pytest.fixture
def entry(catalogue):
    """Return the default network as it is without an 8-bit form."""
    own = catalogue.entry()
    return own.model_copy(
        update={"precision": "f32", "forms": own.forms.model_copy(update={"openvino_int8": None})}
    )


@pytest.fixture
def entry_int8(entry):
    """Return a network whose 8-bit form is the default on a CPU; its files are never read."""
    files = tuple({"file": f"weights/x.{end}", "sha256": "0" * 64} for end in ("xml", "bin"))
    pair = OpenVinoPair.model_validate({"files": files})
    return entry.model_copy(
        update={"precision": "int8", "forms": entry.forms.model_copy(update={"openvino_int8": pair})}
    )


ALL = ("openvino", "onnxruntime", "torch", "onnx")


@pytest.mark.parametrize(
    ("libraries", "gpu", "asked", "expected"),
    [
        (("openvino",), False, Asked(), [OPENVINO]),
        (("onnxruntime",), False, Asked(), [ORT]),
        (("openvino", "onnxruntime"), False, Asked(), [OPENVINO, ORT]),
        (ALL, False, Asked(), [OPENVINO, ORT]),
        (ALL, True, Asked(), [GPU, OPENVINO, ORT]),
        (ALL, True, Asked(device="cpu"), [OPENVINO, ORT]),
        (ALL, True, Asked(device="cuda"), [GPU]),
        (ALL, True, Asked("torch", "f32", "cuda"), [Plan("torch", "f32", "cuda")]),
        (ALL, False, Asked("torch"), [TORCH]),
        (ALL, False, Asked("onnxruntime"), [ORT]),
        (ALL, True, Asked(precision="f16"), [GPU]),
    ],
)
def test_what_fits_is_what_is_there_and_asked_for(machine, entry, libraries, gpu, asked, expected):
    """Libraries, a GPU and the operator's wishes decide; the order is that of preference."""
    machine(*libraries, gpu=gpu)
    assert fitting_plans(survey(entry), asked, entry) == expected


@pytest.mark.parametrize(
    ("precision", "asked", "expected"),
    [
        ("int8", Asked(), [INT8, OPENVINO, ORT]),
        ("int8", Asked(precision="f32"), [OPENVINO, ORT]),
        ("f32", Asked(), [OPENVINO, ORT]),
        ("f32", Asked(precision="int8"), [INT8]),
    ],
)
def test_eight_bits_run_where_the_catalogue_or_the_operator_says_so(
    machine, entry_int8, precision, asked, expected
):
    """A form that is there is not used unless it is meant."""
    machine(*ALL)
    entry = entry_int8.model_copy(update={"precision": precision})
    assert fitting_plans(survey(entry), asked, entry) == expected


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            Asked("tensorrt"),
            "no back end is called 'tensorrt'; there are: auto, openvino, onnxruntime, torch",
        ),
        (Asked(precision="f64"), "no precision is called 'f64'"),
        (Asked(device="npu"), "no device is called 'npu'"),
        (Asked("onnxruntime"), "onnxruntime is not installed; it comes with the extra 'onnxruntime'"),
        (Asked("torch"), "torch f16 on cuda: torch is not installed; it comes with the extra 'torch'"),
        (Asked(precision="int8"), "the network has no 8-bit form"),
        (Asked("onnxruntime", "int8"), "no back end computes so"),
    ],
)
def test_what_is_not_to_be_had_is_one_clear_sentence(machine, catalogue, entry, asked, says):
    """Who asks for something gets it or an error that says why not; never another thing."""
    machine("openvino")
    with pytest.raises(BackendError, match=says) as raised:
        choose(catalogue, entry, asked, threads=1)
    assert isinstance(raised.value, InputError)
    assert "\n" not in str(raised.value)


def test_a_missing_gpu_is_told(machine, catalogue, entry):
    """A torch without a device is no reason to run on something else."""
    machine(*ALL, gpu=False)
    with pytest.raises(BackendError, match="torch f16 on cuda: torch finds no GPU"):
        choose(catalogue, entry, Asked(device="cuda"), threads=1)


def test_a_gpu_is_taken_without_timing(machine, catalogue, entry, tmp_path):
    """Where there is a GPU nothing else is opened."""
    clock, opened = machine(*ALL, gpu=True, took_s={GPU: 0.01})
    engine, choice = choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert engine.plan == choice.plan == GPU
    assert choice.why == "a GPU is there"
    assert opened == [GPU]


def test_a_gpu_that_cannot_be_opened_leaves_the_cpu_and_is_told(machine, catalogue, entry):
    """A broken driver does not stop a machine that can compute otherwise; the start line names it."""
    machine(*ALL, gpu=True, took_s={OPENVINO: 0.1, ORT: 0.1})
    _, choice = choose(catalogue, entry, Asked(), threads=1)
    assert choice.plan == OPENVINO
    assert "torch f16 on cuda: torch cannot be loaded: libsomething.so" in choice.why


def test_without_a_state_folder_the_first_that_fits_runs(machine, catalogue, entry):
    """Tests and evaluations run the same thing on every machine that has it."""
    _, opened = machine(*ALL, took_s={OPENVINO: 0.2, ORT: 0.1})
    _, choice = choose(catalogue, entry, Asked(), threads=1)
    assert (choice.plan, opened) == (OPENVINO, [OPENVINO])


@pytest.mark.parametrize(
    ("ort_s", "expected"), [(0.2, OPENVINO), (0.1, OPENVINO), (0.095, OPENVINO), (0.085, ORT)]
)
def test_the_first_start_times_what_fits_and_later_ones_remember(
    machine, catalogue, entry, tmp_path, ort_s, expected
):
    """The preferred one runs unless another is clearly faster, and the second start opens one engine only."""
    clock, opened = machine(*ALL, took_s={OPENVINO: 0.1, ORT: ort_s})
    engine, first = choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert engine.plan == first.plan == expected
    assert (
        first.why
        == f"the fastest, timed now: openvino f32 on cpu 100.0 ms, onnxruntime f32 on cpu {ort_s * 1000:.1f} ms"
    )
    assert {str(each.plan): each.ms for each in first.candidates}[str(ORT)] == pytest.approx(ort_s * 1000)
    assert opened == [OPENVINO, ORT, expected], "the winner anew: without the graph of the timing's size"
    _, second = choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert second.plan == expected
    assert "timed at an earlier start" in second.why
    assert opened == [OPENVINO, ORT, expected, expected]


def test_other_weights_or_versions_are_timed_anew(machine, catalogue, entry, tmp_path, monkeypatch):
    """What was kept holds for these files, libraries and this CPU only."""
    clock, opened = machine(*ALL, took_s={OPENVINO: 0.1, ORT: 0.2})
    for version in ("1", "1", "2"):
        monkeypatch.setattr("models.backends.kept.version", lambda _name, now=version: now)
        choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert opened == [OPENVINO, ORT, OPENVINO, OPENVINO, OPENVINO, ORT, OPENVINO]


def test_a_back_end_that_fails_while_it_is_timed_is_not_chosen(machine, catalogue, entry, tmp_path):
    """One broken library does not keep the other from running."""
    clock, _ = machine(*ALL, took_s={OPENVINO: None, ORT: 0.3})
    _, choice = choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert choice.plan == ORT


def test_while_a_plan_is_timed_the_file_says_so(machine, catalogue, entry, tmp_path, monkeypatch):
    """What kills the process in native code is known at the next start; what only raises has ended."""
    clock, _ = machine(*ALL, took_s={OPENVINO: None, ORT: 0.1})
    key, seen, run = module._key(entry, [OPENVINO, ORT]), [], _Engine.run

    def note(engine, pictures, outputs):
        seen.append((engine.plan, KeptTimings(tmp_path).unfinished(key)))
        return run(engine, pictures, outputs)

    monkeypatch.setattr(_Engine, "run", note)
    choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert {plan for plan, _ in seen} == {OPENVINO, ORT}
    assert all(trying == {str(plan)} for plan, trying in seen)
    assert json.loads((tmp_path / FILE).read_text())[key] == {str(ORT): 100.0}


@pytest.mark.parametrize(
    ("ms", "crashed", "opens", "runs"),
    [
        ({}, [OPENVINO], [ORT, ORT], ORT),
        ({OPENVINO: 100.0}, [ORT], [OPENVINO], OPENVINO),
        ({}, [OPENVINO, ORT], [OPENVINO, ORT, OPENVINO], OPENVINO),
    ],
)
def test_a_plan_whose_timing_never_ended_is_left_out(
    machine, catalogue, entry, tmp_path, ms, crashed, opens, runs
):
    """No restart loop over a library that crashes or hangs; told in the start line. Where all did, all are tried again."""
    clock, opened = machine(*ALL, took_s={OPENVINO: 0.1, ORT: 0.2})
    key = module._key(entry, [OPENVINO, ORT])
    KeptTimings(tmp_path).write(key, {str(plan): value for plan, value in ms.items()}, map(str, crashed))
    _, choice = choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert (opened, choice.plan) == (opens, runs)
    told = f"{crashed[0]}: its timing never ended ({FILE})"
    assert (told in choice.why) is (len(crashed) == 1)


def test_a_kept_choice_that_cannot_be_opened_any_more_is_made_anew(machine, catalogue, entry, tmp_path):
    """A library that broke since does not stop the next start."""
    clock, _ = machine(*ALL, took_s={OPENVINO: 0.1, ORT: 0.05})
    choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    clock, _ = machine(*ALL, took_s={OPENVINO: 0.1})
    _, choice = choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert choice.plan == OPENVINO
    assert "timed now" in choice.why


def test_weights_that_no_engine_can_read_are_wrong_input(machine, catalogue, entry, tmp_path):
    """If all fail, the first's reason is told with the file."""
    clock, _ = machine(*ALL, took_s={})
    for state in (None, tmp_path):
        with pytest.raises(
            WeightsError, match=r"gridwatch\.onnx: openvino cannot be loaded: libsomething\.so"
        ):
            choose(catalogue, entry, Asked(), threads=1, state_dir=state, clock_s=clock)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1, 2]",
        b"\xff\xfe\x00",
        b"[" * 5000,
        b'{"KEY": 3}',
        b'{"KEY": {"openvino f32 on cpu": "fast"}}',
        b"x" * 70_000,
    ],
)
def test_a_damaged_file_of_timings_costs_a_measurement_and_no_more(
    machine, catalogue, entry, tmp_path, content
):
    """Whatever lies there, the start goes on and the file is whole again."""
    clock, opened = machine(*ALL, took_s={OPENVINO: 0.1, ORT: 0.2})
    key = module._key(entry, [OPENVINO, ORT])
    (tmp_path / FILE).write_bytes(content.replace(b"KEY", key.encode()))
    choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    assert opened == [OPENVINO, ORT, OPENVINO]
    assert json.loads((tmp_path / FILE).read_text())[key] == {str(OPENVINO): 100.0, str(ORT): 200.0}
    assert [each.name for each in tmp_path.iterdir()] == [FILE]


def test_what_is_kept_is_bounded(tmp_path):
    """The oldest timings go; one that is written again counts as new."""
    kept = KeptTimings(tmp_path / "made")
    for number in range(MOST_KEPT + 3):
        kept.write(f"key{number}", {"a plan": number + 1.0})
        kept.write("always", {"a plan": 1.0})
    assert len(json.loads((tmp_path / "made" / FILE).read_text())) == MOST_KEPT
    assert kept.read("key0") == {}
    assert kept.read("always") == {"a plan": 1.0}
    assert kept.read(f"key{MOST_KEPT + 2}") == {"a plan": MOST_KEPT + 3.0}


def test_a_folder_that_takes_nothing_is_no_error(tmp_path):
    """A read-only state costs a timing at each start."""
    (tmp_path / "file").write_text("")
    kept = KeptTimings(tmp_path / "file")
    kept.write("key", {"a plan": 1.0})
    assert kept.read("key") == {}


def test_the_key_tells_machines_and_files_apart(monkeypatch):
    """Another hash, another set of plans or another CPU is another key."""
    own = key_of(["a"], ["x"])
    assert own == key_of(["a"], ["x"])
    assert len({own, key_of(["b"], ["x"]), key_of(["a"], ["x", "y"])}) == 3
    monkeypatch.setattr("models.backends.kept._cpu", lambda: ["another"])
    assert key_of(["a"], ["x"]) != own


def test_the_list_says_what_runs_what_fits_and_why_the_rest_does_not(machine, catalogue, entry, tmp_path):
    """A person sees every way to compute, the chosen one, its timing, and one reason for each that does not run."""
    clock, _ = machine("openvino", "onnxruntime", took_s={OPENVINO: 0.1, ORT: 0.05})
    before = {row.plan: row for row in list_backends(entry, Asked(), tmp_path)}
    assert [plan for plan, row in before.items() if row.is_chosen] == [str(OPENVINO)]
    choose(catalogue, entry, Asked(), threads=1, state_dir=tmp_path, clock_s=clock)
    rows = {row.plan: row for row in list_backends(entry, Asked(), tmp_path)}
    assert [plan for plan, row in rows.items() if row.is_chosen] == [str(ORT)]
    assert (rows[str(ORT)].ms, rows[str(OPENVINO)].ms) == (50.0, 100.0)
    assert rows[str(OPENVINO)].problem == ""
    assert rows[str(INT8)].problem == "the network has no 8-bit form"
    assert rows[str(GPU)].problem == "torch is not installed; it comes with the extra 'torch'"
    asked = {row.plan: row for row in list_backends(entry, Asked("openvino"), tmp_path)}
    assert asked[str(ORT)].problem == NOT_ASKED
    with pytest.raises(BackendError):
        list_backends(entry, Asked("torch"))
