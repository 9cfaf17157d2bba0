# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is known of pictures outlasts a restart, and nothing else that lies in its folder can hurt."""

import hashlib
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import structlog

from gridwatch.app.homes import Homes
from gridwatch.core.camera import Camera
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from ingest import kept
from ingest.freshnoise import Noise, Still
from ingest.kept import Home, Usual
from ingest.usual import Light

YARD = Zone("yard", frozenset({Kind.FIRE}), ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9)))
CAMERA = Camera("gate", "南门", SecretUrl("rtsp://user:secret@192.0.2.1/gate"), (YARD,))
VIEW = np.arange(2 * 90 * 160, dtype=np.uint32).astype(np.uint8).reshape(2, 90, 160)
NOISE = Noise((1.5, 1.25), (0.5,), (0.75, 0.5, 0.25))
USUAL = Usual(
    Light(0.5, 100.0, 7.5, np.arange(144, dtype=np.float32).reshape(9, 16)), bytes((0, 12, 3)), NOISE
)
HOME = Home(VIEW, USUAL)


@pytest.fixture
def homes(tmp_path):
    return Homes(tmp_path)


def only_file(tmp_path):
    (file,) = (tmp_path / "homes").iterdir()
    return file


def test_the_views_of_the_version_before_are_taken_over(homes, tmp_path):
    """A camera that was moved before an upgrade must not learn what it shows now; what is usual is learnt anew."""
    homes.save(CAMERA, HOME)
    body = VIEW.tobytes()
    only_file(tmp_path).write_bytes(b"gridwatch home 1\n" + hashlib.sha256(body).digest() + body)
    home = homes.load(CAMERA)
    assert (home.views == VIEW).all()
    assert (home.usual.light, home.usual.shared, home.usual.noise.steps) == (None, b"", ())


def test_a_view_is_there_after_a_restart(homes, tmp_path):
    """As it was, for the camera whose it is, under a name that tells nothing of its address."""
    assert homes.load(CAMERA) is None
    homes.save(CAMERA, HOME)
    again = Homes(tmp_path)
    assert np.array_equal(again.load(CAMERA).views, VIEW)
    assert again.load(replace(CAMERA, camera_id="other")) is None
    assert "secret" not in only_file(tmp_path).name
    assert b"secret" not in only_file(tmp_path).read_bytes()


def test_what_is_drawn_anew_or_shown_from_elsewhere_begins_anew(homes):
    """Zones are drawn on what the camera shows now; a name or a limit says nothing of the view."""
    homes.save(CAMERA, HOME)
    redrawn = replace(YARD, polygon=((0.2, 0.1), (0.9, 0.1), (0.9, 0.9)))
    for other in (
        replace(CAMERA, zones=(redrawn,)),
        replace(CAMERA, zones=(YARD, replace(YARD, zone_id="second"))),
        replace(CAMERA, url=SecretUrl("rtsp://192.0.2.2/gate")),
        replace(CAMERA, sub_url=SecretUrl("rtsp://192.0.2.1/sub")),
    ):
        assert homes.load(other) is None
    same = replace(CAMERA, name="东门", zones=(replace(YARD, name="院", kinds=frozenset({Kind.SMOKE})),))
    assert np.array_equal(homes.load(same).views, VIEW)


def archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("x", "y")
    return out.getvalue()


def array(values):
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def file_of(usual, length=None):
    body = (len(usual) if length is None else length).to_bytes(4, "little") + usual + VIEW.tobytes()
    return b"gridwatch home 2\n" + hashlib.sha256(body).digest() + body


FOREIGN = {
    "empty": b"",
    "text": b"gridwatch home 3\n" + bytes(500),
    "what is usual is cut off": file_of(kept.written(USUAL)[:-1]),
    "more of what is usual than there is": file_of(kept.written(USUAL), length=1 << 31),
    "zip": archive(),
    "numpy": array(VIEW),
    "a header that claims terabytes": array(VIEW).replace(b"(2, 90, 160)", b"(999999999,)"),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00",
    "large": b"gridwatch home 2\n" + bytes(1_000_000),
}


