# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a camera's picture is worth a look."""

import numpy as np
import pytest

from gridwatch.core.look import LookReason
from ingest.gate import HEIGHT, WIDTH, Gate, GateBounds

KEY_S = 2.0


def still(seed=0, noise=2.0, level=100, size=(HEIGHT, WIDTH)):
    """A grey picture with a sensor's noise."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(level, noise, size), 0, 255).astype(np.uint8)


def with_box(luma, brightness, side=24, at=(60, 100)):
    luma = luma.copy()
    luma[at[0] : at[0] + side, at[1] : at[1] + side] = np.clip(luma[at[0], at[1]] + brightness, 0, 255)
    return luma


def watch(gate, pictures, start_s=0.0, key_s=KEY_S):
    return [gate.admit(luma, start_s + i * key_s) for i, luma in enumerate(pictures)]


def test_the_first_picture_is_looked_at():
    """Nothing is known yet: a look, without a change."""
    assert Gate().admit(still(), 5.0) == (LookReason.PATROL, 0.0)


@pytest.mark.parametrize("key_s", [0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])
@pytest.mark.parametrize("jitter_s", [0.0, 0.02])
def test_a_quiet_camera_is_looked_at_every_so_often(key_s, jitter_s):
    """A closed gate still gives a look at least every 4 s, or each key frame where those are rarer, and no more."""
    gate, looks = Gate(), []
    rng = np.random.default_rng(1)
    for i in range(int(60 / key_s)):
        at = i * key_s + rng.uniform(-jitter_s, jitter_s)
        why, change = gate.admit(still(i), at)
        assert why in (None, LookReason.PATROL)
        assert change < 8
        looks += [at] if why else []
    gaps = np.diff(looks)
    assert gaps.max() <= max(4.0, key_s) + 0.2 * key_s + 2 * jitter_s
    assert gaps.mean() > 0.9 * max(key_s, 4.0 // key_s * key_s)


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (360, 640), (1080, 1920), (288, 352)])
def test_something_new_opens_the_gate(size):
    """A thing of a few per cent of the picture that was not there at the last key frame is looked at, and why."""
    gate = Gate()
    watch(gate, [still(i, size=size) for i in range(8)])
    side = size[0] // 8
    why, change = gate.admit(with_box(still(9, size=size), 60, side, (size[0] // 3, size[1] // 3)), 16.0)
    assert why is LookReason.SUSPECT
    assert change > 40


def test_after_a_change_every_key_frame_is_looked_at_for_a_while():
    """What came may do something next; then the idle cadence again."""
    gate = Gate(GateBounds(hold_s=6.0))
    watch(gate, [still(i) for i in range(5)])
    watch(gate, [with_box(still(5), 80)], 10.0)
    after = [why for why, _ in watch(gate, [still(6 + i) for i in range(8)], 12.0)]
    # it went away again: that is a change as well, so the hold begins at 12 s
    assert after[:4] == [LookReason.SUSPECT] * 4
    assert after[4:] == [None, LookReason.PATROL, None, LookReason.PATROL]


def test_slow_smoke_is_not_adapted_away():
    """A patch that brightens by less than the noise from key frame to key frame stands out from the background."""
    gate = Gate()
    watch(gate, [still(i) for i in range(30)])
    rising = [with_box(still(100 + i), 1.0 * i, 60) for i in range(40)]
    opened = [i for i, (why, _) in enumerate(watch(gate, rising, 60.0)) if why is LookReason.SUSPECT]
    assert opened
    assert opened[0] * 1.0 < 20  # luma steps by then


def test_a_day_that_grows_lighter_is_no_event():
    """What changes more slowly than the background follows, everywhere, opens nothing."""
    gate = Gate()
    whys = [why for why, _ in watch(gate, [still(i, level=60 + i * 0.1) for i in range(150)])]
    assert LookReason.SUSPECT not in whys


def test_a_noisy_camera_gets_a_threshold_of_its_own():
    """Rain opens the gate at first and then no more; a fire in the rain still does."""
    gate = Gate()
    rain = [still(i, noise=8.0) for i in range(120)]
    whys = [why for why, _ in watch(gate, rain)]
    assert LookReason.SUSPECT not in whys[60:]
    assert gate.thresholds[0] > 8
    why, _ = gate.admit(with_box(still(999, noise=8.0), 60), 240.0)
    assert why is LookReason.SUSPECT


def test_no_noise_raises_the_threshold_past_an_event():
    """However restless the picture, what is beyond the upper bound opens the gate."""
    gate, bounds = Gate(), GateBounds()
    watch(gate, [still(i, level=60 + 120 * (i % 2)) for i in range(200)])
    assert gate.thresholds == (bounds.high, bounds.high)


def test_time_that_goes_back_begins_anew():
    """A clip that starts again is not compared with its end."""
    gate = Gate()
    watch(gate, [still(i) for i in range(5)], 100.0)
    assert gate.admit(with_box(still(1), 90), 3.0) == (LookReason.PATROL, 0.0)


def test_the_same_pictures_give_the_same_looks():
    """The gate is deterministic."""
    pictures = [with_box(still(i), 50) if i % 7 == 3 else still(i) for i in range(60)]
    assert watch(Gate(), pictures) == watch(Gate(), pictures)


def test_a_picture_between_two_key_frames_can_be_compared_without_being_learnt():
    """It tells whether it would open the gate; nothing is remembered of it."""
    gate, twin = Gate(), Gate()
    assert gate.change_in(still()) is None
    pictures = [still(i) for i in range(8)]
    watch(gate, pictures)
    watch(twin, pictures)
    assert gate.change_in(still(20)) is None
    assert gate.change_in(with_box(still(21), 60)) > 40
    assert gate.admit(still(9), 16.0) == twin.admit(still(9), 16.0)
    assert gate.thresholds == twin.thresholds


def test_a_change_that_was_told_opens_the_gate():
    """As one that a key frame showed: for the same time."""
    gate = Gate(GateBounds(hold_s=6.0))
    watch(gate, [still(i) for i in range(5)])
    gate.changed(9.0)
    assert [why for why, _ in watch(gate, [still(6 + i) for i in range(4)], 10.0)] == [
        LookReason.SUSPECT,
        LookReason.SUSPECT,
        LookReason.SUSPECT,
        None,
    ]


@pytest.mark.parametrize("key_s", [0.4, 2.0, 10.0])
def test_the_background_follows_the_light_at_any_key_interval(key_s):
    """Five minutes after the light changed for good the picture is the usual one again, to a level."""
    gate = Gate()
    watch(gate, [still(i, noise=0.5) for i in range(8)], key_s=key_s)
    after = [still(i, noise=0.5, level=112) for i in range(round(300 / key_s))]
    assert watch(gate, after, 8 * key_s, key_s)[-1][1] < 1.6
