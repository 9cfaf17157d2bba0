# SPDX-License-Identifier: AGPL-3.0-or-later
"""The door over HTTP: who is let in where, by which name, where it may listen, and links to evidence."""

from collections.abc import Callable

import httpx
import pytest
from structlog.testing import capture_logs

from api.access import Access, Caller
from api.application import create_app
from api.guard import AccessPolicy, Guard
from api.server import ApiServer
from api.signing import Signer
from api.tls import Tls
from events.errors import StoreError
from events.roles import Role
from events.tokens import TokenBook
from gridwatch.core.camera import Fault
from gridwatch.core.errors import InputError
from gridwatch.core.zone import Kind

SEEN = {"If-Match": '"1"'}


@pytest.fixture
def bearer(world) -> Callable[[Role], dict[str, str]]:
    """Make a token of a role, and return the header that brings it."""

    def made(role: Role) -> dict[str, str]:
        secret = world.token(role, f"the-{role.value}")
        world.clock.advance(1)
        return {"Authorization": f"Bearer {secret}"}

    return made


# who is let in


def paths_of(world, alert) -> dict[str, tuple[str, str, dict[str, object] | None]]:
    """Return one call for each right, and those that need none."""
    masked = alert.still.masked_sha256
    world.sight.more[alert.camera_id] = {"fault": Fault.MOVED, "zones_suspended": True}
    return {
        "see": ("GET", "/api/v1/alerts", None),
        "one": ("GET", f"/api/v1/alerts/{alert.id}", None),
        "clean": ("GET", f"/api/v1/alerts/{alert.id}/still", None),
        "cameras": ("GET", "/api/v1/cameras", None),
        "stats": ("GET", "/api/v1/stats", None),
        "metrics": ("GET", "/metrics", None),
        "accept": ("POST", f"/api/v1/cameras/{alert.camera_id}/accept-view", {}),
        "decide": ("POST", f"/api/v1/alerts/{alert.id}/confirm", {}),
        "evidence": ("GET", f"/api/v1/evidence/{masked}.jpg", None),
        "share": ("POST", "/api/v1/evidence-links", {"sha256": masked}),
        "messages": ("GET", "/api/v1/case-messages", None),
        "reply": ("POST", "/api/v1/case-replies", world.reply(alert)),
        "description": ("GET", "/openapi.json", None),
        "health": ("GET", "/healthz", None),
        "ready": ("GET", "/readyz", None),
    }


SEES = {"see", "one", "clean", "cameras", "stats", "metrics"}
FREE = {"health", "ready"}
ALLOWED = {
    None: FREE,
    Role.VIEWER: SEES | {"evidence", "description"} | FREE,
    Role.OPERATOR: SEES | {"decide", "accept", "evidence", "share", "description"} | FREE,
    Role.INTEGRATOR: {"evidence", "share", "messages", "reply", "description"} | FREE,
}


@pytest.mark.parametrize("role", ALLOWED)
def test_every_role_gets_what_is_its_own_and_nothing_else(client, world, bearer, role) -> None:
    """The whole table of rights, tried call by call; who brings no token gets only health."""
    alert = world.open()
    headers = bearer(role) if role else (bearer(Role.VIEWER), {})[1]
    got = {}
    for name, (method, path, body) in paths_of(world, alert).items():
        options = {} if body is None else {"json": body}
        got[name] = client.request(method, path, headers={**SEEN, **headers}, **options).status_code
    refusal = 403 if role else 401
    assert got == {name: 200 if name in ALLOWED[role] else refusal for name in got}


def test_before_the_first_token_this_machine_needs_none(client, world) -> None:
    """On loopback everything is open until a token is made, and closed from then on."""
    alert = world.open()
    for method, path, body in paths_of(world, alert).values():
        options = {} if body is None else {"json": body}
        assert client.request(method, path, headers=SEEN, **options).status_code == 200
    assert world.alerts.get(alert.id).decided.by == "api"
    world.token(Role.VIEWER)
    world.clock.advance(1)
    assert client.get("/api/v1/alerts").status_code == 401


def test_before_the_first_token_another_machine_is_not_served(portal, world) -> None:
    """Whoever reaches the server by another address than loopback needs a token, even where none was made."""
    app = create_app(world.services(), policy=AccessPolicy(hosts=("desk.example",)), console=False)
    transport = httpx.ASGITransport(app)
    http = httpx.AsyncClient(transport=transport, base_url="http://192.0.2.4:8000")
    assert portal.call(http.get, "/api/v1/alerts").status_code == 401
    assert portal.call(http.get, "/healthz").status_code == 200
    world.token(Role.VIEWER)
    world.tokens.revoke("op-07")
    world.clock.advance(1)
    assert portal.call(http.get, "/api/v1/alerts").status_code == 401


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer ", "Bearer gw_wrong", "bearer \udcff", "Bearer a b"],
)
def test_a_wrong_token_is_told_from_none(client, bearer, authorization) -> None:
    """The challenge says what is wanted, and for a token that came that it admits nobody (RFC 6750)."""
    bearer(Role.OPERATOR)
    header = authorization.encode("utf-8", "surrogateescape")
    refused = client.get("/api/v1/alerts", headers={b"Authorization": header})
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert refused.headers["content-type"] == "application/problem+json"
    missing = client.get("/api/v1/alerts")
    assert missing.headers["www-authenticate"] == 'Bearer realm="gridwatch"'


