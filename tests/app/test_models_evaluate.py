# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models evaluate` as a command, with the network that ships, on pictures drawn here."""

import json
import sys

import cv2
import numpy as np
import pytest
import yaml

from gridwatch.app.cli import main
from models.catalogue import OWN, Catalogue

SIDE_PX = 96


def scene(seed, *, flame):
    """Return a picture (96, 96, 3): a dim gradient, with a bright warm spot where a flame is asked for."""
    rng = np.random.default_rng(seed)
    picture = np.linspace(40, 120, SIDE_PX)[:, None, None] + rng.normal(0, 6, (SIDE_PX, SIDE_PX, 3))
    if flame:
        cv2.circle(picture, (48, 56), 18, (30, 140, 250), -1)
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture
def boxes(tmp_path):
    """A data set with a fire and two pictures without one, in two splits."""
    folder = tmp_path / "yard"
    for split in ("val", "test"):
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        for at in range(3):
            cv2.imwrite(str(folder / f"images/{split}/{at}.png"), scene(at, flame=at == 0))
            text = "0 0.5 0.58 0.4 0.4\n" if at == 0 else ""
            (folder / f"labels/{split}/{at}.txt").write_text(text, encoding="utf-8")
    (folder / "data.yaml").write_text("names: [fire, smoke]\n", encoding="utf-8")
    return folder


@pytest.fixture
def counts(tmp_path):
    """A set with two counted pictures."""
    folder = tmp_path / "square"
    (folder / "images").mkdir(parents=True)
    lines = ["file\tsplit\tcount"]
    for at in range(2):
        cv2.imwrite(str(folder / f"images/square_IMG_{at}.png"), scene(at, flame=False))
        lines.append(f"images/square_IMG_{at}.png\ttest\t{5 + at}")
    (folder / "MANIFEST.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command and returns its exit code, output and JSON."""

    def run(*arguments):
        out = tmp_path / "scores.json"
        line = [
            "gridwatch",
            "models",
            "evaluate",
            *map(str, arguments),
            "--json",
            str(out),
            "--report",
            str(tmp_path / "page"),
        ]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said, json.loads(out.read_text("utf-8")) if out.exists() else None

    return run


def test_boxes_are_scored_with_the_network_that_ships(boxes, evaluate, tmp_path):
    """The command writes JSON in the documented form and a page, and names the very weights that it ran."""
    code, said, result = evaluate(boxes, "--size", "64", "--size", "96")
    assert code == 0
    catalogue = Catalogue.load()
    assert result["network"]["name"] == catalogue.default
    assert result["network"]["sha256"] in str(catalogue.entry().forms.model_dump())
    assert (result["size_px"], list(result["sizes"])) == (64, ["96"])
    fire = result["classes"]["fire"]
    assert list(result["classes"]) == ["fire"]
    assert 0 <= fire["ap50"] <= 1
    assert fire["ci95"][0] <= fire["ci95"][1]
    assert fire["recall_at_1pct_negatives"] in {0.0, 1.0}
    assert result["negatives"]["images"] == 2
    assert (
        result["negatives"]["claimed"] == 0
    )  # val's pictures are test's, and of two negatives 2.5 % is none
    assert "smoke" in " ".join(result["notes"])
    assert "AP50" in said.out
    for size_px in (64, 96):  # back end, precision and size, one line each
        assert f"on {result['network']['device']}, {size_px} px" in said.out
    assert (tmp_path / "page/index.html").stat().st_size > 1000


def test_fires_are_scored_at_the_stated_size_and_the_own(boxes, evaluate):
    """Where nobody says at which size, fire and smoke are scored at 512 px, with the network's own size beside it."""
    code, _, result = evaluate(boxes)
    assert code == 0
    own_px = Catalogue.load().entry().input.long_side_px
    assert (result["size_px"], list(result["sizes"])) == (512, [str(own_px)])


def test_counts_are_scored_with_the_network_that_ships(counts, evaluate, tmp_path):
    """A folder whose manifest has counts is scored by counting."""
    code, said, result = evaluate(counts, "--size", "96")
    assert code == 0
    assert result["counting"]["square"]["pictures"] == 2
    assert result["counting"]["square"]["true_sum"] == 11
    assert result["counting"]["square"]["counted_sum"] >= 0
    assert "square" in said.out
    assert (tmp_path / "page/index.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{}/nosuch"], "no such data set"),
        (["{}"], "is no data set"),
        (["{}/yard", "--split", "nosuch"], "has no split 'nosuch'"),
        (["{}/yard", "--size", "100"], "a multiple of 32"),
        (["{}/yard", "--size", "4096"], "a multiple of 32 from 64 to 1920"),
        (["{}/yard", "--network", "nosuch"], "no network is called 'nosuch'"),
        (["{}/yard", "--only", "kite"], "nothing of kite is labelled"),
        (["{}/yard", "--choose-on", "nosuch"], "has no split 'nosuch'"),
        (["{}/yard", "--backend", "abacus"], "abacus"),
        (["{}/square", "--only", "person"], "no classes to choose from"),
    ],
)
def test_wrong_input_ends_in_one_sentence(boxes, counts, evaluate, tmp_path, arguments, said):
    """A data set, split, size or name that is not there ends with exit code 2 and one sentence."""
    code, output, result = evaluate(*(argument.format(tmp_path) for argument in arguments))
    assert code == 2
    assert said in output.err
    assert "Traceback" not in output.err
    assert result is None


def test_a_broken_label_line_is_named(boxes, evaluate):
    """A broken label ends with file and line, exit code 2."""
    (boxes / "labels/test/0.txt").write_text("0 0.5 0.58 0.4\n", encoding="utf-8")
    code, output, _ = evaluate(boxes)
    assert code == 2
    assert "labels/test/0.txt:1: has 4 values" in output.err


@pytest.fixture
def blind(tmp_path):
    """A catalogue whose one network tells people and vehicles only."""
    folder = tmp_path / "blind"
    folder.mkdir()
    (folder / "weights").symlink_to(OWN.parent / "weights")
    fields = yaml.safe_load(OWN.read_text("utf-8"))
    (network,) = fields["networks"]
    network["heads"] = [head for head in network["heads"] if "person" in head["classes"]]
    network.pop("density")
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    return folder / "catalogue.yaml"


def test_a_network_that_cannot_see_it_gets_no_score_of_zero(boxes, counts, evaluate, blind):
    """Fires for a network without fire, and counts for one without a counter, end in one sentence and no JSON."""
    for dataset, said in ((boxes, "does not tell fire"), (counts, "no crowd counter")):
        code, output, result = evaluate(dataset, "--catalogue", blind)
        assert (code, result) == (2, None)
        assert said in output.err
        assert "Traceback" not in output.err
