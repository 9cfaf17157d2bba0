# SPDX-License-Identifier: AGPL-3.0-or-later
import shutil

import pytest

from gridwatch.core.errors import InputError
from models.backends.choose import Asked
from models.catalogue import OWN, Catalogue, Form
from models.errors import WeightsError
from models.listing import list_networks, verify_networks
from models.network import Network, NetworkSettings

F32 = NetworkSettings(asked=Asked("openvino", "f32"))


@pytest.fixture
def copy(tmp_path):
    """Return a catalogue file of this distribution's own text, with the weights beside it."""
    (tmp_path / "weights").mkdir()
    shutil.copy(OWN, tmp_path / "catalogue.yaml")
    for file in (OWN.parent / "weights").glob("gridwatch*"):
        shutil.copy(file, tmp_path / "weights")
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
    assert entry.name == catalogue.default == "gridwatch"
    catalogue.verify(entry)
    assert catalogue.paths_of(entry, Form.ONNX) == (OWN.parent / "weights/gridwatch.onnx",)
    assert (OWN.parent / entry.card).is_file()


def test_the_card_names_the_files_that_ship_and_they_are_small():
    """The model card has the SHA-256 of every file; ONNX stays within 14 MB and the 8-bit pair within 7."""
    catalogue = Catalogue.load()
    entry = catalogue.entry()
    card = (catalogue.file.parent / entry.card).read_text(encoding="utf-8")
    limits = {Form.ONNX: 14_000_000, Form.OPENVINO_INT8: 7_000_000}
    for form, most_bytes in limits.items():
        files = entry.forms.files(form)
        assert files
        assert all(file.sha256 in card for file in files)
        assert sum((catalogue.file.parent / file.file).stat().st_size for file in files) <= most_bytes


def test_a_name_that_is_not_there_is_told_with_those_that_are(catalogue):
    """An unknown name ends in one sentence that names the known ones."""
    with pytest.raises(WeightsError, match=r"no network is called 'yolo'; there are: gridwatch"):
        catalogue.entry("yolo")


def test_weights_with_one_changed_byte_are_refused_by_name(copy):
    """A file that differs in one bit is named with both hashes, and no engine sees it."""
    weights = copy.parent / "weights/gridwatch.onnx"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match="not the file that the catalogue means") as raised:
        Network.open(threads=1, settings=F32, catalogue=Catalogue.load(copy))
    assert isinstance(raised.value, InputError)
    assert raised.value.file == weights
    assert "\n" not in str(raised.value)


def test_missing_weights_are_one_sentence(copy):
    """A file that is not there is named."""
    weights = copy.parent / "weights/gridwatch.onnx"
    weights.unlink()
    catalogue = Catalogue.load(copy)
    with pytest.raises(WeightsError, match=r"weights of 'gridwatch' are missing") as raised:
        catalogue.verify(catalogue.entry())
    assert raised.value.file == weights


def test_unreadable_weights_are_one_sentence(copy):
    """A folder in the file's place is an unreadable file."""
    weights = copy.parent / "weights/gridwatch.onnx"
    weights.unlink()
    weights.mkdir()
    catalogue = Catalogue.load(copy)
    with pytest.raises(WeightsError, match=r"cannot be read: Is a directory"):
        catalogue.verify(catalogue.entry())


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x08\x12\x09gridwatch"])
def test_a_file_of_the_right_hash_that_is_no_network_is_one_sentence(copy, content):
    """What the engine cannot read is wrong input with the file's name, not a crash."""
    import hashlib

    weights = copy.parent / "weights/gridwatch.onnx"
    weights.write_bytes(content)
    sha256 = Catalogue.load(copy).entry().forms.onnx.sha256
    changed(copy, sha256, hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightsError, match="OpenVINO cannot read the network") as raised:
        Network.open(threads=1, settings=F32, catalogue=Catalogue.load(copy))
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
            "file: weights/gridwatch.onnx",
            "file: weights/gridwatch.pt",
            r"must be an \.onnx file \(a \.pt or \.pth is a pickle",
        ),
        (
            "file: weights/gridwatch.onnx",
            "file: ../gridwatch.onnx",
            "inside the catalogue's folder",
        ),
        ("file: weights/gridwatch.onnx", "file: /etc/x.onnx", "inside the catalogue's folder"),
        (
            "[person, bicycle,",
            "[person, dog,",
            "classes: 'dog' is none of person, .*smoke; a column that is none of them is null",
        ),
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


