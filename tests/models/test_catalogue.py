# SPDX-License-Identifier: AGPL-3.0-or-later
import shutil

import pytest

from gridwatch.core.errors import InputError
from models.catalogue import OWN, Catalogue
from models.errors import WeightsError
from models.listing import list_networks, verify_networks
from models.network import Network


@pytest.fixture
def copy(tmp_path):
    """Return a catalogue file of this distribution's own text, with the weights beside it."""
    (tmp_path / "weights").mkdir()
    shutil.copy(OWN, tmp_path / "catalogue.yaml")
    shutil.copy(OWN.parent / "weights/gridwatch-start.onnx", tmp_path / "weights")
    return tmp_path / "catalogue.yaml"


def changed(file, old, new):
    text = file.read_text("utf-8")
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new), "utf-8")
    return text[: text.index(old)].count("\n") + 1


def test_own_catalogue_names_a_default_whose_file_and_card_are_there():
    """The distribution's own catalogue loads, and its default network's file is the one it means."""
    catalogue = Catalogue.load()
    entry = catalogue.entry()
    assert entry.name == catalogue.default == "gridwatch-start"
    assert catalogue.verify(entry) == OWN.parent / "weights/gridwatch-start.onnx"
    assert (OWN.parent / entry.card).is_file()


def test_a_name_that_is_not_there_is_told_with_those_that_are(catalogue):
    """An unknown name ends in one sentence that names the known ones."""
    with pytest.raises(WeightsError, match=r"no network is called 'yolo'; there are: gridwatch-start"):
        catalogue.entry("yolo")


def test_weights_with_one_changed_byte_are_refused_by_name(copy):
    """A file that differs in one bit is named with both hashes, and no engine sees it."""
    weights = copy.parent / "weights/gridwatch-start.onnx"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match="not the file that the catalogue means") as raised:
        Network.open(threads=1, catalogue=Catalogue.load(copy))
    assert isinstance(raised.value, InputError)
    assert raised.value.file == weights
    assert "\n" not in str(raised.value)


def test_missing_weights_are_one_sentence(copy):
    """A file that is not there is named."""
    weights = copy.parent / "weights/gridwatch-start.onnx"
    weights.unlink()
    catalogue = Catalogue.load(copy)
    with pytest.raises(WeightsError, match=r"weights of 'gridwatch-start' are missing") as raised:
        catalogue.verify(catalogue.entry())
    assert raised.value.file == weights


def test_unreadable_weights_are_one_sentence(copy):
    """A folder in the file's place is an unreadable file."""
    weights = copy.parent / "weights/gridwatch-start.onnx"
    weights.unlink()
    weights.mkdir()
    catalogue = Catalogue.load(copy)
    with pytest.raises(WeightsError, match=r"cannot be read: Is a directory"):
        catalogue.verify(catalogue.entry())


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x08\x12\x09gridwatch"])
def test_a_file_of_the_right_hash_that_is_no_network_is_one_sentence(copy, content):
    """What the engine cannot read is wrong input with the file's name, not a crash."""
    import hashlib

    weights = copy.parent / "weights/gridwatch-start.onnx"
    weights.write_bytes(content)
    sha256 = Catalogue.load(copy).entry().sha256
    changed(copy, sha256, hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightsError, match="OpenVINO cannot read the network") as raised:
        Network.open(threads=1, catalogue=Catalogue.load(copy))
    assert raised.value.file == weights
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("licence:", "license:", "Field required|Extra inputs"),
        ("long_side_px: 640", "long_side_px: 650", "long_side_px: .*multiple of 32"),
        ("padding_grey: 114", "padding_grey: 0", "padding_grey: .*114"),
        ("colour: RGB", "colour: BGR", "colour: .*'RGB'"),
        ("range: [0, 1]", "range: [0, 255]", "range"),
        (
            "file: weights/gridwatch-start.onnx",
            "file: weights/gridwatch-start.pt",
            "a .pt or .pth is a pickle",
        ),
        (
            "file: weights/gridwatch-start.onnx",
            "file: ../gridwatch-start.onnx",
            "inside the catalogue's folder",
        ),
        ("file: weights/gridwatch-start.onnx", "file: /etc/x.onnx", "inside the catalogue's folder"),
        ("[person, bicycle,", "[bicycle, person,", "classes: must be person, bicycle, .* in this order"),
        ("795da705", "XYZ", "sha256"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(copy, old, new, says):
    """A mistake in the catalogue is one sentence with file, line and field."""
    line = changed(copy, old, new)
    with pytest.raises(WeightsError, match=says) as raised:
        Catalogue.load(copy)
    assert raised.value.file == copy
    # A required field that is missing stands nowhere: its network's first line is the place to look.
    assert raised.value.line in {line, 4}
    assert (raised.value.line == line) or new == "license:"
    assert str(raised.value).startswith(f"{copy}:{raised.value.line}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says", "line"),
    [
        ("default: a\nnetworks: [\n", "not valid YAML", 3),
        ("- a\n- b\n", "dictionary", 1),
        ("", "dictionary", None),
        ("default: a\nnetworks: []\n", "networks: .*at least 1", 2),
    ],
)
def test_a_catalogue_of_the_wrong_shape_is_one_sentence(tmp_path, text, says, line):
    """Broken YAML and wrong documents are told with the line where there is one."""
    file = tmp_path / "catalogue.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(WeightsError, match=says) as raised:
        Catalogue.load(file)
    assert (raised.value.file, raised.value.line) == (file, line)


def test_a_default_that_names_no_network_is_refused(copy):
    """The default must be one of the networks."""
    changed(copy, "default: gridwatch-start", "default: other")
    with pytest.raises(WeightsError, match="default names no network: 'other'"):
        Catalogue.load(copy)


def test_two_networks_of_one_name_are_refused(copy):
    """A name stands for one file."""
    text = copy.read_text("utf-8")
    copy.write_text(text + text[text.index("  - name") :], "utf-8")
    with pytest.raises(WeightsError, match="two networks have the same name"):
        Catalogue.load(copy)


def test_a_catalogue_that_is_missing_or_no_text_is_one_sentence(tmp_path):
    """A wrong path and binary content are wrong input."""
    with pytest.raises(WeightsError, match="no catalogue there"):
        Catalogue.load(tmp_path / "none.yaml")
    with pytest.raises(WeightsError, match="cannot be read"):
        Catalogue.load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WeightsError, match="not UTF-8"):
        Catalogue.load(tmp_path / "binary.yaml")


def test_list_shows_every_network_and_marks_the_default(copy):
    """A row says what it is, under which licence, and how large the file is; none if it is missing."""
    (row,) = list_networks(Catalogue.load(copy))
    assert (row.name, row.is_default, row.licence) == ("gridwatch-start", True, "AGPL-3.0-or-later")
    assert row.classes[-2:] == ("fire", "smoke")
    assert row.size_bytes == 11_739_117
    row.file.unlink()
    assert list_networks(Catalogue.load(copy))[0].size_bytes is None


def test_verify_says_what_is_wrong_with_each_file(copy):
    """A sound file has no problem; a cut one has a sentence."""
    catalogue = Catalogue.load(copy)
    (row,) = verify_networks(catalogue)
    assert row.problem is None
    row.file.write_bytes(row.file.read_bytes()[:-1])
    (row,) = verify_networks(catalogue, "gridwatch-start")
    assert "not the file that the catalogue means" in row.problem
