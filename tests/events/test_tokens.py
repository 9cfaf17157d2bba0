# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens: shown once, kept as hashes, named, ended by themselves or by hand, and never so many that they are no list."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from events import tokens as tokens_module
from events.roles import Role
from events.tokens import TokenBook, digest
from gridwatch.core.errors import InputError

DAY = timedelta(days=1)


@pytest.fixture
def tokens(room) -> TokenBook:
    return TokenBook(room.store, room.clock)


def everything(room) -> str:
    """Return all that the store holds of tokens, as text."""
    with room.store.read() as connection:
        return str(connection.execute(text("SELECT * FROM tokens")).all())


def test_only_the_hash_of_a_token_is_stored(room, tokens):
    """The token itself is nowhere in the store; what stands for it is its SHA-256."""
    token, secret = tokens.add("op-07", Role.OPERATOR, DAY)
    assert len(secret) > 43
    assert secret not in everything(room)
    assert tokens.by_hash() == {digest(secret): token}
    assert (token.name, token.role, token.state(room.clock.now())) == ("op-07", Role.OPERATOR, "valid")


def admits_anybody(room, tokens) -> bool:
    return any(token.admits(room.clock.now()) for token in tokens.all())


def test_two_tokens_are_never_alike(tokens):
    """Names may follow one another; tokens and ids are drawn anew."""
    made = [tokens.add(f"op-{number}", Role.VIEWER, DAY) for number in range(20)]
    assert len({secret for _, secret in made}) == len({token.token_id for token, _ in made}) == 20


def test_a_token_ends_by_itself(room, tokens):
    """It admits until its time is over, to the second."""
    token, _ = tokens.add("op-07", Role.OPERATOR, DAY)
    room.clock.advance(DAY.total_seconds() - 0.001)
    assert admits_anybody(room, tokens)
    room.clock.advance(0.001)
    assert not admits_anybody(room, tokens)
    assert token.state(room.clock.now()) == "expired"


@pytest.mark.parametrize("by", ["name", "token_id"])
def test_a_revoked_token_is_over_for_good(room, tokens, by):
    """Named by name or id it admits nobody any more, and the first revocation stands."""
    token, _ = tokens.add("op-07", Role.OPERATOR, DAY)
    tokens.revoke(getattr(token, by))
    first = tokens.all()[0].revoked_at
    room.clock.advance(60)
    tokens.revoke(getattr(token, by))
    assert tokens.all()[0].revoked_at == first
    assert tokens.all()[0].state(room.clock.now()) == "revoked"


def test_a_name_stands_for_one_valid_token(room, tokens):
    """Whoever decided is known: a second valid token of a name is refused, a successor is not, and revoking takes the valid one."""
    first, _ = tokens.add("op-07", Role.OPERATOR, DAY)
    with pytest.raises(InputError, match="valid token named 'op-07'"):
        tokens.add("op-07", Role.VIEWER, DAY)
    tokens.revoke("op-07")
    second, _ = tokens.add("op-07", Role.OPERATOR, DAY)
    assert tokens.revoke("op-07").token_id == second.token_id != first.token_id


@pytest.mark.parametrize("name", ["", " ", "a b", "case:desk", "x" * 65, "a\nb", "-x", "操作 员"])
def test_what_is_no_name_is_refused(tokens, name):
    """A name can be told in a row, a message and a page: no blanks, colons or line feeds."""
    with pytest.raises(InputError, match="cannot name a token"):
        tokens.add(name, Role.VIEWER, DAY)
    assert tokens.all() == []


@pytest.mark.parametrize("name", ["op-07", "大屏-1", "desk.city_a", "7"])
def test_names_may_be_chinese(tokens, name):
    """Letters of any script are fine."""
    assert tokens.add(name, Role.VIEWER, DAY)[0].name == name


@pytest.mark.parametrize("valid", [timedelta(0), timedelta(seconds=-1), timedelta(days=3_651)])
def test_every_token_ends(tokens, valid):
    """None lasts for ever, or not at all."""
    with pytest.raises(InputError, match="at most 3650 days"):
        tokens.add("op-07", Role.VIEWER, valid)


def test_what_is_not_there_cannot_be_revoked(tokens):
    """The sentence says how to see what there is."""
    with pytest.raises(InputError, match="tokens list"):
        tokens.revoke("nobody")


def test_there_are_never_too_many(room, tokens, monkeypatch):
    """Of those that are over the oldest are forgotten; valid ones never are, a further one is refused instead."""
    monkeypatch.setattr(tokens_module, "MOST", 3)
    for name in ("a", "b", "c"):
        tokens.add(name, Role.VIEWER, DAY)
    with pytest.raises(InputError, match="3 valid tokens are the most"):
        tokens.add("d", Role.VIEWER, DAY)
    tokens.revoke("b")
    tokens.add("d", Role.VIEWER, DAY)
    assert sorted(token.name for token in tokens.all()) == ["a", "c", "d"]


def test_a_role_of_another_version_admits_nobody_and_still_counts(room, tokens):
    """A downgrade neither opens the door nor falls over."""
    _, secret = tokens.add("op-07", Role.OPERATOR, DAY)
    with room.store.write() as tx:
        tx.connection.execute(text("UPDATE tokens SET role = 'emperor'"))
    assert list(tokens.by_hash()) == [digest(secret)]
    assert not admits_anybody(room, tokens)
    assert tokens.all()[0].state(room.clock.now()) == "unknown_role"


def test_use_is_noted(room, tokens):
    """The list tells which tokens nobody uses."""
    token, _ = tokens.add("op-07", Role.OPERATOR, DAY)
    tokens.add("other", Role.OPERATOR, DAY)
    room.clock.advance(30)
    tokens.note_used({token.token_id})
    assert {one.name: one.last_used_at for one in tokens.all()} == {
        "op-07": room.clock.now(),
        "other": None,
    }


def test_tokens_make_no_rows_of_the_journal(room, tokens):
    """The journal is about incidents; tokens change nothing in it."""
    tokens.add("op-07", Role.OPERATOR, DAY)
    tokens.revoke("op-07")
    assert room.reader.last_seq() == 0