@pytest.mark.parametrize("authorization", ["Basic b3A6b3A=", "gw_wrong", "Negotiate YII="])
def test_another_scheme_is_none_of_ours(client, world, bearer, authorization) -> None:
    """What a proxy asks for travels along with every request: it counts as nothing, and the session beside it stands."""
    bearer(Role.OPERATOR)
    other = {"Authorization": authorization}
    for _ in range(6):
        refused = client.get("/api/v1/alerts", headers=other)
        assert (refused.status_code, "invalid_token" in refused.headers["www-authenticate"]) == (401, False)
    access = Access(world.tokens, Signer(bytes(32)), world.clock)
    access.refresh()
    (token,) = world.tokens.all()
    session, _ = access.open_session(Caller(token.name, frozenset(), token.token_id))
    headers = other | {"Cookie": f"gridwatch_session={session}"}
    assert client.get("/api/v1/alerts", headers=headers).status_code == 200


def test_strangers_are_told_whether_it_is_ready_and_not_why(client, world, bearer) -> None:
    """Reasons name machines and devices: before there are tokens, and with one, they are told; secrets never."""
    world.reasons = ["the store at postgresql://u:hidden@db.example does not answer"]
    assert "db.example" in client.get("/readyz").text
    assert "hidden" not in client.get("/readyz").text
    headers = bearer(Role.VIEWER)
    refused = client.get("/readyz")
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:gridwatch:problem:not-ready")
    assert "reasons" not in refused.json()
    assert "db.example" not in refused.text
    told = client.get("/readyz", headers=headers).json()
    assert told["reasons"] == ["the store at postgresql://***@db.example does not answer"]
    world.reasons = []
    assert client.get("/readyz", headers={"Authorization": "Bearer gw_wrong"}).json() == {"status": "ready"}


def test_who_looks_at_clean_evidence_stands_in_the_log(client, world, bearer) -> None:
    """Each view says what, of which alert, and by whom; what is masked is not noted."""
    alert, headers = world.open(), bearer(Role.VIEWER)
    path = f"/api/v1/alerts/{alert.id}/still"
    with capture_logs() as said:
        for asked in (path, f"{path}/boxes", f"{path}?masked=true"):
            assert client.get(asked, headers=headers).status_code == 200
    views = [line for line in said if line["event"] == "clean_evidence_viewed"]
    assert [(line["what"], line["id"], line["by"]) for line in views] == [
        ("still", alert.id, "the-viewer")
    ] * 2


def test_a_token_is_taken_back_at_once(client, world, bearer) -> None:
    """Revoked by another process, it is refused within a second."""
    headers = bearer(Role.OPERATOR)
    assert client.get("/api/v1/alerts", headers=headers).status_code == 200
    TokenBook(world.store, world.clock).revoke("the-operator")
    world.clock.advance(1)
    assert client.get("/api/v1/alerts", headers=headers).status_code == 401


