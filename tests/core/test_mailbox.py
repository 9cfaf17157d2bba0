# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one-slot mailbox between two stages."""

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.mailbox import Mailbox


def test_the_newest_item_of_a_camera_wins_and_the_replaced_one_is_counted():
    """A camera that is behind loses its stale item."""
    box: Mailbox[int] = Mailbox()
    assert box.put("a", 1) is False
    assert box.put("a", 2) is True
    assert box.take(0) == ("a", 2)
    assert box.replaced == 1


def test_a_replaced_item_keeps_its_place_in_the_line():
    """A busy camera does not push itself ahead, nor back."""
    box: Mailbox[int] = Mailbox()
    box.put("a", 1)
    box.put("b", 1)
    box.put("a", 2)
    assert box.take(0) == ("a", 2)
    assert box.take(0) == ("b", 1)


def test_a_camera_in_work_is_not_given_to_a_second_worker():
    """Two looks of one camera never overtake each other."""
    box: Mailbox[int] = Mailbox()
    box.put("a", 1)
    assert box.take(0) == ("a", 1)
    box.put("a", 2)
    assert box.take(0) is None
    box.done("a")
    assert box.take(0) == ("a", 2)


def test_take_times_out_and_close_wakes_who_waits():
    """Nobody waits for ever."""
    box: Mailbox[int] = Mailbox()
    assert box.take(0.01) is None
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(box.take(10)))
    waiting.start()
    box.close()
    waiting.join(2)
    assert found == [None]


def test_a_dropped_slot_is_empty():
    """A camera that is taken away leaves nothing behind."""
    box: Mailbox[int] = Mailbox()
    box.put("a", 1)
    box.drop("a")
    assert box.take(0) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers()), max_size=40))
def test_what_is_put_is_taken_or_counted_as_replaced(puts):
    """Nothing vanishes uncounted, and what is taken of a camera is its newest."""
    box: Mailbox[int] = Mailbox()
    for key, item in puts:
        box.put(key, item)
    taken = {}
    while (found := box.take(0)) is not None:
        taken[found[0]] = found[1]
        box.done(found[0])
    assert taken == dict(puts)
    assert len(taken) + box.replaced == len(puts)


def test_what_is_in_work_for_long_is_told():
    """A worker that never comes back shows; one that is done does not."""
    box: Mailbox[int] = Mailbox()
    assert box.longest_in_work_s() == 0
    assert box.is_idle()
    box.put("a", 1)
    assert not box.is_idle()
    box.take(0)
    time.sleep(0.02)
    assert box.longest_in_work_s() >= 0.02
    box.done("a")
    assert box.longest_in_work_s() == 0
    assert box.is_idle()
