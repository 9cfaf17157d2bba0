# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may talk to the server: Host, Origin, JSON-only writes, headers, and where it may listen."""

import contextlib
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api.application import create_app
from api.guard import address_to_bind
from api.server import ApiServer
from events.roles import Role
from events.tokens import Token
from gridwatch.core.errors import InputError

SEEN = {"If-Match": '"1"'}
NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "::1", "[::1]", "localhost"])
def test_loopback_may_be_bound(host: str) -> None:
    """Loopback addresses are allowed."""
    assert address_to_bind(host, [], NOW) == host


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "", "127.0.0.1.evil.example"]
)
def test_any_other_address_is_refused(host: str) -> None:
    """Without authentication the API listens on this machine only, and says why."""
    with pytest.raises(InputError, match="there is no token"):
        address_to_bind(host, [], NOW)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org"])
def test_other_addresses_are_for_valid_tokens_and_loopback_for_ended_ones(host: str) -> None:
    """Whose last token ran out overnight goes on watching, on this machine alone."""
    valid = Token(token_id="a", name="op", role=Role.VIEWER, made_at=NOW, expires_at=NOW + timedelta(days=1))
    ended = replace(valid, expires_at=NOW)
    assert address_to_bind(host, [ended, valid], NOW) == host
    assert address_to_bind(host, [ended], NOW) == "127.0.0.1"
    assert address_to_bind("::1", [ended], NOW) == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:9", "desk.example"])
def test_known_hosts_are_served(client, host: str) -> None:
    """Loopback names with any port, and configured names, are served."""
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::1"]
)
def test_foreign_hosts_are_refused(client, host: str) -> None:
    """A name that is not ours (DNS rebinding) is refused before any route runs, as a problem."""
    response = client.get("/api/v1/alerts", headers={"Host": host})
    assert response.status_code == 421
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example", "http://["],
)
def test_a_foreign_page_cannot_decide_or_read(client, world, origin: str) -> None:
    """A page of another origin gets 403 for writes and reads, and nothing is decided."""
    alert = world.open()
    path = f"/api/v1/alerts/{alert.id}"
    assert client.post(f"{path}/confirm", json={}, headers={**SEEN, "Origin": origin}).status_code == 403
    assert client.get(path, headers={"Origin": origin}).status_code == 403
    assert world.alerts.get(alert.id).revision == 1


@pytest.mark.parametrize("own", [True, False])
def test_the_own_and_the_configured_origin_may_decide(client, world, own: bool) -> None:
    """The page's own origin and the configured ones may write."""
    alert = world.open()
    origin = "http://127.0.0.1:8000" if own else "https://desk.example:8443"
    response = client.post(f"/api/v1/alerts/{alert.id}/confirm", json={}, headers={**SEEN, "Origin": origin})
    assert response.status_code == 200


def test_a_cross_site_write_without_origin_is_refused(client, world) -> None:
    """Where a browser says that a write comes from another site, it is refused even without an Origin."""
    alert = world.open()
    headers = {**SEEN, "Sec-Fetch-Site": "cross-site"}
    assert client.post(f"/api/v1/alerts/{alert.id}/confirm", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_writes_are_json_only(client, world, kind: str | None) -> None:
    """What an HTML form can send without asking is refused."""
    alert = world.open()
    headers = {**SEEN, **({"Content-Type": kind} if kind else {})}
    response = client.post(f"/api/v1/alerts/{alert.id}/confirm", content=b"{}", headers=headers)
    assert response.status_code == 415
    assert world.alerts.get(alert.id).revision == 1


def test_large_and_endless_writes_are_refused(client, world) -> None:
    """A body over the limit, or without a length, is refused before it is read."""
    path = f"/api/v1/alerts/{world.open().id}/confirm"
    large = b'{"note": "' + b"x" * 70_000 + b'"}'
    headers = {**SEEN, "Content-Type": "application/json"}
    assert client.post(path, content=large, headers=headers).status_code == 413
    assert client.post(path, content=_without_length(), headers=headers).status_code == 411
    both = {**headers, "Transfer-Encoding": "chunked", "Content-Length": "2"}
    for where in (path, "/login", "/_nicegui_ws/socket.io/"):
        assert client.post(where, content=b"{}", headers=both).status_code == 411
    assert client.post(path, json={"note": "x" * 501}, headers=SEEN).status_code == 422


async def _without_length():
    yield b"{}"


def test_every_answer_carries_the_security_headers(client, world) -> None:
    """Answers, problems and pictures alike forbid sniffing, framing, foreign embedding and scripts."""
    alert = world.open()
    for path in ("/healthz", "/api/v1/alerts", "/nothing", f"/api/v1/alerts/{alert.id}/still", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "access-control-allow-origin" not in headers


def test_a_taken_port_is_one_clear_sentence(world) -> None:
    """A port that somebody else listens on is named."""
    with contextlib.closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        server = ApiServer(create_app(world.services(), console=False), "127.0.0.1", port)
        with pytest.raises(InputError, match=f"port {port} is taken"):
            server.start()


def test_a_server_refuses_to_listen_for_others(world) -> None:
    """The bind rule holds at the socket, whatever wiring asks for."""
    with pytest.raises(InputError, match="there is no token"):
        ApiServer(create_app(world.services(), console=False), "0.0.0.0", 0).start()


def test_a_server_stops_and_its_port_is_free_again(world) -> None:
    """After stop nobody listens, the thread has ended, and stopping again is no error."""
    server = ApiServer(create_app(world.services(), console=False), "127.0.0.1", 0)
    server.start()
    url, thread = server.url, server._thread
    answer = httpx.get(f"{url}/healthz", trust_env=False)
    assert answer.status_code == 200
    assert "server" not in answer.headers
    server.stop()
    server.stop()
    assert thread is not None
    assert not thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz", trust_env=False)
