# SPDX-License-Identifier: AGPL-3.0-or-later
"""A network as a folder that another machine can name as its catalogue."""

import hashlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import yaml

from models.backends.choose import Asked
from models.backends.protobuf import field
from models.catalogue import OWN, Catalogue, Form
from models.errors import WeightsError
from models.exporting import export
from models.network import Network, NetworkSettings
from models.pictures import Picture
from models.storing import SCRATCH


@pytest.fixture
def own(catalogue, tmp_path):
    """Return a copy of the distribution's catalogue that a test may damage."""
    shutil.copytree(catalogue.file.parent / "weights", tmp_path / "own/weights")
    shutil.copy(catalogue.file, tmp_path / "own/catalogue.yaml")
    return Catalogue.load(tmp_path / "own/catalogue.yaml")


@pytest.fixture
def pictures(tmp_path):
    """Return a folder of twenty pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(8)
    for at in range(20):
        cv2.imwrite(str(folder / f"{at}.png"), rng.integers(0, 256, (36, 64, 3), np.uint8))
    return folder


def test_an_exported_network_is_the_same_network(catalogue, tmp_path, yard):
    """The folder holds all forms, the card and a catalogue of one; what runs from there sees the same."""
    folder = tmp_path / "deep/down"
    done = export(catalogue, catalogue.entry(), folder)
    copied = Catalogue.load(folder / "catalogue.yaml")
    copied.verify(copied.entry())
    assert done.entry == copied.entry()
    assert [entry.name for entry in copied.entries] == [copied.default] == ["gridwatch"]
    for form in Form:
        assert copied.read(copied.entry(), form) == catalogue.read(catalogue.entry(), form)
        assert (
            copied.entry().sha256(form) == catalogue.entry().sha256(form)
            if copied.paths_of(done.entry, form)
            else True
        )
    assert (folder / copied.entry().card).read_text("utf-8") == (
        catalogue.file.parent / catalogue.entry().card
    ).read_text("utf-8")
    assert sorted(done.files) == sorted(folder.iterdir())
    settings = NetworkSettings(asked=Asked("openvino", "f32"))
    mine, theirs = (
        Network.open(threads=1, settings=settings, catalogue=each).detect(Picture(yard))
        for each in (copied, catalogue)
    )
    assert (mine.xyxy == theirs.xyxy).all()
    assert (mine.confidence == theirs.confidence).all()


def test_a_folder_with_something_in_it_is_not_written_unless_forced(catalogue, tmp_path):
    """What lies there stays; forced, files of the same names are replaced and others stay all the same."""
    entry, folder = catalogue.entry(), tmp_path / "out"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", "utf-8")
    (folder / "catalogue.yaml").write_text("mine too", "utf-8")
    with pytest.raises(WeightsError, match="the folder is not empty; name another one, or give --force"):
        export(catalogue, entry, folder)
    assert len(list(folder.iterdir())) == 2
    assert (folder / "catalogue.yaml").read_text("utf-8") == "mine too"
    export(catalogue, entry, folder, force=True)
    assert (folder / "mine.txt").read_text("utf-8") == "mine"
    assert Catalogue.load(folder / "catalogue.yaml").entry() is not None


def everything(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(own, onnx, **more):
    """Put another ONNX file in the place of the catalogue's, and return the catalogue that means it."""
    (file,) = own.paths_of(own.entry(), Form.ONNX)
    file.write_bytes(onnx)
    fields = yaml.safe_load(own.file.read_text("utf-8"))
    fields["networks"][0]["forms"] = {
        "onnx": {"file": f"weights/{file.name}", "sha256": hashlib.sha256(onnx).hexdigest()}
    }
    fields["networks"][0] |= {"precision": "f32", **more}
    own.file.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return Catalogue.load(own.file)


def noted(onnx):
    """Return the same network with one note more."""
    return onnx + field(14, field(1, b"made") + field(2, b"later"))


def test_an_export_that_fails_leaves_the_earlier_one_whole(own, weights, tmp_path, monkeypatch):
    """Files of other content have other names: whatever fails before the catalogue is replaced, the old one runs."""
    out = tmp_path / "out"
    export(own, own.entry(), out)
    before, newer, replace = everything(out), changed(own, noted(weights)), Path.replace

    def fail(self, target):
        if self.name == "catalogue.yaml":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(WeightsError, match="cannot be written: No space left"):
            export(newer, newer.entry(), out, force=True)
    assert everything(out) == before
    done = export(newer, newer.entry(), out, force=True)
    assert sorted(done.files) == sorted(out.iterdir())  # and the earlier one's files are gone
    Catalogue.load(out / "catalogue.yaml").verify(done.entry)


