# SPDX-License-Identifier: AGPL-3.0-or-later
"""The parts that scenes are made of: laying cut-outs, endless flames, people who gather, unpacking."""

import hashlib
import importlib.util
import itertools
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.scenes.canvas import Sprite, cut, glow, heap, lay, shade
from gridwatch.simulator.scenes.evening import night_street, sunset_road
from gridwatch.simulator.scenes.fluid import load_fluids
from gridwatch.simulator.scenes.people import Gathering
from gridwatch.simulator.scenes.places import PAINTERS
from gridwatch.simulator.scenes.schedule import CYCLE_S, slot

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "unpack_scenes.py"
GROUND = ((0.01, 0.36), (0.99, 0.36), (0.99, 0.995), (0.01, 0.995))


def grey(level: int, rows: int = 40, columns: int = 60) -> np.ndarray:
    return np.full((rows, columns, 3), level, np.uint8)


def test_an_opaque_cut_out_replaces_and_a_clear_one_leaves_the_picture():
    """Alpha 1 shows the cut-out, alpha 0 the picture, and alpha a half their mean."""
    alpha = np.array([[1.0, 0.0, 0.5]])
    picture = grey(100, 1, 3)
    lay(picture, cut(grey(200, 1, 3), alpha), 0, 0)
    assert picture[0, :, 0].tolist() == pytest.approx([200, 100, 150], abs=1)


@pytest.mark.parametrize(("x", "y"), [(-5, -5), (55, 35), (-100, 0), (0, 100), (60, 40)])
def test_what_hangs_over_the_edge_is_cut_off(x, y):
    """A cut-out laid partly or wholly outside changes only what lies inside."""
    picture, sprite = grey(0), cut(grey(255, 10, 10), np.ones((10, 10)))
    lay(picture, sprite, x, y)
    rows = max(0, min(y + 10, 40) - max(y, 0))
    columns = max(0, min(x + 10, 60) - max(x, 0))
    assert np.count_nonzero(picture[..., 0]) == rows * columns


@pytest.mark.parametrize("x", [-500, -10, 30, 55, 500])
def test_shade_stays_inside_the_picture(x):
    """A shadow partly or wholly outside darkens what lies inside and fails nowhere."""
    picture = grey(200)
    shade(picture, [(x, 5), (x + 20, 5), (x + 20, 30), (x, 30)], 0.5, 2)
    assert (picture.min() < 150) == (-20 < x < 60)


def test_light_adds_and_hides_nothing():
    """A glow brightens without covering, and stops at white."""
    picture = grey(100)
    lay(picture, glow(60, 40, (0, 0, 255), 1.0), 0, 0)
    assert picture[..., 0].min() == picture[..., 0].max() == 100
    assert picture[20, 30, 2] == 255


def test_a_heap_looks_like_its_parts_laid_one_by_one():
    """Cut-outs heaped into one give the same picture, to rounding, as laid after each other."""
    rng = np.random.default_rng(1)
    parts = [
        (cut(rng.integers(0, 256, (12, 12, 3), np.uint8), rng.random((12, 12))), int(x), 3 * int(x))
        for x in range(4)
    ]
    one_by_one, at_once = grey(120), grey(120)
    for sprite, x, y in parts:
        lay(one_by_one, sprite, x, y)
    lay(at_once, heap(parts, 60, 40), 0, 0)
    assert np.abs(one_by_one.astype(int) - at_once).max() <= 4


def test_a_mirrored_cut_out_is_the_same_after_two_mirrors():
    """Mirroring twice gives the cut-out back."""
    sprite = Sprite(np.arange(36, dtype=np.uint8).reshape(3, 4, 3), np.zeros((3, 4, 3), np.uint8))
    assert np.array_equal(sprite.mirrored().mirrored().light, sprite.light)
    assert not np.array_equal(sprite.mirrored().light, sprite.light)


