# SPDX-License-Identifier: AGPL-3.0-or-later
"""Training itself, on tiny generated pictures: the loss, the run and its resumption, the files that come out."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from gridwatch.core.errors import InputError

pytestmark = [pytest.mark.torch, pytest.mark.timeout(300)]

FOLDERS = {
    "firesmoke/images/train": True,
    "firesmoke/images/val": True,
    "firesmoke_extra/images/train": True,
    "firesmoke_extra/partial/images": True,
    "firesmoke_extra/negatives/images": False,
    "firesmoke_extra/imagelevel/fire": False,
    "firesmoke_extra/imagelevel/smoke": False,
    "firesmoke_imagelevel/fire": False,
    "fire_video/images": False,
    "negatives_video/images": False,
    "street/images/train": False,
    "street/images/cam": False,
    "crowd/images": False,
}


def scene(rng: np.random.Generator, *, burning: bool) -> np.ndarray:
    picture = cv2.resize(rng.integers(40, 160, (6, 8, 3), dtype=np.uint8), (160, 128))
    if burning:
        cv2.ellipse(picture, (80, 64), (20, 40), 0, 0, 360, (20, 140, 255), -1)
    return picture


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(4)
    for folder, labelled in FOLDERS.items():
        (root / folder).mkdir(parents=True)
        for number in range(4):
            burning = labelled and number % 2 == 0
            cv2.imwrite(str(root / folder / f"{number}.png"), scene(rng, burning=burning))
            labels = root / folder.replace("images", "labels")
            labels.mkdir(parents=True, exist_ok=True)
            if labelled:
                (labels / f"{number}.txt").write_text("0 0.5 0.5 0.25 0.62\n" if burning else "", "utf-8")
    points = root / "crowd/points"
    points.mkdir()
    for number in range(2):
        (root / f"crowd/images/{number}.png").unlink()
        for name in (f"sht_IMG_{number}", f"cust_train_IMG_{number}"):
            cv2.imwrite(str(root / f"crowd/images/{name}.png"), scene(rng, burning=False))
            (points / f"{name}.json").write_text(json.dumps({"points": [[20, 30], [100, 90]]}), "utf-8")
    for number in range(4):
        (root / f"street/labels/train/{number}.txt").write_text(
            "0 0.5 0.5 0.1 0.3\n2 0.2 0.2 0.1 0.1\n", "utf-8"
        )
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Return weights to start from that know nothing yet."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from models.training.nets import counter, fire_detector, save_state

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("weights")
    people = DetectionModel("yolov8n.yaml", ch=3, nc=80, verbose=False)
    save_state(people.state_dict(), folder / "yolov8n-coco.safetensors")
    save_state(fire_detector().state_dict(), folder / "gridwatch-firesmoke.safetensors")
    save_state(counter().state_dict(), folder / "gridwatch-density.safetensors")
    return folder


def tiny(weights: Path, iterations: int = 4, **changes):
    from dataclasses import replace

    from models.training.recipes import make_recipes

    (recipe,) = make_recipes("cpu", weights, [7], iterations)
    return replace(
        recipe,
        **{"batch": 2, "sizes": ((96, 64),), "score_every": 2, "rise": 1, "flame_scenes": 2, **changes},
    )


def run(recipe, data, folder, *, resume=False):
    import torch

    from models.training.pictures import read_training, read_validation
    from models.training.run import Run

    torch.set_num_threads(1)
    one = Run(recipe, read_training(data), read_validation(data), folder)
    one.go(lambda *_: None, resume=resume)
    return one


def test_what_is_unknown_is_not_taught():
    """Where smoke may be and nobody labelled it, a network that sees some is not told that it is wrong."""
    import torch

    from models.training.compose import Sample
    from models.training.nets import fire_detector
    from models.training.objective import Objective, collate

    torch.manual_seed(2)
    model = fire_detector().train()
    grey = np.full((64, 96, 3), 90, np.uint8)
    unsure = np.array([np.nan, np.nan], np.float32)

    def class_loss(known):
        one = Sample(grey, np.zeros((0, 5), np.float32), np.array(known, np.float32), unsure)
        return float(Objective(model)(model, collate([one, one], torch.device("cpu")))[1].detach())

    nothing, smoke_only, both = class_loss([0, 0]), class_loss([0, 1]), class_loss([1, 1])
    assert nothing == 0
    assert 0 < smoke_only < both


def test_ranking_orders_pictures_and_ignores_the_unsure():
    """The loss falls as pictures with a class rise above those without; pictures of which nobody knows do not count."""
    import torch

    from models.training.objective import rank

    present = torch.tensor([[1.0, torch.nan], [0.0, torch.nan], [torch.nan, torch.nan]])
    wrong = rank(torch.tensor([[-2.0, 0], [2.0, 0], [9.0, 9]]), present)
    right = rank(torch.tensor([[2.0, 0], [-2.0, 0], [-9.0, 9]]), present)
    assert right < 0.1
    assert wrong > 3
    assert rank(torch.zeros(3, 2), torch.full((3, 2), torch.nan)) == 0


def test_a_run_repeats(data, weights, tmp_path):
    """The same recipe gives the same weights, and they differ from where it started."""
    from models.training.nets import load_state

    for name in ("one", "two"):
        run(tiny(weights), data, tmp_path / name)
    one, two = (load_state(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    start = load_state(weights / "gridwatch-firesmoke.safetensors")
    assert all((one[name] == two[name]).all() for name in one)
    assert any((one[name] != start[name]).any() for name in one if one[name].is_floating_point())


def test_a_run_that_was_cut_off_goes_on(data, weights, tmp_path):
    """A resumed run begins after its last checkpoint and ends where an uncut one would."""
    import torch

    from models.errors import WeightsError

    recipe = tiny(weights, iterations=4)
    folder = tmp_path / "run"
    whole = run(recipe, data, folder)
    state = torch.load(folder / "run.pt", weights_only=True)
    state["course"]["iteration"] = 2
    torch.save(state, folder / "run.pt")
    again = run(recipe, data, folder, resume=True)
    assert again._course.iteration == whole._course.iteration == 4
    assert [row["iteration"] for row in json.loads((folder / "scores.json").read_text("utf-8"))] == [2, 4, 4]
    with pytest.raises(WeightsError, match="another recipe or of other pictures"):
        run(tiny(weights, iterations=5), data, folder, resume=True)
    with pytest.raises(WeightsError, match="no run to resume"):
        run(recipe, data, tmp_path / "empty", resume=True)


def test_the_first_layers_stay(data, weights, tmp_path):
    """Frozen layers keep their weights and their statistics."""
    from models.training.nets import load_state

    run(tiny(weights, frozen=3), data, tmp_path)
    start, end = (
        load_state(weights / "gridwatch-firesmoke.safetensors"),
        load_state(tmp_path / "last.safetensors"),
    )
    stays = [name for name in start if name.startswith(("model.0.", "model.1.", "model.2."))]
    assert stays
    assert all((start[name] == end[name]).all() for name in stays if "num_batches" not in name)


def test_the_mean_is_taken_only_where_it_is_better():
    """Of the start, two networks and their means the best by val is chosen, over all sizes."""
    import torch

    from models.training.train import candidates, choose
    from models.training.validate import Score

    states = {
        name: {"w": torch.full((2,), value)} for name, value in (("start", 0.0), ("a", 3.0), ("b", 6.0))
    }
    start = states.pop("start")

    def near(*targets):
        def judge(state):
            far = [abs(float(state["w"][0]) - target) / 99 for target in targets]
            return tuple(Score((1 - each, 1 - each), (1 - each, 1 - each)) for each in far)

        return judge

    several = candidates(start, states)
    assert choose(several, near(4.5)).name == "mean"
    assert choose(several, near(6)).name == "b"
    assert choose(several, near(0)).name == "start"
    assert choose(several, near(9, 5.5)).name == "b"
    alone = candidates(start, {"a": states["a"]})
    assert choose(alone, near(1.5)).name == "mean with start"
    assert "mean" not in alone


def test_everything_from_pictures_to_files(data, weights, tmp_path, capsys, monkeypatch):
    """One command trains, joins and writes; the files answer alike, and INT8 nearly so."""
    import onnxruntime
    import torch

    from gridwatch.app.models_train import TrainOptions, train_models
    from models.backends.openvino import load_openvino
    from models.training.nets import build_joined, load_state

    out = tmp_path / "out"
    monkeypatch.setattr("models.training.train.CALIBRATION_PICTURES", 8)
    train_models(TrainOptions(data, weights, out, seeds=(7,), iterations=1, counter_iterations=1))
    assert "gridwatch.onnx" in capsys.readouterr().out
    images = np.random.default_rng(3).random((1, 3, 64, 96), np.float32)
    session = onnxruntime.InferenceSession(str(out / "gridwatch.onnx"), providers=["CPUExecutionProvider"])
    people, fire, density, whole = session.run(
        ["people", "fire", "density", "detections"], {"images": images}
    )
    with torch.inference_mode():
        theirs = build_joined(load_state(out / "gridwatch.safetensors"))(torch.from_numpy(images))
    for mine, other in zip((people, fire, density), theirs, strict=True):
        assert np.abs(mine - other.numpy()).max() < 1.0  # pixels: weights are rounded to float16 after fusing
        assert mine.shape == tuple(other.shape)
    half = people.shape[2]
    assert (whole[:, :10, :half] == people).all()
    assert (whole[:, [0, 1, 2, 3, 10, 11], half:] == fire).all()
    compiled = load_openvino().Core().compile_model(str(out / "gridwatch-int8.xml"), "CPU")
    quick = compiled(images)
    assert np.abs(quick["density"] - density).mean() < 0.1
    size = sum((out / f"gridwatch-int8.{kind}").stat().st_size for kind in ("xml", "bin"))
    assert size < 7_000_000
    assert (out / "gridwatch.onnx").stat().st_size < 14_000_000
    assert (out / "curves.png").stat().st_size > 1000


def test_what_cannot_be_done_is_refused_before_anything_is_trained(data, weights, tmp_path):
    """A wrong recipe, seed, folder, picture set or file of weights ends in one sentence, at once."""
    import torch

    from gridwatch.app.models_train import TrainOptions, train_models

    def refused(said, **changes):
        options = {"data": data, "weights": weights, "out": tmp_path / "out", **changes}
        with pytest.raises(InputError, match=said):
            train_models(TrainOptions(**options))
        assert not list((tmp_path / "out").glob("fire*"))

    refused("no recipe is called 'fast'", recipe="fast")
    refused("seeds must be different", seeds=(7, 7))
    refused("seeds must be different", seeds=(-1,))
    refused("training pictures are not there", data=tmp_path)
    refused("weights to start from are not there", weights=tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in weights.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "gridwatch-density.safetensors").write_bytes(b"short")
    refused("cannot be read", weights=broken)
    if not torch.cuda.is_available():
        refused("needs a GPU", recipe="gpu")


def test_another_job_is_not_resumed(data, weights, tmp_path):
    """A folder in which another job was begun, or in which one runs now, is refused."""
    from models.errors import WeightsError
    from models.training.job import Job, folder_of

    def job(**changes):
        told = {"data": data, "weights": weights, "out": tmp_path, "recipes": (tiny(weights),)}
        return Job(**{**told, "counter_iterations": 1, **changes})

    with pytest.raises(WeightsError, match="no job to resume"), folder_of(job(resume=True)):
        pass
    with folder_of(job()), pytest.raises(WeightsError, match="another process"), folder_of(job(resume=True)):
        pass
    with folder_of(job(resume=True)):
        pass
    with pytest.raises(WeightsError, match="another job"), folder_of(job(resume=True, every=2)):
        pass


def test_a_damaged_run_is_named(data, weights, tmp_path):
    """What cannot be read is no run to go on with, and no code in it is run."""
    from models.errors import WeightsError

    run(tiny(weights, iterations=2), data, tmp_path)
    (tmp_path / "run.pt").write_bytes(b"not a file of torch")
    with pytest.raises(WeightsError, match="damaged"):
        run(tiny(weights, iterations=2), data, tmp_path, resume=True)


def picture(boxes=(), known=(1, 1), present=(0, 0)):
    from models.training.pictures import Picture

    table = np.array(boxes, np.float32).reshape(-1, 5)
    grey = np.full((64, 64, 3), 90, np.uint8)
    return Picture("one", grey, table, np.array(known, np.float32), np.array(present, np.float32), "test")


def found(*rows):
    from models.training.validate import Found

    table = np.array(rows, np.float32).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_self_training_adds_what_is_sure_and_denies_what_is_not_there(monkeypatch):
    """A sure box is taken; a doubtful one keeps its class unknown; where nothing is seen nothing is there."""
    from models.training import selftrain

    answers = {
        "sure": found((1, 2, 30, 40, 0.9, 0)),
        "doubtful": found((1, 2, 30, 40, 0.9, 0), (30, 2, 60, 40, 0.3, 0)),
        "empty": found((1, 2, 30, 40, 0.01, 0)),
        "labelled": found((1, 2, 30, 40, 0.01, 0)),
    }
    pictures = [picture(known=(0, 1), present=(np.nan, 0)) for _ in answers]
    pictures[3].present[0] = 1
    for one, name in zip(pictures, answers, strict=True):
        one.name = name
    queue = iter(answers.values())
    monkeypatch.setattr(selftrain, "find", lambda *_: next(queue))

    class Model:
        def eval(self):
            return self

    assert selftrain.fill_labels(Model(), pictures) == 2
    sure, doubtful, empty, labelled = pictures
    assert sure.boxes.tolist() == [[0, 1, 2, 30, 40]]
    assert (sure.known[0], sure.present[0]) == (1, 1)
    assert (doubtful.known[0], len(doubtful.boxes)) == (0, 1)
    assert (empty.known[0], empty.present[0]) == (1, 0)
    assert (labelled.known[0], labelled.present[0], len(labelled.boxes)) == (0, 1, 0)


def test_recall_is_read_where_few_negatives_are_claimed():
    """The threshold is what a hundredth, two and three hundredths of the clean pictures reach."""
    from models.training.validate import recall_at_few

    clean = [picture() for _ in range(100)]
    burning = [picture([(0, 0, 0, 9, 9)], present=(1, 0)) for _ in range(4)]
    scores = [0.9, 0.5, 0.4, 0.3, *([0.1] * 96), 0.95, 0.45, 0.35, 0.2]
    answers = [found((0, 0, 9, 9, score, 0)) for score in scores]
    # more than one, two, three of a hundred: above .5, .4, .3
    assert recall_at_few(answers, [*clean, *burning], 0) == pytest.approx((1 + 2 + 3) / 4 / 3)
    assert np.isnan(recall_at_few(answers, [*clean, *burning], 1))


def test_average_precision_is_that_of_the_shipped_scorer():
    """Training and `models evaluate` mean the same by AP50."""
    from models.training.validate import average_precision

    truth = picture([(0, 0, 0, 10, 10), (0, 20, 20, 40, 40)], present=(1, 0))
    perfect = found((0, 0, 10, 10, 0.9, 0), (20, 20, 40, 40, 0.8, 0))
    assert average_precision([perfect], [truth], 0) == pytest.approx(0.995, abs=0.01)
    half = found((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.95, 0))
    assert average_precision([half], [truth], 0) == pytest.approx(0.25, abs=0.02)
    twice = found((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 10, 0.8, 0))
    assert average_precision([twice], [truth], 0) == pytest.approx(0.5, abs=0.02)


def test_pictures_that_deceive_are_drawn_more_often(data, weights, tmp_path):
    """A clean picture that was claimed strongly gets a larger share of the draws than one that was not."""
    import torch

    one = run(tiny(weights, iterations=1), data, tmp_path)
    clean = [at for at, each in enumerate(one._pictures) if each.is_clean and each.weight == 1][:2]
    strongest = torch.tensor([[4.0, -4.0], [-4.0, -4.0]])
    one._remember(strongest, torch.zeros(2, 2), [(clean[0],), (clean[1],)])
    weights_now = one._weights()
    assert weights_now[clean[0]] > 1.5 * weights_now[clean[1]]
    assert weights_now.sum() == pytest.approx(1)
