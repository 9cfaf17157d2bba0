# SPDX-License-Identifier: AGPL-3.0-or-later
"""Case messages and answers over HTTP: by page, by waiting, one by one, after an outage, and from another journal."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import text

from api.waiting import SEATS, SEATS_EACH, WaitingRoom
from events.errors import StoreError
from events.journal import Epoch
from events.outbox import Outbox
from events.roles import Role
from gridwatch.core.zone import Kind

# messages


def page(client, **asked: object) -> dict:
    answer = client.get("/api/v1/case-messages", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_messages_come_in_order_by_page(client, world) -> None:
    """Each call goes on where the last ended, until nothing is left; asked again, a page is the same."""
    for kind in Kind:
        world.open(kind, still=False)
    expected = [message.fields() for message in world.alerts.messages_after(0, 99)]
    first = page(client, limit=3)
    assert first["items"] == expected[:3]
    assert first["epoch"] == world.store.epoch
    assert page(client, limit=3) == first
    second = page(client, limit=3, after=first["next"], epoch=first["epoch"])
    assert second["items"] == expected[3:]
    last = page(client, after=second["next"], epoch=second["epoch"])
    assert (last["items"], last["next"]) == ([], second["next"])


def test_a_page_of_messages_has_a_size(client, world, monkeypatch) -> None:
    """Large messages make short pages, and one that is larger than a page still comes."""
    monkeypatch.setattr("events.exchange.PAGE_BYTES", 10)
    world.open(Kind.FIRE, still=False)
    world.open(Kind.SMOKE, still=False)
    first = page(client)
    assert len(first["items"]) == 1
    assert len(page(client, after=first["next"])["items"]) == 1


def test_what_is_no_message_is_none_here(client, world) -> None:
    """Answers, and what is pushed only when it is confirmed, are not handed out."""
    alert = world.open()
    world.answer(alert, "accepted", 1)
    assert [item["id"] for item in page(client)["items"]] == [f"{alert.id}:1"]


def test_what_no_queue_takes_is_a_gap_here_too(client, world, monkeypatch) -> None:
    """A message that is too large, or whose row is spoilt, is passed over and stalls nothing behind it."""
    for kind in (Kind.FIRE, Kind.SMOKE, Kind.CROWD):
        world.open(kind, still=False)
    row = world.alerts.rows_after(1, 1)[0]
    assert row.payload is not None
    large = json.dumps(row.payload | {"message": row.payload["message"] | {"data": "x" * 70_000}})
    with world.store.write() as tx:
        tx.connection.execute(text("UPDATE journal SET payload = '{' WHERE seq = 1"))
        tx.connection.execute(text("UPDATE journal SET payload = :large WHERE seq = 2"), {"large": large})
    first = page(client, limit=1)
    assert [item["journalseq"] for item in first["items"]] == ["3"]
    assert page(client, after=first["next"])["items"] == []


def test_a_reader_of_another_journal_is_told(client, world) -> None:
    """An unknown epoch, or a place past the end, is a conflict that says what to do; nothing is skipped in silence."""
    world.open(still=False)
    for asked in ({"after": 0, "epoch": "another"}, {"after": 99}):
        answer = client.get("/api/v1/case-messages", params=asked)
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:gridwatch:problem:foreign-journal"
        assert answer.json()["epoch"] == world.store.epoch
        assert "after=0" in answer.json()["detail"]


def test_a_reader_of_a_journal_that_was_restored_goes_on_where_both_agree(client, world, monkeypatch) -> None:
    """What the reader saw of the lost end is replaced by what was recorded in its place."""
    for kind in Kind:
        world.open(kind, still=False)
    epochs = [Epoch("first", 1), Epoch("second", 2, "first", 3), Epoch(world.store.epoch, 4, "second", 3)]
    monkeypatch.setattr(Outbox, "epochs", lambda _: epochs)
    assert [item["journalseq"] for item in page(client, after=9, epoch="first")["items"]] == ["4"]
    assert [item["journalseq"] for item in page(client, after=2, epoch="second")["items"]] == ["3", "4"]
    monkeypatch.setattr(Outbox, "epochs", lambda _: [Epoch("x", 1, "y", 1), Epoch("y", 2, "x", 2)])
    assert client.get("/api/v1/case-messages", params={"epoch": "z"}).status_code == 409


@pytest.mark.parametrize(
    "asked", [{"after": -1}, {"after": "x"}, {"limit": 0}, {"limit": 501}, {"wait_s": 31}, {"after": 2**70}]
)
def test_senseless_questions_are_refused(client, asked) -> None:
    """Each is 422 and names the parameter."""
    answer = client.get("/api/v1/case-messages", params=asked)
    assert answer.status_code == 422
    assert next(iter(asked)) in answer.json()["detail"]


def test_who_waits_gets_the_first_message_when_it_comes(server, world) -> None:
    """A call that waits is answered as soon as there is a message, and rows that are none do not end it."""
    before = world.open(Kind.FIRE, still=False)
    after = world.alerts.last_seq()
    got: list[dict] = []

    def wait() -> None:
        params = {"after": after, "wait_s": 25}
        answer = httpx.get(f"{server.url}/api/v1/case-messages", params=params, timeout=30, trust_env=False)
        got.append(answer.json())

    waiting = threading.Thread(target=wait)
    waiting.start()
    listening(server, 1)
    world.answer(before, "accepted", 1)
    alert = world.open(Kind.SMOKE, still=False)
    waiting.join(20)
    assert [item["subject"] for item in got[0]["items"]] == [alert.id]
    assert not server._app.state.feed._listeners


def test_who_waits_in_vain_gets_an_empty_page(server, world) -> None:
    """After the time that was asked for the answer says where the reader stands."""
    answer = httpx.get(f"{server.url}/api/v1/case-messages", params={"wait_s": 0.2}, trust_env=False)
    assert answer.json() == {"items": [], "next": 0, "epoch": world.store.epoch}


def waits(server, headers: dict[str, str], wait_s: float = 20) -> httpx.Response:
    path, params = f"{server.url}/api/v1/case-messages", {"wait_s": wait_s}
    return httpx.get(path, params=params, headers=headers, timeout=60, trust_env=False)


def listening(server, count: int) -> None:
    """Return when so many calls wait, within 30 s."""
    feed, deadline = server._app.state.feed, time.monotonic() + 30
    while len(feed._listeners) != count:
        assert time.monotonic() < deadline, f"{len(feed._listeners)} calls wait, not {count}"
        time.sleep(0.01)


def test_who_waits_too_often_is_answered_at_once(server, world) -> None:
    """Four calls of a caller wait, 32 in all; who comes after them gets an empty page, and the others' seats stay."""
    desk, other = (
        {"Authorization": f"Bearer {world.token(Role.INTEGRATOR, name)}"} for name in ("desk", "other")
    )
    world.clock.advance(1)
    began = time.monotonic()
    with ThreadPoolExecutor(5) as threads:
        waiting = [threads.submit(waits, server, desk, 25) for _ in range(4)]
        listening(server, 4)
        assert waits(server, desk, 25).json()["items"] == []
        assert time.monotonic() - began < 20
        waiting.append(threads.submit(waits, server, other, 25))
        listening(server, 5)
        world.open(Kind.FIRE, still=False)
        assert [len(one.result().json()["items"]) for one in waiting] == [1] * 5
    assert not server._app.state.seats._taken