def test_a_catalogue_of_other_networks_is_not_replaced(own, tmp_path):
    """Forced or not, a folder from which something else runs is left alone."""
    out = tmp_path / "out"
    shutil.copytree(tmp_path / "own", out)
    (out / "catalogue.yaml").write_text(own.file.read_text("utf-8").replace("gridwatch", "other"), "utf-8")
    (out / "weights/gridwatch.onnx").rename(out / "weights/other.onnx")
    before = everything(out)
    with pytest.raises(WeightsError, match=r"catalogue of other networks \(other\), which would be lost"):
        export(own, own.entry(), out, force=True)
    assert everything(out) == before


def test_gridwatch_s_own_folder_is_not_written(own):
    """Not even forced, and not below it."""
    for folder in (OWN.parent, OWN.parent / "weights", OWN.parent / "weights/new"):
        with pytest.raises(WeightsError, match="gridwatch's own folder is not written to"):
            export(own, own.entry(), folder, force=True)
    assert not (OWN.parent / "weights/new").exists()


def test_what_a_killed_export_left_does_not_block_the_next(own, tmp_path):
    """Its scratch folder is no content of the user's, and goes."""
    left = tmp_path / "out" / f"{SCRATCH}abc"
    left.mkdir(parents=True)
    (left / "half.onnx").write_bytes(b"half")
    export(own, own.entry(), tmp_path / "out")
    assert not left.exists()


def test_eight_bits_need_a_head_that_can_be_found(own, small_network, pictures, tmp_path, monkeypatch):
    """A network whose layers have other names is refused before anything is written: its boxes would be rounded."""
    monkeypatch.setattr("models.exporting.find_spec", lambda _: object())
    heads = [
        {"output": "people", "classes": ["person", "bicycle", "car", "motorcycle", "bus", "truck"]},
        {"output": "fire", "classes": ["fire", "smoke"]},
    ]
    other = changed(own, small_network(), heads=heads, density=None)
    with pytest.raises(WeightsError, match="layers are not named as Ultralytics names them"):
        export(other, other.entry(), tmp_path / "out", pictures=pictures)
    assert not (tmp_path / "out").exists()


def test_what_nncf_raises_is_one_sentence(own, pictures, tmp_path, monkeypatch):
    """Its errors have no base of their own; any of them says that the network cannot be made 8-bit, and nothing stays."""

    class ValidationError(Exception):
        pass

    errors = ModuleType("nncf.errors")
    errors.ValidationError = ValidationError

    def refuse(*_arguments, **_options):
        raise errors.ValidationError("these are\nno operations of mine")

    monkeypatch.setitem(sys.modules, "nncf.errors", errors)
    monkeypatch.setattr("models.exporting.find_spec", lambda _: object())
    monkeypatch.setattr("models.training.quantise.quantise", refuse)
    with pytest.raises(WeightsError, match="'gridwatch' cannot be made 8-bit: no operations of mine"):
        export(own, own.entry(), tmp_path / "out", pictures=pictures)
    assert not (tmp_path / "out").exists()


def test_what_is_not_the_meant_file_is_not_exported(own, tmp_path):
    """A damaged weights file, or a missing card, ends the export before a folder is made."""
    entry = own.entry()
    (tmp_path / "own" / entry.card).unlink()
    with pytest.raises(WeightsError, match="the card of 'gridwatch' cannot be read"):
        export(own, entry, tmp_path / "out")
    (weights,) = own.paths_of(entry, Form.ONNX)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="not the file that the catalogue means"):
        export(own, entry, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_folders_are_refused(own, tmp_path):
    """Neither the catalogue's own folder nor a file is written to."""
    with pytest.raises(WeightsError, match="lies there already"):
        export(own, own.entry(), tmp_path / "own", force=True)
    (tmp_path / "file").write_text("", "utf-8")
    for folder in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(WeightsError, match=r"cannot be (written|read): Not a directory"):
            export(own, own.entry(), folder)


def test_eight_bits_need_nncf(catalogue, tmp_path, pictures, monkeypatch):
    """Without the package it says what to install."""
    monkeypatch.setattr("models.exporting.find_spec", lambda _: None)
    with pytest.raises(WeightsError, match="needs nncf: install gridwatch with the extra `train`"):
        export(catalogue, catalogue.entry(), tmp_path / "out", pictures=pictures)
    assert not (tmp_path / "out").exists()


def test_eight_bits_need_enough_good_pictures(catalogue, tmp_path, pictures, monkeypatch):
    """A missing folder, one with too few pictures and a file that is none are named before anything is computed."""
    monkeypatch.setattr("models.exporting.find_spec", lambda _: object())
    entry, out = catalogue.entry(), tmp_path / "out"
    with pytest.raises(WeightsError, match="is no folder of pictures"):
        export(catalogue, entry, out, pictures=tmp_path / "none")
    (pictures / "7.png").write_bytes(b"no picture")
    with pytest.raises(WeightsError, match=r"7\.png: is no picture that can be decoded"):
        export(catalogue, entry, out, pictures=pictures)
    (pictures / "7.png").unlink()
    with pytest.raises(WeightsError, match=r"holds 19 pictures .* calibration needs at least 20"):
        export(catalogue, entry, out, pictures=pictures)
    assert not out.exists()
