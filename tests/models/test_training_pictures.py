# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the fire part learns from: labels that nobody drew stay unknown, samples repeat, generated fires have boxes."""

import cv2
import numpy as np
import pytest

from models.errors import WeightsError
from models.evaluation.errors import DatasetError
from models.training.compose import Plan, compose
from models.training.compression import through_h264
from models.training.cuttings import make_cuttings
from models.training.flames import Bank, ignite, make_bank
from models.training.pictures import Picture, read_boxes, read_training

FOLDERS = (
    "firesmoke/images/train",
    "firesmoke/images/val",
    "firesmoke_extra/images/train",
    "firesmoke_extra/partial/images",
    "firesmoke_extra/negatives/images",
    "firesmoke_extra/imagelevel/fire",
    "firesmoke_extra/imagelevel/smoke",
    "firesmoke_imagelevel/fire",
    "fire_video/images",
    "negatives_video/images",
    "street/images/train",
    "street/images/cam",
    "crowd/images",
)


@pytest.fixture(scope="module")
def bank() -> Bank:
    return make_bank(5, scenes=2)


@pytest.fixture
def root(tmp_path):
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def add(root, folder, name, label=None):
    cv2.imwrite(str(root / folder / f"{name}.png"), np.full((30, 40, 3), 90, np.uint8))
    if label is not None:
        labels = root / folder.replace("images", "labels")
        labels.mkdir(parents=True, exist_ok=True)
        (labels / f"{name}.txt").write_text(label, encoding="utf-8")


def picture(bgr=None, boxes=(), known=(1, 1), present=(0, 0)):
    bgr = np.full((60, 80, 3), 120, np.uint8) if bgr is None else bgr
    table = np.array(boxes, np.float32).reshape(-1, 5)
    return Picture("one", bgr, table, np.array(known, np.float32), np.array(present, np.float32), "test")


def test_a_label_says_what_is_there_and_what_is_not(root):
    """A picture with a box of fire holds fire and, completely labelled, no smoke."""
    add(root, "firesmoke/images/train", "a", "0 0.5 0.5 0.5 0.5\n")
    one = read_training(root)[0]
    assert one.present.tolist() == [1, 0]
    assert one.known.tolist() == [1, 1]
    assert one.boxes.tolist() == [[0, 10, 7.5, 30, 22.5]]


def test_smoke_that_nobody_labelled_is_unknown_not_absent(root):
    """In a partly labelled picture flames are complete, and of smoke nothing is said."""
    add(root, "firesmoke_extra/partial/images", "a", "0 0.5 0.5 0.5 0.5\n")
    one = read_training(root)[0]
    assert one.known.tolist() == [1, 0]
    assert one.present[0] == 1
    assert np.isnan(one.present[1])


def test_a_picture_level_label_gives_no_boxes(root):
    """A picture known to burn has fire somewhere, and neither class's boxes are known."""
    add(root, "firesmoke_imagelevel/fire", "a")
    one = read_training(root)[0]
    assert one.present[0] == 1
    assert np.isnan(one.present[1])
    assert one.known.tolist() == [0, 0]
    assert not one.is_clean


def test_pictures_kept_for_tests_are_not_learned_from(root):
    """Of the crowd pictures those that the counter is scored on stay out."""
    for name in ("shta_IMG_1", "cust_test_IMG_1", "cust_train_IMG_1"):
        add(root, "crowd/images", name)
    names = [one.name for one in read_training(root) if one.source != "plain"]
    assert names == ["crowd/images/cust_train_IMG_1.png"]