def test_a_program_with_a_wrong_token_is_slowed_down_and_the_right_one_is_not(client, world, bearer) -> None:
    """After five failures it is told to wait; others at the same address go on."""
    headers = bearer(Role.OPERATOR)
    wrong = {"Authorization": "Bearer gw_wrong"}
    assert [client.get("/api/v1/alerts", headers=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    assert client.get("/api/v1/alerts", headers=wrong).headers["retry-after"] == "10"
    assert client.get("/api/v1/alerts", headers=headers).status_code == 200
    world.clock.advance(10)
    assert client.get("/api/v1/alerts", headers=wrong).status_code == 401


def test_a_decision_bears_the_tokens_name(client, world, bearer) -> None:
    """Who decided is the token's name, in the alert and in the journal."""
    alert, headers = world.open(), bearer(Role.OPERATOR)
    body = client.post(f"/api/v1/alerts/{alert.id}/confirm", json={}, headers={**SEEN, **headers}).json()
    assert body["decided"]["by"] == "the-operator"
    assert world.alerts.timeline(alert.id)[-1].actor == "operator:the-operator"


def test_a_foreign_page_gains_nothing_by_a_token(client, world, bearer) -> None:
    """Host and Origin are checked before the token, as without one."""
    alert, headers = world.open(), bearer(Role.OPERATOR)
    path = f"/api/v1/alerts/{alert.id}/confirm"
    foreign = client.post(path, json={}, headers={**SEEN, **headers, "Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert client.get("/api/v1/alerts", headers={**headers, "Host": "evil.example"}).status_code == 421
    assert world.alerts.get(alert.id).revision == 1


def test_while_the_store_never_answered_nobody_is_let_in(client, world, bearer, monkeypatch) -> None:
    """Not knowing who may come in is 503, not an open door; health is free."""
    headers = bearer(Role.OPERATOR)

    def away():
        raise StoreError("away")

    monkeypatch.setattr(world.tokens, "by_hash", away)
    assert client.get("/api/v1/alerts", headers=headers).status_code == 503
    assert client.get("/healthz").status_code == 200


def test_a_server_by_its_own_address_needs_no_name() -> None:
    """The address that was connected to is a name of the server; another one is not."""
    guard = Guard(None, AccessPolicy(hosts=("gridwatch.example.cn",)), None)  # type: ignore[arg-type]
    scope = {"type": "http", "method": "GET", "path": "/", "server": ("192.0.2.4", 8000)}
    for host, served in (
        ("192.0.2.4:8000", True),
        ("gridwatch.example.cn", True),
        ("127.0.0.1", True),
        ("192.0.2.5:8000", False),
        ("evil.example", False),
    ):
        refusal = guard._refusal(scope | {"headers": [(b"host", host.encode())]})
        assert (refusal is None) is served, host
    mapped = scope | {"server": ("::ffff:192.0.2.4", 8000), "headers": [(b"host", b"192.0.2.4:8000")]}
    assert guard._refusal(mapped) is None
    six = scope | {"server": ("2001:db8::4", 8000), "headers": [(b"host", b"[2001:db8::4]:8000")]}
    assert guard._refusal(six) is None


# links to evidence


def test_a_link_opens_one_picture_to_whoever_holds_it(client, world, bearer) -> None:
    """Without a token, for its time, for this picture and nothing else."""
    alert, headers = world.open(), bearer(Role.INTEGRATOR)
    wanted = {"sha256": alert.still.masked_sha256, "valid_s": 60}
    link = client.post("/api/v1/evidence-links", json=wanted, headers=headers).json()
    fetched = client.get(link["url"])
    assert (fetched.status_code, fetched.headers["content-type"]) == (200, "image/jpeg")
    assert client.get(link["url"].partition("?")[0]).status_code == 401
    other = world.open(Kind.SMOKE).still.masked_sha256
    assert client.get(link["url"].replace(alert.still.masked_sha256, other)).status_code == 401
    query = link["url"].partition("?")[2]
    assert client.get(f"/api/v1/alerts/{alert.id}/still?{query}").status_code == 401
    assert client.get(f"/api/v1/alerts?{query}").status_code == 401
    world.clock.advance(60)
    over = client.get(link["url"])
    assert over.status_code == 401
    assert "over" in over.json()["detail"]


def test_a_link_to_nothing_is_not_made(client, world) -> None:
    """Neither to a picture that is not there nor to a clean one, nor for longer than a week."""
    alert = world.open()
    for sha256, status in (("0" * 64, 404), (alert.still.sha256, 404), ("../../etc", 422)):
        assert client.post("/api/v1/evidence-links", json={"sha256": sha256}).status_code == status
    long = {"sha256": alert.still.masked_sha256, "valid_s": 8 * 86_400}
    assert client.post("/api/v1/evidence-links", json=long).status_code == 422


# where it may listen


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.4"])
def test_other_machines_are_let_near_only_with_a_valid_token(world, host) -> None:
    """None at all is refused with what to do; while all have ended this machine alone is served; a valid one is enough."""
    app = create_app(world.services(), console=False)
    server = ApiServer(app, host, 0)
    with pytest.raises(InputError, match="gridwatch tokens add"):
        server.start()
    world.token(Role.VIEWER, days=1)
    world.clock.advance(86_400)
    with capture_logs() as said:
        server.start()
    assert server._socket.getsockname()[:2] == ("127.0.0.1", server.port)
    assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200
    server.stop()
    (told,) = [line for line in said if line["event"] == "door_closed_to_others"]
    assert (told["log_level"], told["asked"], told["listens_on"]) == ("error", host, "127.0.0.1")
    world.token(Role.VIEWER, "op-08")
    if host == "192.0.2.4":
        with pytest.raises(InputError, match="cannot listen"):  # not an address of this machine
            server.start()
    else:
        server.start()
        server.stop()


def test_a_certificate_that_cannot_be_used_is_named(world, tmp_path) -> None:
    """Files that are missing or no PEM end in one sentence before anything is listened on."""
    (tmp_path / "x.pem").write_text("no certificate", encoding="utf-8")
    app = create_app(world.services(), console=False)
    for file in (tmp_path / "x.pem", tmp_path / "missing.pem"):
        server = ApiServer(app, "127.0.0.1", 0, Tls(file, file))
        with pytest.raises(InputError, match=file.name):
            server.start()
