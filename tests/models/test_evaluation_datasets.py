# SPDX-License-Identifier: AGPL-3.0-or-later
"""Data sets with boxes and with counts: what is read from them, and what is said of broken ones."""

import cv2
import numpy as np
import pytest

from gridwatch.core.detections import ObjectClass
from models.evaluation.counting import is_counts, load_counts
from models.evaluation.datasets import has_split, load_dataset
from models.evaluation.errors import DatasetError
from models.evaluation.pictures import read_picture

YAML = "path: .\ntest: images/test\nnames:\n  0: fire\n  1: smoke\n  2: kite\n"


@pytest.fixture
def folder(tmp_path):
    """Two pictures, one with a fire and its smoke, one with nothing."""
    (tmp_path / "images/test").mkdir(parents=True)
    (tmp_path / "labels/test").mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"images/test/{name}.png"), np.zeros((20, 40, 3), np.uint8))
    (tmp_path / "data.yaml").write_text(YAML, encoding="utf-8")
    label(tmp_path, "a", "0 0.5 0.5 0.2 0.4\n1 0.5 0.25 1 0.5\n2 0.1 0.1 0.1 0.1\n")
    label(tmp_path, "b", "")
    return tmp_path


def label(folder, name, text):
    (folder / f"labels/test/{name}.txt").write_text(text, encoding="utf-8")


def problem(folder, split="test"):
    with pytest.raises(DatasetError) as caught:
        load_dataset(folder, split)
    return caught.value


def test_boxes_are_read_by_the_names_of_their_classes(folder):
    """Class numbers mean what data.yaml says; boxes become normalised corners."""
    first, second = load_dataset(folder, "test").samples
    assert first.class_id.tolist() == [ObjectClass.FIRE, ObjectClass.SMOKE]
    assert np.allclose(first.xyxy, [[0.4, 0.3, 0.6, 0.7], [0, 0, 1, 0.5]])
    assert len(second.xyxy) == 0


def test_classes_of_others_are_left_out_with_a_note(folder):
    """A class that is none of ours is not read, and the notes say so."""
    dataset = load_dataset(folder, "test")
    assert dataset.classes == {ObjectClass.FIRE, ObjectClass.SMOKE}
    assert any("kite" in note for note in dataset.notes)


def test_a_line_that_stands_twice_is_one_box(folder):
    """Doubled lines are one box, as Ultralytics takes them."""
    label(folder, "a", "0 0.5 0.5 0.2 0.4\n0 0.5 0.5 0.2 0.4\n")
    assert len(load_dataset(folder, "test").samples[0].xyxy) == 1


def test_missing_label_files_are_counted_in_the_notes(folder):
    """A picture without a label file is a negative, and the notes count such pictures."""
    (folder / "labels/test/b.txt").unlink()
    dataset = load_dataset(folder, "test")
    assert len(dataset.samples[1].xyxy) == 0
    assert any(note.startswith("1 pictures have no label file") for note in dataset.notes)


def test_groups_and_notes_come_from_the_manifest(folder):
    """Pictures of one group are known as such; a picture that the manifest does not name is a group of its own."""
    (folder / "MANIFEST.tsv").write_text("file\tgroup\tnote\nimages/test/a.png\tg7\tdusk\n", encoding="utf-8")
    dataset = load_dataset(folder, "test")
    assert dataset.grouped
    assert [(sample.group, sample.note) for sample in dataset.samples] == [("g7", "dusk"), ("b.png", "")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.2", "4 values"),
        ("0 0.5 0.5 0.2 0.4 0.9", "6 values"),
        ("0 0.5 x 0.2 0.4", "is no box"),
        ("fire 0.5 0.5 0.2 0.4", "is no box"),
        ("9 0.5 0.5 0.2 0.4", "class 9 is not named"),
        ("0 0.5 0.5 0 0.4", "inside the picture"),
        ("0 512 300 40 20", "inside the picture"),
        ("0 nan 0.5 0.2 0.4", "inside the picture"),
        ("0 0.5 -0.2 0.2 0.4", "inside the picture"),
    ],
)
def test_a_broken_label_is_named_with_file_and_line(folder, line, said):
    """A label line that is no box ends the reading with its file and line."""
    label(folder, "a", f"0 0.5 0.5 0.2 0.4\n{line}\n")
    error = problem(folder)
    assert error.file == folder / "labels/test/a.txt"
    assert error.line == 2
    assert said in error.problem