def test_a_hash_that_is_none_is_named_with_its_line(copy):
    """Sixty-four hexadecimal digits, nothing else."""
    own = f"sha256: {Catalogue.load(copy).entry().forms.onnx.sha256}"
    line = changed(copy, own, "sha256: XYZ")
    with pytest.raises(WeightsError, match=r"forms\.onnx\.sha256") as raised:
        Catalogue.load(copy)
    assert raised.value.line == line


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("classes: [fire, smoke]", "classes: [fire, car]", "two heads tell the same class"),
        ("classes: [fire, smoke]", "classes: [null, null]", "must name at least one class"),
        ("classes: [fire, smoke]", "classes: [fire, fire]", "none twice"),
        ("output: fire", "output: people", "two outputs have the same name"),
        ("cell_px: 8", "cell_px: 4", "cell_px"),
        ("output: density", "output: a b", "output: "),
    ],
)
def test_heads_that_contradict_each_other_are_refused(copy, old, new, says):
    """Each class and each output is told once."""
    changed(copy, old, new)
    with pytest.raises(WeightsError, match=says):
        Catalogue.load(copy)


def test_eight_bits_as_the_default_need_their_form(tmp_path):
    """What should run must be there."""
    import yaml

    document = yaml.safe_load(OWN.read_text("utf-8"))
    (network,) = document["networks"][:1]
    network["precision"] = "int8"
    network["forms"].pop("openvino_int8", None)
    file = tmp_path / "catalogue.yaml"
    file.write_text(yaml.safe_dump(document), "utf-8")
    with pytest.raises(WeightsError, match="precision is int8, but forms has no openvino_int8"):
        Catalogue.load(file)


def test_the_pair_of_an_eight_bit_form_is_verified_file_by_file(tmp_path):
    """Graph and weights each have their hash; a changed one is named, and the two together name what runs."""
    import hashlib

    import yaml

    document = yaml.safe_load(OWN.read_text("utf-8"))
    (network,) = document["networks"][:1]
    (tmp_path / "weights").mkdir()
    files = []
    for name in ("x.xml", "x.bin"):
        (tmp_path / "weights" / name).write_bytes(name.encode())
        files.append({"file": f"weights/{name}", "sha256": hashlib.sha256(name.encode()).hexdigest()})
    network["forms"]["openvino_int8"] = {"files": files}
    file = tmp_path / "catalogue.yaml"
    file.write_text(yaml.safe_dump(document), "utf-8")
    catalogue = Catalogue.load(file)
    entry = catalogue.entry()
    assert catalogue.read(entry, Form.OPENVINO_INT8) == (b"x.xml", b"x.bin")
    both = "".join(each["sha256"] for each in files)
    assert entry.sha256(Form.OPENVINO_INT8) == hashlib.sha256(both.encode()).hexdigest()
    assert entry.sha256(Form.ONNX) == entry.forms.onnx.sha256
    (tmp_path / "weights/x.bin").write_bytes(b"other")
    with pytest.raises(WeightsError, match="not the file that the catalogue means") as raised:
        catalogue.read(entry, Form.OPENVINO_INT8)
    assert raised.value.file == tmp_path / "weights/x.bin"


def test_a_default_that_names_no_network_is_refused(copy):
    """The default must be one of the networks."""
    changed(copy, "default: gridwatch", "default: other")
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
    assert (row.name, row.is_default, row.licence) == ("gridwatch", True, "AGPL-3.0-or-later")
    assert row.classes[-2:] == ("fire", "smoke")
    assert row.size_bytes == sum(file.stat().st_size for file in row.files)
    row.files[0].unlink()
    assert list_networks(Catalogue.load(copy))[0].size_bytes is None


def test_verify_says_what_is_wrong_with_each_file(copy):
    """A sound file has no problem; a cut one has a sentence."""
    catalogue = Catalogue.load(copy)
    (row,) = verify_networks(catalogue)
    assert row.problem is None
    row.files[0].write_bytes(row.files[0].read_bytes()[:-1])
    (row,) = verify_networks(catalogue, "gridwatch")
    assert "not the file that the catalogue means" in row.problem
