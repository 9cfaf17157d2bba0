# SPDX-License-Identifier: AGPL-3.0-or-later
"""What one camera's intake does while something may be happening: the group in memory, following, hints."""

import random
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from gridwatch.core.camera import Note, SightState
from gridwatch.core.look import Interest
from gridwatch.core.mailbox import Mailbox
from gridwatch.core.zone import Kind, Zone
from ingest.decoder import KeyDecoder
from ingest.follow_budget import FollowBudget
from ingest.intake import CameraIntake
from tests.ingest.intake_kit import CAMERA, FOLLOW, PATROL, SUSPECT, shows_box, times


def test_on_suspicion_what_was_missed_is_looked_at_first(following_intake, watch, quiet_clip, packets_of):
    """The group in memory is decoded from its key frame: the onset between two key frames is known within 1 s."""
    looks = watch(following_intake, packets_of(quiet_clip(14, [(6.7, 14)])))
    began = next(i for i, look in enumerate(looks) if shows_box(look))
    assert 6.7 <= looks[began].at_mono_s <= 7.2
    assert [look.why for look in looks[:began] if look.at_mono_s < 6] == [PATROL] * began_quiet(looks)
    assert times(looks[began - 1 :])[:5] == [6.5, 7.0, 7.5, 8.0, 8.5]
    assert {look.why for look in looks[began - 1 :]} == {FOLLOW}
    assert times(looks) == sorted(times(looks))


def began_quiet(looks):
    return sum(look.at_mono_s < 6 for look in looks)


def test_it_is_followed_until_it_is_quiet_again(following_intake, watch, quiet_clip, packets_of):
    """Twice a second while the picture changed of late; then the key frames alone, every 4 s."""
    looks = watch(following_intake, packets_of(quiet_clip(30, [(6.7, 7.9)], gop=10)))
    followed = [look.at_mono_s for look in looks if look.why is FOLLOW]
    assert 6.0 < followed[0] < 7.6
    assert 15 <= followed[-1] <= 18
    assert np.diff(followed).max() <= 0.61
    after = [look.at_mono_s for look in looks if look.at_mono_s > followed[-1]]
    assert {look.why for look in looks if look.at_mono_s in after} == {PATROL}
    assert np.diff(after).min() >= 3


def test_where_nothing_flickers_a_change_is_looked_into_but_not_followed(
    clock, watch, quiet_clip, packets_of
):
    """Traffic and crowds are judged at key frames: a road on which a car passes now and then costs little more."""
    camera = replace(CAMERA, zones=(Zone("road", frozenset({Kind.TRAFFIC, Kind.CROWD})),))
    intake = CameraIntake(camera, clock, follow=FollowBudget(1))
    looks = watch(intake, packets_of(quiet_clip(14, [(6.7, 14)])))
    assert [look.at_mono_s for look in looks if look.why is FOLLOW] == pytest.approx([6.5, 7.0, 7.5])
    assert [look.at_mono_s for look in looks if look.why is SUSPECT] == pytest.approx([8, 10, 12])
    assert intake.decoded == 7 + 20


def test_a_quiet_camera_costs_its_key_frames(following_intake, watch, quiet_clip, packets_of):
    """Nothing else is decoded while nothing happens."""
    watch(following_intake, packets_of(quiet_clip(20)))
    assert following_intake.decoded == 10


def test_what_the_detectors_want_is_followed(following_intake, watch, quiet_clip, packets_of):
    """From the look on that made them want it, to the look that made them want it no more."""

    def interest(look):
        return Interest.FORMING if 4 <= look.at_mono_s < 9 else Interest.NOTHING

    looks = watch(following_intake, packets_of(quiet_clip(16)), interest)
    followed = [look.at_mono_s for look in looks if look.why is FOLLOW]
    assert followed[0] == pytest.approx(4.5, abs=0.21)
    assert followed[-1] == pytest.approx(9.0, abs=0.5)
    assert np.diff(followed).max() <= 0.61
    assert {look.why for look in looks if look.at_mono_s > followed[-1]} == {PATROL}


def test_without_a_place_the_key_frames_go_on(clock, watch, quiet_clip, packets_of):
    """A camera that cannot be followed says so, and is looked at as before."""
    budget = FollowBudget(1)
    intake = CameraIntake(CAMERA, clock, follow=budget)
    packets = packets_of(quiet_clip(14, [(6.7, 14)]))
    budget.ask("other", Interest.CLAIMED, 8.0)
    watch(intake, packets[:75])
    budget.ask("other", Interest.CLAIMED, 8.0)
    looks = watch(intake, packets[75:])
    assert times(looks) == [6.5, 7.0, 7.5, 8.0, 10.0, 12.0]
    assert [look.why for look in looks] == [FOLLOW] * 3 + [SUSPECT] * 3
    assert intake.sight.status().notes == (Note.NOT_FOLLOWED,)