@pytest.mark.parametrize("written", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_as_good_as_none(homes, tmp_path, written):
    """Nothing is raised, the log says so once, and what is learned next takes its place."""
    homes.save(CAMERA, HOME)
    only_file(tmp_path).write_bytes(written)
    again = Homes(tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert again.load(CAMERA) is None
        again.prune([CAMERA])
        assert again.load(CAMERA) is None
    assert [log["event"] for log in logs] == ["home_passed_over"]
    again.save(CAMERA, HOME)
    assert np.array_equal(again.load(CAMERA).views, VIEW)


def test_a_file_that_was_cut_off_or_changed_is_as_good_as_none(homes, tmp_path):
    """Whichever byte is missing or wrong: a home that never was would call every picture moved."""
    homes.save(CAMERA, HOME)
    whole = only_file(tmp_path).read_bytes()
    for cut in (1, 20, 48, 49, 5_000, 90 * 160 + 49, len(whole) - 1):
        only_file(tmp_path).write_bytes(whole[:cut])
        assert Homes(tmp_path).load(CAMERA) is None
    for at in (0, 16, 30, 60, len(whole) - 1):
        only_file(tmp_path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert Homes(tmp_path).load(CAMERA) is None


def test_a_folder_in_a_files_place_or_a_disk_that_refuses_costs_the_view_only(homes, tmp_path):
    """Cameras are watched without what they looked like before."""
    (tmp_path / "homes").write_text("no folder")
    homes.save(CAMERA, HOME)
    assert homes.load(CAMERA) is None
    homes.forget(CAMERA)
    homes.prune([CAMERA])
    (tmp_path / "homes").unlink()
    homes.save(CAMERA, HOME)
    assert np.array_equal(homes.load(CAMERA).views, VIEW)


def test_views_of_cameras_that_are_gone_are_removed(homes, tmp_path):
    """The folder holds no more files than there are cameras; what is no file stays and stops nothing."""
    for number in range(5):
        homes.save(replace(CAMERA, camera_id=f"c{number}"), HOME)
    (tmp_path / "homes" / "0000").mkdir()
    (tmp_path / "homes" / "left.new").write_bytes(b"half")
    homes.prune([replace(CAMERA, camera_id="c3")])
    assert len([file for file in (tmp_path / "homes").iterdir() if file.is_file()]) == 1
    assert homes.load(replace(CAMERA, camera_id="c3")) is not None
    homes.save(replace(CAMERA, camera_id="c1"), HOME)
    assert homes.load(replace(CAMERA, camera_id="c1")) is not None


def test_a_view_that_has_not_changed_is_not_written_again(homes, tmp_path):
    """Thousands of cameras every ten minutes would wear a disk out for nothing; another view is written at once."""
    homes.save(CAMERA, HOME)
    before = only_file(tmp_path).stat()
    homes.save(CAMERA, Home(VIEW.copy(), USUAL))
    assert only_file(tmp_path).stat().st_ino == before.st_ino
    homes.save(CAMERA, Home(VIEW[:1]))
    assert np.array_equal(homes.load(CAMERA).views, VIEW[:1])
    homes.forget(CAMERA)
    assert homes.load(CAMERA) is None
    homes.save(CAMERA, Home(VIEW[:1]))
    assert np.array_equal(homes.load(CAMERA).views, VIEW[:1])


def test_what_is_usual_is_there_after_a_restart(homes, tmp_path):
    """Every part of it, as it was; and where a part is not known, it is not known afterwards."""
    still = Still(
        np.linspace(16, 235, 60 * 320, dtype=np.float32).reshape(60, 320),
        VIEW.ravel()[:19_200].reshape(60, 320),
    )
    frozen = replace(USUAL, noise=replace(NOISE, still=still))
    homes.save(CAMERA, Home(VIEW, frozen))
    found = Homes(tmp_path).load(CAMERA).usual
    light = found.light
    assert (light.sharpness, light.level, light.detail, found.shared) == (0.5, 100.0, 7.5, USUAL.shared)
    assert np.array_equal(light.coarse, USUAL.light.coarse)
    assert (found.noise.steps, found.noise.alike, found.noise.sizes) == (
        NOISE.steps,
        NOISE.alike,
        NOISE.sizes,
    )
    assert np.array_equal(found.noise.still.strip, still.strip)
    assert np.abs(found.noise.still.background - still.background).max() <= 1 / 16
    homes.save(CAMERA, Home(VIEW))
    nothing = Homes(tmp_path).load(CAMERA).usual
    assert (nothing.light, nothing.shared, nothing.noise.steps, nothing.known) == (None, b"", (), 0)
    assert (nothing.noise.alike, nothing.noise.sizes, nothing.noise.still) == ((), (), None)