def test_a_missing_folder_and_a_broken_label_are_named(root, tmp_path):
    """The error says which folder, or which file and line."""
    with pytest.raises(WeightsError, match="not there"):
        read_training(tmp_path / "nowhere")
    file = tmp_path / "label.txt"
    file.write_text("0 0.5 0.5 0.1 0.1\n0 half 0.5 0.1 0.1\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"label\.txt:2"):
        read_boxes(file, 10, 10)


def test_a_plan_makes_the_same_sample_again(bank):
    """Seeds, not the order of work, decide what a sample looks like."""
    pictures = [picture(), picture(boxes=[(0, 10, 10, 50, 50)], present=(1, 0))]
    plan = Plan((0, 1, 0, 1), (7, 3), 96, 64, calm=False)
    one, two = compose(plan, pictures, bank), compose(plan, pictures, bank)
    assert (one.bgr == two.bgr).all()
    assert (one.boxes == two.boxes).all()
    other = compose(Plan((0, 1, 0, 1), (7, 4), 96, 64, calm=False), pictures, bank)
    assert (one.bgr != other.bgr).any()


def test_boxes_follow_their_pixels(bank):
    """A bright square keeps its box through scaling, shifting and mirroring."""
    bgr = np.full((120, 160, 3), 20, np.uint8)
    bgr[40:80, 30:90] = 250
    one = picture(bgr, [(0, 30, 40, 90, 80)], present=(1, 0))
    seen = 0
    for seed in range(30):
        sample = compose(Plan((0,), (1, seed), 160, 128, calm=True), [one], bank)
        for _, x0, y0, x1, y1 in sample.boxes:
            grey = sample.bgr.mean(2)
            inside = grey[int(y0) + 3 : int(y1) - 2, int(x0) + 3 : int(x1) - 2]
            if inside.size:
                seen += 1
                assert np.median(inside) > 2 * np.median(
                    grey[sample.bgr.max(2) < 60] if (grey < 60).any() else 20
                )
    assert seen > 15


def test_what_was_cut_off_is_not_called_absent(bank):
    """A picture whose only flame fell out of the sample is unsure, not clean."""
    one = picture(np.full((100, 400, 3), 90, np.uint8), [(0, 0, 0, 12, 12)], present=(1, 0))
    samples = [compose(Plan((0, 0, 0, 0), (2, seed), 64, 64, calm=False), [one], bank) for seed in range(20)]
    empty = [sample for sample in samples if not len(sample.boxes)]
    assert empty
    assert all(np.isnan(sample.present[0]) for sample in empty)


def test_a_mosaic_with_an_unsure_picture_is_unsure(bank):
    """Three clean pictures do not make the fourth clean."""
    pictures = [picture(), picture(known=(1, 0), present=(0, np.nan))]
    sample = compose(Plan((0, 0, 0, 1), (2, 1), 64, 64, calm=False), pictures, bank)
    assert np.isnan(sample.present[1])
    assert sample.known.tolist() == [1, 0]


def test_generated_fires_lie_in_their_boxes(bank):
    """What changed most lies inside the boxes that `ignite` returns."""
    made = 0
    for seed in range(40):
        before = np.full((240, 320, 3), 100, np.uint8)
        after = before.copy()
        boxes = ignite(after, bank, np.random.default_rng(seed))
        changed = np.abs(after.astype(int) - before).max(2) > 60
        covered = np.zeros(changed.shape, bool)
        for _, x0, y0, x1, y1 in boxes:
            covered[max(0, int(y0) - 2) : int(y1) + 3, max(0, int(x0) - 2) : int(x1) + 3] = True
        if changed.sum() > 200:
            made += 1
            assert (changed & covered).sum() > 0.85 * changed.sum()
    assert made > 10


def test_the_encoder_damages_and_keeps_the_scene():
    """A lower bit rate takes more away; size and place stay."""
    rng = np.random.default_rng(8)
    scene = cv2.resize(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8), (160, 120))
    scene = cv2.add(scene, rng.integers(0, 25, scene.shape, dtype=np.uint8))
    losses = [float(np.abs(through_h264(scene, crf).astype(int) - scene).mean()) for crf in (20, 32, 44)]
    assert losses == sorted(losses)
    assert 0 < losses[0] < 0.6 * losses[2]
    assert losses[2] < 25  # a shifted or mirrored scene would be far off


def test_the_bank_repeats_and_both_kinds_differ(bank):
    """The same seed gives the same fields; smoke outlives flames."""
    again = make_bank(5, scenes=2)
    assert (again.flames == bank.flames).all()
    assert bank.smokes.max() > bank.flames.max()
    assert np.isfinite(bank.flames).all()


def burning():
    """A dark picture with a flame, bright and red, in the middle of its box."""
    bgr = np.full((120, 160, 3), 30, np.uint8)
    cv2.ellipse(bgr, (80, 60), (14, 24), 0, 0, 360, (40, 150, 250), -1)
    return picture(bgr, [(0, 55, 25, 105, 95)], present=(1, 0))


def test_a_flame_that_stands_out_is_lifted_with_its_shape():
    """Inside it is opaque, at its rim it is not; a box that does not stand out gives nothing, nor does smoke."""
    (cutting,) = make_cuttings([burning()])
    rows, columns = cutting.opacity.shape
    assert cutting.bgr.shape == (rows, columns, 3)
    assert cutting.opacity[rows // 2, columns // 2] == 1
    assert cutting.opacity[0].max() == cutting.opacity[:, 0].max() == 0
    assert make_cuttings([picture(boxes=[(0, 10, 10, 60, 50)], present=(1, 0))]) == []
    smoke = burning()
    smoke.boxes[:, 0] = 1
    assert make_cuttings([smoke]) == []


def test_a_lifted_flame_is_laid_into_a_clean_picture_with_its_box(bank):
    """Among the fires that are laid into pictures are lifted ones, and what changed most lies in their boxes."""
    lifted = Bank(bank.flames, bank.smokes, tuple(make_cuttings([burning()])))
    before = np.full((240, 320, 3), 60, np.uint8)
    differ = 0
    for seed in range(40):
        plain, real = before.copy(), before.copy()
        ignite(plain, bank, np.random.default_rng(seed))
        boxes = ignite(real, lifted, np.random.default_rng(seed))
        fires = boxes[boxes[:, 0] == 0]
        if np.array_equal(plain, real) or not len(fires):
            continue
        differ += 1
        change = np.abs(real.astype(int) - before).sum(2)
        x0, y0, x1, y1 = fires[0, 1:].round().astype(int)
        inside = change[y0:y1, x0:x1]
        assert inside.mean() > 2 * np.delete(change, np.s_[y0:y1], axis=0).mean()
    assert differ > 5