def test_decoding_from_memory_is_bounded_over_all_cameras(clock, watch, quiet_clip, packets_of):
    """A lightning changes every picture of a city at once: groups of pictures are decoded one after the other."""
    budget = FollowBudget(2)
    packets = packets_of(quiet_clip(10, [(6.7, 10)]))
    before = []
    for name in "abcd":
        intake = CameraIntake(replace(CAMERA, camera_id=name), clock, follow=budget)
        looks = watch(intake, packets)
        before.append(sum(6 < look.at_mono_s < 8 for look in looks))
    assert before == [3, 3, 3, 0]


@pytest.mark.parametrize(("gop", "most"), [(5, 1), (100, 10)])
def test_groups_of_half_a_second_and_of_ten(following_intake, watch, quiet_clip, packets_of, gop, most):
    """However long a group is, a burst from memory is bounded, and an onset in it is known within 1 s."""
    looks = watch(following_intake, packets_of(quiet_clip(24, [(13.3, 24)], gop=gop)))
    first = next(look for look in looks if shows_box(look))
    assert first.at_mono_s - 13.3 <= 1.01
    opened = next(look.at_mono_s for look in looks if look.gate > 26)
    key = next(at for at in np.arange(0, 30, gop / 10) if at > 13.3)
    burst = [look for look in looks if opened <= look.at_mono_s < key]
    assert len(burst) <= most


def test_a_reconnect_while_followed_goes_on(following_intake, watch, quiet_clip, packets_of):
    """The new session's pictures are looked at from its first key frame on."""
    packets = packets_of(quiet_clip(8))
    again = [replace(p, at_mono_s=p.at_mono_s + 9.3, session=2) for p in packets[5:]]
    looks = watch(following_intake, packets + again, lambda _: Interest.CLAIMED)
    followed = [look.at_mono_s for look in looks]
    assert max(at for at in followed if at < 9) > 7
    assert min(at for at in followed if at > 9) == pytest.approx(11.3)
    assert max(followed) > 16.5


def test_a_key_frame_that_waited_when_following_began_is_seen_once(
    following_intake, clock, quiet_clip, packets_of
):
    """Whatever waits for the decoder, each picture is looked at once, in order."""
    packets, decoder = packets_of(quiet_clip(6)), KeyDecoder()
    seen = []

    def decode(packet):
        for shown, frame in following_intake.pictures(decoder, packet):
            seen.append(shown.at_mono_s)
            following_intake.see(shown, frame)

    for packet in packets[:20]:
        if (admitted := following_intake.take(packet)) is not None:
            decode(admitted)
    waiting = following_intake.take(packets[20])
    for packet in packets[21:33]:
        assert following_intake.take(packet) is None
    following_intake.follow(Interest.FORMING)
    decode(waiting)
    decode(waiting)
    assert seen == pytest.approx([0.0, 2.0, 2.5, 3.0])
    following_intake.follow(Interest.NOTHING)
    decode(packets[33])
    assert len(seen) == 4


def test_damage_while_followed_is_told_and_outlived(following_intake, watch, quiet_clip, packets_of):
    """One broken picture costs the rest of its group, not the camera."""
    packets = packets_of(quiet_clip(8))
    packets[45] = replace(packets[45], payload=packets[45].payload[:9])
    looks = watch(following_intake, packets, lambda _: Interest.CLAIMED)
    assert not [at for at in times(looks) if 4.5 <= at < 6]
    assert times(looks)[-1] > 7
    assert following_intake.sight.status().state is SightState.SEEING


def test_what_comes_and_goes_between_two_key_frames_is_seen_by_a_hint(
    following_intake, watch, quiet_clip, packets_of
):
    """Where sizes speak: the group so far is decoded at once, and looked at with the picture that grew."""
    packets = packets_of(quiet_clip(60, passes=(53.5, 55.1), gop=40, crf="30"))
    looks = watch(following_intake, packets)
    street = looks[0].frame.luma().astype(int)
    shown = next(look for look in looks if np.abs(look.frame.luma() - street).max() > 90)
    assert shown.why is FOLLOW
    assert 53.5 <= shown.at_mono_s <= 54.5
    assert times(looks) == sorted(times(looks))
    keys_alone = watch(CameraIntake(CAMERA, following_intake._clock), packets)
    assert {look.why for look in keys_alone} == {PATROL}


