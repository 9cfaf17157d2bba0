# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console by a token that is typed once: the form, the cookie, the way out, and what a browser without one gets."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.application import create_app
from api.console.login import LOGIN_TEXTS, Problem, login_html
from api.console.texts import Language
from api.server import ApiServer
from api.tls import Tls
from events.roles import Role
from tests.servers import missing

COOKIE = "gridwatch_session"


@pytest.fixture
def secret(world) -> str:
    made = world.token(Role.OPERATOR)
    world.clock.advance(1)
    return made


@pytest.fixture
def http(console: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=console.url, timeout=20, trust_env=False) as client:
        yield client


def log_in(http: httpx.Client, token: str) -> httpx.Response:
    return http.post("/login", data={"token": token}, headers={"Origin": str(http.base_url).rstrip("/")})


def test_a_browser_without_a_session_is_led_to_the_form(http, secret) -> None:
    """The page leads to the form; what programs ask for is refused; the form loads nothing and runs nothing."""
    led = http.get("/", headers={"Accept": "text/html"})
    assert (led.status_code, led.headers["location"]) == (303, "/login")
    assert http.get("/").status_code == 401
    assert http.get("/docs").status_code == 401
    form = http.get("/login")
    assert form.status_code == 200
    assert "<script" not in form.text
    assert form.headers["content-security-policy"].startswith("default-src 'none'")
    assert "script-src" not in form.headers["content-security-policy"]
    assert form.headers["x-frame-options"] == "DENY"


def test_the_token_is_typed_once(http, world, secret) -> None:
    """A session opens the console and all that it loads; the cookie is for this server's own pages and no script's."""
    alert = world.open()
    entered = log_in(http, f"  {secret}\n")
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    cookie = entered.headers["set-cookie"]
    for part in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert part in cookie
    assert "Secure" not in cookie
    assert secret not in cookie
    page = http.get("/")
    assert page.status_code == 200
    assert "op-07" in page.text
    assert http.get(f"/api/v1/alerts/{alert.id}/still").status_code == 200
    assert http.get("/login").headers["location"] == "/"


