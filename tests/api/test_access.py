# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who calls and what they may do: tokens, sessions, links, the pace of guessing, and the key behind the signatures."""

import math
import threading
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from api.access import RIGHTS, SESSION_S, Access, Caller, Right
from api.errors import Forbidden, NotAdmitted
from api.signing import KEY_FILE, Signer
from api.throttle import Throttle
from events.errors import StoreError
from events.roles import Role
from gridwatch.core.errors import InputError

PATH = "/api/v1/evidence/" + "a" * 64 + ".jpg"


@pytest.fixture
def access(world) -> Access:
    return Access(world.tokens, Signer(bytes(32)), world.clock)


def query_of(text: str) -> dict[str, str]:
    return dict(part.split("=") for part in text.split("&"))


def test_roles_have_these_rights_and_no_others() -> None:
    """The whole table, so that a change of it is seen."""
    assert {role.value: sorted(right.value for right in rights) for role, rights in RIGHTS.items()} == {
        "viewer": ["evidence", "see"],
        "operator": ["decide", "evidence", "see", "share"],
        "integrator": ["evidence", "messages", "reply", "share"],
    }


def test_until_the_first_token_nobody_needs_one(world, access) -> None:
    """From the first token on everybody does, and that it was revoked opens nothing again."""
    somebody = Caller("api", frozenset(Right))
    access.need(somebody, Right.DECIDE)
    assert not access.guarded
    world.token(Role.VIEWER)
    world.clock.advance(1)
    with pytest.raises(NotAdmitted):
        access.need(somebody, Right.SEE)
    world.tokens.revoke("op-07")
    world.clock.advance(1)
    with pytest.raises(NotAdmitted):
        access.need(somebody, Right.SEE)
    assert access.guarded


def test_nothing_is_open_before_the_store_was_asked(access) -> None:
    """What is not known yet counts as guarded."""
    assert access.guarded
    assert access.by_token("gw_anything") is None


def test_a_revoked_token_is_refused_within_a_second(world, access) -> None:
    """Whoever was let in before is asked again at every call."""
    secret = world.token(Role.OPERATOR)
    access.refresh()
    caller = access.by_token(secret)
    assert caller is not None
    access.need(caller, Right.DECIDE)
    world.tokens.revoke("op-07")
    world.clock.advance(1.0)
    with pytest.raises(NotAdmitted):
        access.need(caller, Right.DECIDE)
    assert access.by_token(secret) is None


def test_a_role_bounds_what_its_caller_may_do(world, access) -> None:
    """The refusal names the caller and the right."""
    access.refresh()
    world.token(Role.VIEWER, "wall")
    secret = world.token(Role.VIEWER, "op-08")
    world.clock.advance(1)
    access.refresh()
    caller = access.by_token(secret)
    assert caller is not None
    with pytest.raises(Forbidden, match="op-08") as refusal:
        access.need(caller, Right.DECIDE)
    assert refusal.value.right == "decide"


def test_while_the_store_is_away_what_was_known_stands(world, access, monkeypatch) -> None:
    """An outage of the store locks nobody out, and expiry goes on by the clock; who never knew refuses."""
    secret = world.token(Role.OPERATOR, days=1)

    def away():
        raise StoreError("away")

    access.refresh()
    monkeypatch.setattr(world.tokens, "by_hash", away)
    world.clock.advance(60)
    access.refresh()
    assert access.by_token(secret) is not None
    world.clock.advance(86_400)
    access.refresh()
    assert access.by_token(secret) is None
    with pytest.raises(StoreError):
        Access(world.tokens, Signer(bytes(32)), world.clock).refresh()


def test_a_store_that_hangs_holds_up_one_caller_and_not_all(world, access, monkeypatch) -> None:
    """While somebody waits for the tokens, the others go on with those that are known."""
    secret = world.token(Role.OPERATOR)
    access.refresh()
    world.clock.advance(1)
    asked, goes_on, read = threading.Event(), threading.Event(), world.tokens.by_hash

    def hangs():
        asked.set()
        goes_on.wait(30)
        return read()

    monkeypatch.setattr(world.tokens, "by_hash", hangs)
    waiting = threading.Thread(target=access.refresh)
    waiting.start()
    assert asked.wait(30)
    access.refresh()
    assert access.by_token(secret) is not None
    goes_on.set()
    waiting.join(30)
    assert not access.stale


