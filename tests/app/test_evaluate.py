# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch evaluate`: what it says of the network that ran, of looks without an answer, and of kinds left out."""

import json

import av
import numpy as np
import pytest

from gridwatch.app.cli import main
from gridwatch.app.evaluate import evaluate, load_truth, only
from gridwatch.core.detections import ObjectClass
from gridwatch.core.errors import InputError
from gridwatch.core.zone import Kind
from models.catalogue import Catalogue
from models.errors import InferenceError
from models.network import Network

SECONDS, FPS = 12, 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder with one clip in which nothing happens, and a truth file that claims a fire and smoke."""
    folder = tmp_path_factory.mktemp("clips")
    with av.open(folder / "yard.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "g": str(FPS)})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for _ in range(SECONDS * FPS):
            frame = av.VideoFrame.from_ndarray(np.full((96, 160, 3), 90, np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    events = [{"kind": kind, "onset_s": 2, "end_s": 9, "alert_expected": True} for kind in ("fire", "smoke")]
    truth = {"clips": [{"file": "yard.mp4", "duration_s": SECONDS, "events": events}]}
    (folder / "truth.json").write_text(json.dumps(truth), "utf-8")
    return folder


@pytest.fixture
def command(clips, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command and returns its output and JSON."""

    def run():
        out = tmp_path / "scores.json"
        line = ["gridwatch", "evaluate", str(clips), "--truth", str(clips / "truth.json"), "--json", str(out)]
        monkeypatch.setattr("sys.argv", line)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return said.out, json.loads(out.read_text("utf-8"))

    return run


def test_it_says_what_ran(command):
    """Figures without back end and precision compare with nothing."""
    said, result = command()
    assert "network gridwatch (" in said
    assert result["network"]["name"] == Catalogue.load().default
    assert result["network"]["device"] in said
    assert "f32" in result["network"]["device"]
    assert result["kinds"]["fire"]["events"] == 1
    assert (result["kinds_left_out"], result["cost"]["looks_unknown"]) == ([], 0)
    assert f"looks: {result['cost']['looks']}, 0 of them without an answer" in said


def test_kinds_that_the_network_cannot_tell_are_left_out_and_named(command, monkeypatch):
    """A network without smoke has missed no smoke; nothing it cannot see counts for it either."""
    told = frozenset(ObjectClass) - {ObjectClass.SMOKE}
    monkeypatch.setattr(Network, "classes", property(lambda _: told))
    said, result = command()
    assert "left out, because the network does not tell them: smoke" in said
    assert result["kinds_left_out"] == ["smoke"]
    assert list(result["kinds"]) == ["fire", "crowd", "traffic"]
    assert "missed" in said
    assert "| yard.mp4 |  | fire |  |  |" in said


def test_a_network_that_tells_nothing_of_ours_is_wrong_input(clips):
    """There is nothing to score."""
    truth = load_truth(clips / "truth.json")
    with pytest.raises(InputError, match="tells nothing"):
        only(truth, frozenset())
    rest, left_out = only(truth, frozenset({Kind.FIRE}))
    assert rest.zone.kinds == {Kind.FIRE}
    assert left_out == {Kind.SMOKE, Kind.CROWD, Kind.TRAFFIC}


class NoAnswer:
    """A network whose device is gone."""

    def detect(self, _frame, *, parts):
        raise InferenceError(f"device lost ({sorted(parts)})")


def test_looks_without_an_answer_are_counted(clips):
    """Else a network that never answered has perfect silence."""
    _, alerts, cost = evaluate(clips, load_truth(clips / "truth.json"), NoAnswer())
    assert alerts == []
    assert cost.unknown == cost.looks > 2