def test_a_hint_without_a_change_is_no_look(following_intake, watch, quiet_clip, packets_of, monkeypatch):
    """The gate decides: larger packets alone are nothing, and make the hint more cautious."""
    monkeypatch.setattr(following_intake._hint, "take", lambda packet: packet.at_mono_s > 9)
    packets = packets_of(quiet_clip(16))
    looks = watch(following_intake, packets)
    assert {look.why for look in looks} == {PATROL}
    assert following_intake._hint._caution > 0
    assert following_intake.decoded < 8 + 20


def test_a_hint_closes_nothing(clock, watch, quiet_clip, packets_of, monkeypatch):
    """Small packets are no sign that nothing happens."""
    intake = CameraIntake(CAMERA, clock)
    monkeypatch.setattr(intake._hint, "take", lambda _packet: False)
    looks = watch(intake, packets_of(quiet_clip(12, [(6.7, 12)])))
    assert SUSPECT in {look.why for look in looks}


def test_a_nudge_does_not_replace_what_waits(following_intake, clock, make_packet):
    """While a decoder has not come for the last one, none is handed out; one that got lost is, after 2 s."""
    following_intake.take(make_packet(0.0, key=True))
    following_intake.follow(Interest.FORMING)
    given = [following_intake.take(make_packet(at / 10)) for at in range(1, 60)]
    waiting = [packet for packet in given if packet is not None]
    handed = [packet.at_mono_s for packet in waiting]
    assert handed[0] == pytest.approx(0.1)
    assert np.diff(handed) == pytest.approx([2.0, 2.0], abs=0.11)
    list(following_intake.pictures(KeyDecoder(), waiting[-1]))
    handed = [at / 10 for at in range(60, 64) if following_intake.take(make_packet(at / 10)) is not None]
    assert handed == [pytest.approx(6.0)]


def test_a_hint_does_not_replace_a_key_frame_that_waits(clock, quiet_clip, packets_of, monkeypatch):
    """Handed out before the decoder begins with the one before: it waits all the same, and no group may be decoded instead."""
    intake, decoder = CameraIntake(CAMERA, clock, follow=FollowBudget(0)), KeyDecoder()
    monkeypatch.setattr(intake._hint, "take", lambda packet: not packet.is_key)
    packets = packets_of(quiet_clip(6))
    first = intake.take(packets[0])
    second = [given for packet in packets[1:21] if (given := intake.take(packet)) is not None]
    assert [*intake.pictures(decoder, first)] != []
    assert second == [packets[20]]
    assert intake.take(packets[21]) is None
    assert [shown for shown, _ in intake.pictures(decoder, packets[20])] == [packets[20]]
    assert intake.take(packets[22]) is packets[22]


class Threads:
    """One camera read, decoded and judged by a thread each, as fast as they can."""

    def __init__(self, intake, packets, clock):
        self.intake, self.packets, self.clock = intake, packets, clock
        self.box, self.done, self.seen, self.wrong = Mailbox(), threading.Event(), [], []

    def run(self):
        threads = [threading.Thread(target=each) for each in (self.read, self.decode, self.judge)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def read(self):
        for number, packet in enumerate(self.packets):
            self.clock.advance_to(packet.at_mono_s)
            if (admitted := self.intake.take(packet)) is not None:
                self.box.put("cam", admitted)
            while number % 20 == 0 and not self.box.is_idle() and not self.wrong:
                time.sleep(0.001)  # the decoder is not to be left far behind
        self.done.set()

    def decode(self):
        decoder = KeyDecoder()
        try:
            while not (self.done.is_set() and self.box.is_idle()):
                if (taken := self.box.take(0.05)) is not None:
                    self.look(decoder, taken[1])
        except Exception as error:  # noqa: BLE001  told by the test
            self.wrong.append(error)

    def look(self, decoder, packet):
        for shown, frame in self.intake.pictures(decoder, packet):
            self.seen.extend(look.at_mono_s for look in self.intake.see(shown, frame))
        self.box.done("cam")

    def judge(self):
        rng = random.Random(2)
        while not self.done.is_set() and not self.wrong:
            self.intake.follow(rng.choice(list(Interest)))
            time.sleep(rng.random() / 200)


def test_threads_that_read_decode_and_judge_do_not_meet(clock, make_clip, packets_of):
    """Interest that comes and goes while packets arrive: each picture is looked at once at most, in order."""
    intake = CameraIntake(CAMERA, clock, follow=FollowBudget(1))
    threads = Threads(intake, packets_of(make_clip(fps=20, gop=10, pictures=600)), clock)
    threads.run()
    assert threads.wrong == []
    assert threads.seen == sorted(set(threads.seen))
    assert len(threads.seen) > 25
    assert intake.decoded > 100