def test_use_is_noted_now_and_then(world, access) -> None:
    """A token in use shows when it was used last, without a write at every call."""
    secret = world.token(Role.OPERATOR)
    access.refresh()
    for _ in range(5):
        access.by_token(secret)
        world.clock.advance(1)
        access.refresh()
    first = world.tokens.all()[0].last_used_at
    assert first is not None
    assert (world.clock.now() - first).total_seconds() == 4
    world.clock.advance(300)
    access.by_token(secret)
    access.refresh()
    assert world.tokens.all()[0].last_used_at == world.clock.now()


# sessions


def session_of(world, access, **made) -> str:
    secret = world.token(Role.OPERATOR, **made)
    world.clock.advance(1)
    access.refresh()
    caller = access.by_token(secret)
    assert caller is not None
    return access.open_session(caller)[0]


def test_a_session_lasts_a_shift(world, access) -> None:
    """Twelve hours, then the token is typed again; a page that is still open is shut out too."""
    session = session_of(world, access)
    caller = access.by_session(session)
    assert caller is not None
    assert (caller.name, caller.may(Right.DECIDE)) == ("op-07", True)
    world.clock.advance(SESSION_S - 2)
    access.need(caller, Right.SEE)
    world.clock.advance(2)
    assert access.by_session(session) is None
    with pytest.raises(NotAdmitted):
        access.need(caller, Right.SEE)


def test_a_session_ends_with_its_token(world, access) -> None:
    """Expiry bounds it, revocation ends it."""
    session = session_of(world, access, days=1 / 24)
    world.clock.advance(3_600)
    assert access.by_session(session) is None
    other = session_of(world, access, name="op-08")
    world.tokens.revoke("op-08")
    world.clock.advance(1)
    access.refresh()
    assert access.by_session(other) is None


def test_an_ended_session_is_over_everywhere(world, access) -> None:
    """Who signs out is out, a copied cookie and an open page included; other sessions go on."""
    session = session_of(world, access)
    caller = access.by_session(session)
    assert caller is not None
    other = access.open_session(caller)[0]
    access.end_session(session)
    assert access.by_session(session) is None
    assert access.by_session(other) is not None
    with pytest.raises(NotAdmitted):
        access.need(caller, Right.SEE)


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_forged_session_opens_nothing(world, access, part) -> None:
    """Whatever is changed in it, the signature does not hold; of another key neither."""
    session = session_of(world, access)
    parts = session.split(".")
    parts[part] = parts[part][:-1] + ("0" if parts[part][-1] != "0" else "1")
    assert access.by_session(".".join(parts)) is None
    for wrong in ("", ".", "a.b.c", "a.b.c.d.e", "\N{SNOWMAN}.b.c.d"):
        assert access.by_session(wrong) is None
    stranger = Access(world.tokens, Signer(b"1" * 32), world.clock)
    stranger.refresh()
    assert stranger.by_session(session) is None


# links


def linked(world, access, valid_s: int = 60) -> dict[str, str]:
    secret = world.token(Role.INTEGRATOR, "desk")
    world.clock.advance(1)
    access.refresh()
    caller = access.by_token(secret)
    assert caller is not None
    return query_of(access.sign_link(caller, PATH, valid_s)[0])


def test_a_link_opens_its_path_for_its_time(world, access) -> None:
    """Evidence and nothing else, until it is over."""
    query = linked(world, access)
    holder = access.by_link(PATH, query)
    assert holder is not None
    assert holder.rights == {Right.EVIDENCE}
    access.need(holder, Right.EVIDENCE)
    with pytest.raises(Forbidden):
        access.need(holder, Right.SEE)
    world.clock.advance(60)
    assert access.by_link(PATH, query) is None


@pytest.mark.parametrize("change", [{"exp": "99999999999"}, {"by": "0"}, {"sig": "x"}, {"sig": ""}])
def test_a_changed_link_opens_nothing(world, access, change) -> None:
    """Neither its time nor its maker nor its signature can be changed, nor its path."""
    query = linked(world, access)
    assert access.by_link(PATH, query | change) is None
    assert access.by_link(PATH.replace("a", "b", 5), query) is None


def test_a_link_ends_with_the_token_that_asked_for_it(world, access) -> None:
    """What an integrator gave out ends when the integrator does."""
    query = linked(world, access, 7 * 86_400)
    world.tokens.revoke("desk")
    world.clock.advance(1)
    access.refresh()
    assert access.by_link(PATH, query) is None


def test_a_session_is_no_link_and_a_link_no_session() -> None:
    """The same parts signed for another purpose are worth nothing."""
    signer = Signer(bytes(32))
    assert signer.holds(signer.sign("link", "a", "b"), "link", "a", "b")
    assert not signer.holds(signer.sign("link", "a", "b"), "session", "a", "b")
    assert not signer.holds(signer.sign("link", "a", "b"), "link", "ab", "")