def test_flames_and_smoke_run_without_a_seam():
    """Over many loops no tenth of a second changes a field more than twice as much as usual."""
    fluids, rng = load_fluids(), np.random.default_rng(3)
    for plume in (fluids.flames(rng), fluids.smokes(rng)):
        fields = [plume.field(step / 10).astype(int) for step in range(200)]
        steps = [np.abs(b - a).mean() for a, b in itertools.pairwise(fields)]
        assert max(steps) < 2.2 * np.median(steps)
        assert min(steps) > 0.2


def test_unreadable_flames_are_said_in_one_sentence(tmp_path):
    """A broken file of flames is a wrong input, not a stack trace."""
    broken = tmp_path / "flames.npz"
    broken.write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read"):
        load_fluids(broken)


def test_cycles_never_overlap():
    """An event is over well before its cycle is, whatever the seed."""
    for seed in range(50):
        for cycle in range(4):
            when = slot(seed, 1, cycle, 200.0)
            assert cycle * CYCLE_S <= when.begin_s < when.end_s <= (cycle + 1) * CYCLE_S - 40


def test_a_gathering_exceeds_the_limit_from_its_onset_to_its_end():
    """Before the onset the limit holds; from arrival to the end at least eleven persons stand in the zone."""
    person = cut(grey(90, 130, 50), np.ones((130, 50)))
    for seed in range(20):
        when = slot(seed, 5, 0, 14.0)
        crowd = Gathering("plaza", when, (person,), (6, GROUND), (1.0, 1.0, 1.0))
        event = crowd.event
        assert crowd.count(GROUND, event.appears_s - 0.1) == 0
        assert crowd.count(GROUND, event.onset_s - 0.11) <= 6 < crowd.count(GROUND, event.onset_s + 0.01)
        assert crowd.count(GROUND, event.onset_s + 12) >= 11
        assert crowd.count(GROUND, event.end_s - 0.1) >= 11
        assert crowd.count(GROUND, event.end_s + 20) == 0


@pytest.mark.parametrize("paint", [*PAINTERS.values(), night_street, sunset_road])
def test_every_place_can_be_painted_whatever_the_dice(paint):
    """A place covers its whole picture, and spots and roads lie inside it."""
    for seed in range(6):
        place = paint(np.random.default_rng(seed))
        assert place.picture.shape == (540, 960, 3)
        black = np.count_nonzero(place.picture.max(axis=2) < 6)
        assert black < 500, "a part was left unpainted"
        assert all(100 < x < 860 and 300 < y < 540 for x, y in place.spots)


def run_unpack(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def wheel(folder: Path, **members: bytes) -> Path:
    file = folder / "ultralytics-8.4.190-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("ultralytics/__init__.py", "")
        for name, content in members.items():
            archive.writestr(f"ultralytics/assets/{name}.jpg", content)
    return file


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none.whl", "there is no such wheel"),
        (lambda folder: folder, "expected one ultralytics wheel in this folder, found 0"),
        (wheel, "does not contain ultralytics/assets/bus.jpg"),
        (lambda folder: wheel(folder, bus=b"another"), "is not the photograph that the demo knows"),
        (lambda _: SCRIPT, "cannot be read as a wheel"),
    ],
)
def test_a_wheel_without_the_photograph_ends_in_one_sentence(tmp_path, make, says):
    """Every way in which the photograph cannot be had is one line on stderr and exit code 2, and leaves no file."""
    done = run_unpack(make(tmp_path), tmp_path / "out")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_only_the_photograph_is_unpacked_and_a_second_run_needs_no_wheel(tmp_path):
    """Of all that is in the wheel one checked file comes out; when it lies there, the wheel is not opened."""
    spec = importlib.util.spec_from_file_location("unpack_scenes", SCRIPT)
    unpacker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpacker)
    unpacker.SHA256 = hashlib.sha256(b"the photograph").hexdigest()
    source = wheel(tmp_path, bus=b"the photograph", zidane=b"never")
    out = unpacker.unpack(tmp_path, tmp_path / "out")
    assert out.read_bytes() == b"the photograph"
    assert [file for file in (tmp_path / "out").rglob("*") if file.is_file()] == [out]
    source.unlink()
    assert unpacker.unpack(tmp_path, tmp_path / "out") == out