def test_seats_are_bounded_in_all() -> None:
    """Many callers together take no more than there are, and one that leaves makes room."""
    assert (SEATS_EACH, SEATS) == (4, 32)
    room = WaitingRoom(seats=3, each=2)
    with room.seat("a") as first, room.seat("a") as second, room.seat("a") as third:
        assert (first, second, third) == (True, True, False)
        with room.seat("b") as fourth, room.seat("c") as fifth:
            assert (fourth, fifth) == (True, False)
        with room.seat("c") as sixth:
            assert sixth
    assert not room._taken


def test_who_went_away_does_not_wait_on(server, world) -> None:
    """A caller that hangs up leaves its place within seconds, long before its time is over."""
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        asked = f"GET /api/v1/case-messages?wait_s=30 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
        caller.sendall(asked.encode())
        listening(server, 1)
        began = time.monotonic()
    listening(server, 0)
    assert time.monotonic() - began < 20


def test_whose_token_ends_while_it_waits_is_told(server, world) -> None:
    """The right is asked for again after the wait, though nothing came."""
    headers = {"Authorization": f"Bearer {world.token(Role.INTEGRATOR, 'desk')}"}
    world.clock.advance(1)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(waits, server, headers, 5)
        listening(server, 1)
        world.tokens.revoke("desk")
        world.clock.advance(1)
        assert waiting.result().status_code == 401


# answers