# the key


def test_the_key_is_drawn_once_and_is_its_owners_alone(tmp_path) -> None:
    """A restart goes on with the same key; nobody else on the machine reads it."""
    first = Signer.load(tmp_path).sign("x")
    file = tmp_path / KEY_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o644)
    assert Signer.load(tmp_path).sign("x") == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert Signer.load(tmp_path_of(tmp_path, "other")).sign("x") != first


def tmp_path_of(folder, name):
    (folder / name).mkdir()
    return folder / name


@pytest.mark.parametrize("text", [b"abc", b"\xff\xfe", b"00" * 31, b"zz" * 32])
def test_a_spoilt_key_is_named(tmp_path, text) -> None:
    """It says which file, and that deleting it is a way out; nothing is signed with half a key."""
    (tmp_path / KEY_FILE).write_bytes(text)
    with pytest.raises(InputError, match=KEY_FILE):
        Signer.load(tmp_path)


def test_a_key_that_was_cut_short_at_its_birth_is_drawn_anew(tmp_path, monkeypatch) -> None:
    """An empty file signs nothing: what a power cut left is replaced; a key appears with all of its content or not."""
    (tmp_path / KEY_FILE).write_bytes(b"")
    drawn = Signer.load(tmp_path).sign("x")
    assert Signer.load(tmp_path).sign("x") == drawn
    assert [file.name for file in tmp_path.iterdir()] == [KEY_FILE]

    def cut(_number) -> None:
        raise OSError("no power")

    other = tmp_path_of(tmp_path, "cut")
    monkeypatch.setattr("api.signing.os.fsync", cut)
    with pytest.raises(InputError, match=KEY_FILE):
        Signer.load(other)
    assert list(other.iterdir()) == []


# guessing


def test_guessing_is_slowed_down(world) -> None:
    """Five failures at once, then one in ten seconds; another address is not held up."""
    throttle = Throttle(world.clock)
    for _ in range(5):
        assert throttle.wait_s("192.0.2.7") == 0
        throttle.failed("192.0.2.7")
    assert throttle.wait_s("192.0.2.7") == 10
    assert throttle.wait_s("192.0.2.8") == 0
    world.clock.advance(4)
    assert throttle.wait_s("192.0.2.7") == pytest.approx(6)
    world.clock.advance(6)
    assert throttle.wait_s("192.0.2.7") == 0
    throttle.failed("192.0.2.7")
    assert throttle.wait_s("192.0.2.7") == pytest.approx(10)


def test_a_site_of_ipv6_is_one_guesser(world) -> None:
    """Who owns a network of addresses does not get as many guesses."""
    throttle = Throttle(world.clock)
    for number in range(5):
        throttle.failed(f"2001:db8::{number}")
    assert throttle.wait_s("2001:db8::ffff") > 0
    assert throttle.wait_s("2001:db8:1::1") == 0


def test_the_guessers_that_are_remembered_are_bounded(world) -> None:
    """Many addresses take no more memory than a thousand."""
    throttle = Throttle(world.clock)
    for number in range(3_000):
        throttle.failed(f"10.0.{number // 250}.{number % 250}")
    assert len(throttle._spent) == 1_024


def test_a_token_that_is_about_to_end_bounds_its_link(world, access) -> None:
    """A link says truly until when it opens."""
    secret = world.token(Role.INTEGRATOR, "desk", days=1 / 24)
    access.refresh()
    caller = access.by_token(secret)
    assert caller is not None
    until = access.sign_link(caller, PATH, 86_400)[1]
    assert until <= world.clock.now() + timedelta(hours=1)


def test_the_end_of_the_first_token_is_told_two_weeks_before(world, access) -> None:
    """Once a day in the log, from 14 days on; the gauge says how long there is, and NaN where nobody is let in."""
    assert math.isnan(access.first_end_s())
    world.token(Role.OPERATOR, "op-07", days=20)
    world.token(Role.INTEGRATOR, "desk", days=300)
    told = []
    for _ in range(4):
        with capture_logs() as said:
            for _ in range(2):
                access.refresh()
                world.clock.advance(1)
        told.append([line["name"] for line in said if line["event"] == "token_ends_soon"])
        world.clock.advance(3 * 86_400 + 10)
    assert told == [[], [], ["op-07"], ["op-07"]]
    assert access.first_end_s() == pytest.approx(8 * 86_400, abs=100)