def test_a_label_without_its_picture_is_named(folder):
    """A label file without a picture is an error: the picture got lost, or the label does not belong there."""
    label(folder, "ghost", "")
    error = problem(folder)
    assert error.file == folder / "labels/test/ghost.txt"
    assert "not there" in error.problem


def test_an_unknown_split_names_those_that_there_are(folder):
    """A split that is not there is an error that lists the known ones."""
    assert "test" in problem(folder, "nosuch").problem
    assert has_split(folder, "test")
    assert not has_split(folder, "nosuch")


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("names: [kite, kettle]", "none of our classes"),
        ("train: images/train", "needs `names`"),
        ("names: {0: [fire]}", "no number with a name"),
        ("names: [fire", "not valid YAML"),
    ],
)
def test_a_broken_data_yaml_is_named(folder, yaml, said):
    """data.yaml without classes of ours, without names or without form is an error that names the file."""
    (folder / "data.yaml").write_text(yaml, encoding="utf-8")
    error = problem(folder)
    assert error.file == folder / "data.yaml"
    assert said in error.problem


def test_a_broken_manifest_line_is_named(folder):
    """A manifest line with other columns than the first is an error with its line."""
    (folder / "MANIFEST.tsv").write_text(
        "file\tgroup\nimages/test/a.png\tg\nimages/test/b.png\n", encoding="utf-8"
    )
    error = problem(folder)
    assert (error.file, error.line) == (folder / "MANIFEST.tsv", 3)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture_is_named(tmp_path, data):
    """An empty or broken picture file is an error that names it."""
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.png: is no picture"):
        read_picture(tmp_path / "a.png")


def counts(folder, *lines, columns="file\tsplit\tcount"):
    (folder / "MANIFEST.tsv").write_text("\n".join([columns, *lines, ""]), encoding="utf-8")


def test_counts_are_grouped_by_what_files_are_called(folder):
    """Pictures with counts belong together by the beginning of their names, or by the manifest's own tag."""
    for name in ("plaza_IMG_1", "plaza_IMG_22", "gate-7"):
        cv2.imwrite(str(folder / f"images/{name}.png"), np.zeros((8, 8, 3), np.uint8))
    lines = [
        "images/plaza_IMG_1.png\ttest\t12",
        "images/plaza_IMG_22.png\ttest\t3.5",
        "images/gate-7.png\ttrain\t1",
    ]
    counts(folder, *lines)
    assert is_counts(folder)
    found = load_counts(folder, "test").samples
    assert [(sample.count, sample.tag) for sample in found] == [(12, "plaza"), (3.5, "plaza")]
    counts(folder, *(f"{line}\tx" for line in lines), columns="file\tsplit\tcount\ttag")
    assert [sample.tag for sample in load_counts(folder, "train").samples] == ["x"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("images/test/a.png\ttest\tmany", "no number"),
        ("images/test/a.png\ttest\t-1", "no number of persons"),
        ("images/test/a.png\ttest\tnan", "no number of persons"),
        ("images/test/ghost.png\ttest\t1", "not there"),
    ],
)
def test_a_broken_count_is_named_with_its_line(folder, line, said):
    """A count that is no number, or of a picture that is not there, is an error with file and line."""
    counts(folder, "images/test/b.png\ttest\t2", line)
    with pytest.raises(DatasetError, match=said) as caught:
        load_counts(folder, "test")
    assert (caught.value.file, caught.value.line) == (folder / "MANIFEST.tsv", 3)


def test_a_split_without_counts_names_those_that_there_are(folder):
    """A split that no line of the manifest names is an error that lists the known ones."""
    counts(folder, "images/test/b.png\ttest\t2")
    with pytest.raises(DatasetError, match="there are: test"):
        load_counts(folder, "val")