def test_answers_are_taken_one_by_one(client, world) -> None:
    """A list is taken in order, and each is told what became of it; all of them are kept."""
    alert = world.open()
    answers = [
        world.reply(alert, "reported", 1, outcome="stored"),
        world.reply(alert, "reported", 1, outcome="stored"),
        {"type": "nonsense", "id": "r?"},
        world.reply(alert, "accepted", 2),
        world.reply(alert, "accepted", 9) | {"subject": "somebody-else"},
    ]
    posted = client.post("/api/v1/case-replies", json=answers)
    assert posted.status_code == 200
    outcomes = [(item["id"], item["outcome"]) for item in posted.json()["items"]]
    assert outcomes == [
        ("r1", "recorded"),
        ("r1", "duplicate"),
        ("r?", "orphan"),
        ("r2", "recorded"),
        ("r9", "orphan"),
    ]
    assert world.alerts.get(alert.id).case == "accepted"
    kept = [row.kind for row in world.alerts.rows_after(0, 99)]
    assert kept == ["opened", "case", "orphan", "case", "orphan"]


def test_an_id_that_is_no_text_is_answered_too(client, world) -> None:
    """Half a character and endless ids come back in a form that can be sent."""
    body = b'[{"id": "\\ud800", "type": "x"}, {"id": "' + b"y" * 9_000 + b'", "type": "x"}]'
    posted = client.post("/api/v1/case-replies", content=body, headers={"Content-Type": "application/json"})
    assert posted.status_code == 200
    assert [item["id"] for item in posted.json()["items"]] == ["\\ud800", "y" * 256]


def test_one_answer_needs_no_list(client, world) -> None:
    """A single answer is taken as it is, with `data` as text or as an object."""
    alert = world.open()
    plain = world.reply(alert, "accepted", 1)
    as_object = world.reply(alert, "dispatched", 2, unit={"code": "U1", "name": "城南消防站"})
    as_object["data"] = json.loads(as_object["data"])
    for body in (plain, as_object):
        assert client.post("/api/v1/case-replies", json=body).json()["items"][0]["outcome"] == "recorded"
    assert world.alerts.get(alert.id).case == "dispatched"


def test_after_an_outage_all_is_sent_again(client, world, monkeypatch) -> None:
    """503 says that nothing past some point was recorded; the same list again doubles nothing."""
    alert = world.open()
    answers = [world.reply(alert, "reported", 1), world.reply(alert, "accepted", 2)]
    take = world.book.answer

    def second_fails(one):
        if one.word == "accepted":
            raise StoreError("away")
        return take(one)

    with monkeypatch.context() as patch:
        patch.setattr(world.book, "answer", second_fails)
        assert client.post("/api/v1/case-replies", json=answers).status_code == 503
    again = client.post("/api/v1/case-replies", json=answers).json()["items"]
    assert [item["outcome"] for item in again] == ["duplicate", "recorded"]


def test_an_answer_that_breaks_the_book_is_kept_apart(client, world, monkeypatch) -> None:
    """A fault that one answer provokes costs that answer its effect, not those behind it theirs."""
    alert = world.open()
    take = world.book.answer

    def breaks(one):
        if one.word == "reported":
            raise OverflowError("x")
        return take(one)

    monkeypatch.setattr(world.book, "answer", breaks)
    answers = [world.reply(alert, "reported", 1), world.reply(alert, "accepted", 2)]
    items = client.post("/api/v1/case-replies", json=answers).json()["items"]
    assert [item["outcome"] for item in items] == ["orphan", "recorded"]


@pytest.mark.parametrize("body", ["[1]", '"x"', "3", "null", "{", "[[]]"])
def test_what_is_no_entry_is_refused_whole(client, body) -> None:
    """Neither an object nor a list of them: 422, and nothing is recorded."""
    answer = client.post(
        "/api/v1/case-replies", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422


def test_too_much_at_once_is_refused(client, world) -> None:
    """A hundred answers or one MiB are the most; an answer of the largest size passes."""
    alert = world.open()
    assert client.post("/api/v1/case-replies", json=[world.reply(alert)] * 101).status_code == 400
    large = world.reply(alert, "accepted", 1, note="长" * 20_000)
    assert client.post("/api/v1/case-replies", json=large).json()["items"][0]["outcome"] == "recorded"
    endless = client.post("/api/v1/case-replies", json={"data": "x" * (1 << 20)})
    assert endless.status_code == 413