def test_a_session_decides_in_the_tokens_name(http, world, secret) -> None:
    """What is decided with a session bears the name of the token that opened it; from a foreign page it does not."""
    alert = world.open()
    log_in(http, secret)
    path, seen = f"/api/v1/alerts/{alert.id}/confirm", {"If-Match": '"1"'}
    foreign = http.post(path, json={}, headers={**seen, "Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert http.post(path, json={}, headers=seen).json()["decided"]["by"] == "op-07"


def test_who_signs_out_is_out(http, console, secret) -> None:
    """The cookie goes, and a copy of it opens nothing any more."""
    log_in(http, secret)
    copied = http.cookies[COOKIE]
    console._app.state.access._by_hash, console._app.state.access._by_id = None, {}  # as after a restart
    left = http.post("/logout")
    assert left.headers["location"] == "/login"
    assert COOKIE not in http.cookies
    assert http.get("/api/v1/alerts", headers={"Cookie": f"{COOKIE}={copied}"}).status_code == 401


def test_a_wrong_token_is_told_and_slowed_down(http, world, secret) -> None:
    """Five wrong ones, then wrong ones wait; the page says how long, and the right one is taken all the same."""
    for _ in range(5):
        refused = log_in(http, "gw_wrong")
        assert refused.status_code == 401
        assert "令牌无效" in refused.text
        assert "set-cookie" not in refused.headers
    slowed = log_in(http, "gw_wrong")
    assert slowed.status_code == 429
    assert "10 秒" in slowed.text
    other = http.post("/login", data={"token": "gw_wrong"}, headers={"X-Forwarded-For": "192.0.2.99"})
    assert other.status_code == 429  # whatever a header says, it is the same machine
    assert http.get("/api/v1/alerts", headers={"Authorization": "Bearer gw_wrong"}).status_code == 401
    assert log_in(http, secret).status_code == 303
    http.cookies.clear()
    world.clock.advance(10)
    assert log_in(http, "gw_wrong").status_code == 401


def test_a_program_that_is_wrong_keeps_no_seat_out(http, secret) -> None:
    """Wrong tokens of programs and wrong attempts at the form are counted apart."""
    wrong = {"Authorization": "Bearer gw_wrong"}
    assert [http.get("/api/v1/alerts", headers=wrong).status_code for _ in range(6)] == [401] * 5 + [429]
    assert log_in(http, "gw_wrong").status_code == 401


def test_a_form_that_is_none_of_ours_gets_the_form(http, secret) -> None:
    """More fields than it has are no fault of the server."""
    fields = "&".join(f"x{number}=1" for number in range(9))
    refused = http.post(
        "/login",
        content=f"token={secret}&{fields}",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert refused.status_code == 401
    assert "访问令牌" in refused.text


def test_a_programs_token_opens_no_console(http, world, secret) -> None:
    """An integrator is told so, and gets no session; by its header it does not get the page either."""
    desk = world.token(Role.INTEGRATOR, "desk")
    world.clock.advance(1)
    refused = log_in(http, desk)
    assert refused.status_code == 403
    assert "程序对接" in refused.text
    assert "set-cookie" not in refused.headers
    assert http.get("/", headers={"Authorization": f"Bearer {desk}"}).status_code == 403


def test_a_foreign_page_cannot_sign_anybody_in(http, secret) -> None:
    """A form of another site is refused before the token is looked at; so is a form that is too large."""
    foreign = http.post("/login", data={"token": secret}, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert http.post("/login", data={"token": "x" * 5_000}).status_code == 413
    assert http.post("/login", content=iter([b"token=x"])).status_code == 411


def test_the_pages_socket_needs_a_session_too(http, console, secret) -> None:
    """A websocket without a session is refused, whatever page asks."""
    url = f"ws://127.0.0.1:{console.port}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    origin = f"http://127.0.0.1:{console.port}"
    with pytest.raises(InvalidStatus) as refusal, connect(url, origin=origin):
        pass
    assert refusal.value.response.status_code == 403
    log_in(http, secret)
    headers = {"Cookie": f"{COOKIE}={http.cookies[COOKIE]}"}
    with connect(url, origin=origin, additional_headers=headers) as socket:
        assert str(socket.recv(timeout=20)).startswith("0")


def test_without_tokens_there_is_nothing_to_type(http) -> None:
    """On a machine without tokens the form leads to the console, which names nobody and has no way out."""
    assert http.get("/login").headers["location"] == "/"
    page = http.get("/")
    assert page.status_code == 200
    assert "/logout" not in page.text


def test_the_form_speaks_both_languages(http, secret) -> None:
    """By the browser's preference, by the switch, and remembered by the console's cookie."""
    assert "访问令牌" in http.get("/login").text
    assert "Access token" in http.get("/login", headers={"Accept-Language": "en"}).text
    assert "Access token" in http.get("/login?lang=en").text
    assert "Access token" in http.get("/login", headers={"Cookie": "gridwatch_language=en"}).text


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("problem", [None, *Problem])
def test_every_text_of_the_form_is_whole(language, problem) -> None:
    """No text is left in braces or in the other language, and nothing of it can be markup."""
    page = login_html(language, problem, 9.2)
    assert "{" not in page.partition("</style>")[2]
    assert ("10" in page.partition("</style>")[2].partition("<form")[0]) is (problem is Problem.THROTTLED)
    for zh, en in LOGIN_TEXTS.values():
        assert zh != en
        assert en.isascii() or en == "中文"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Tls:
    """Make a certificate for 127.0.0.1 that nobody else knows."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("openssl is not installed: no certificate can be made")
    folder: Path = tmp_path_factory.mktemp("tls")
    files = Tls(folder / "certificate.pem", folder / "key.pem")
    asked = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=gridwatch"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    to = ["-keyout", str(files.key), "-out", str(files.certificate)]
    subprocess.run([openssl, *asked.split(), *names, *to], check=True, capture_output=True)
    return files


def test_over_https_the_cookie_is_secure(world, secret, certificate) -> None:
    """With a certificate the server speaks HTTPS alone, and its cookie never travels in the clear."""
    server = ApiServer(create_app(world.services()), "127.0.0.1", 0, certificate)
    server.start()
    assert server.url.startswith("https://")
    trusted = ssl.create_default_context(cafile=str(certificate.certificate))
    with httpx.Client(base_url=server.url, timeout=20, trust_env=False, verify=trusted) as http:
        entered = log_in(http, secret)
        assert "Secure" in entered.headers["set-cookie"]
        assert http.get("/api/v1/alerts").status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{server.port}/healthz", timeout=20, trust_env=False)
    server.stop()


def test_a_key_with_a_password_or_of_another_certificate_is_refused(certificate, tmp_path) -> None:
    """Nothing waits for somebody to type a password at start."""
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkey", "-in", str(certificate.key), "-aes256", "-passout", "pass:x", "-out"]
    subprocess.run([*command, str(locked)], check=True, capture_output=True)
    other = tmp_path / "other.pem"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]
    subprocess.run([*command, str(other)], check=True, capture_output=True)
    certificate.check()
    from gridwatch.core.errors import InputError

    for key in (locked, other):
        with pytest.raises(InputError, match="without a password"):
            Tls(certificate.certificate, key).check()
