# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses that are asked for: real HTTP answers and real programs, good ones and bad ones."""

import base64
import json
import logging
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gridwatch.core.camera import Resolver
from gridwatch.core.redact import SecretUrl
from ingest.errors import NotFoundError, SourceError, TimedOutError, UnauthorizedError, UnreachableError
from ingest.resolver import locate

PLAY = "rtsp://u:play-s3cret@192.0.2.1:554/live?token=abc"


class Platform:
    """A video platform that answers as it is told."""

    def __init__(self):
        self.status, self.body, self.delay_s, self.drip, self.asked = 200, b"", 0.0, False, []
        self.drips_headers = False
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                platform.asked.append((self.path, self.headers.get("Authorization")))
                time.sleep(platform.delay_s)
                self.send_response(platform.status)
                for number in range(100 if platform.drips_headers else 0):
                    self.send_header(f"X-{number}", "x")
                    self.flush_headers()
                    time.sleep(0.05)
                self.end_headers()
                for _ in range(100 if platform.drip else 1):
                    self.wfile.write(platform.body)
                    if platform.drip:
                        self.wfile.flush()
                        time.sleep(0.05)

            def log_message(self, *args): ...

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def resolver(self, user="", timeout_s=2.0):
        url = f"http://{user}127.0.0.1:{self._server.server_port}/play/7?token=ask-s3cret"
        return Resolver(http=SecretUrl(url), timeout_s=timeout_s)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def platform():
    platform = Platform()
    yield platform
    platform.close()


def failure_of(resolver):
    with pytest.raises(SourceError) as caught:
        locate(resolver)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "s3cret" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def python(code, timeout_s=5.0):
    return Resolver(command=(sys.executable, "-c", code), timeout_s=timeout_s)


@pytest.mark.parametrize(
    "body", [PLAY, f"  {PLAY}\n", json.dumps({"url": PLAY}), json.dumps({"code": 0, "url": PLAY})]
)
def test_a_platform_tells_the_url(platform, body):
    """As text, or as the field `url` of a JSON object."""
    platform.body = body.encode()
    assert locate(platform.resolver()).reveal() == PLAY


def test_it_is_asked_each_time_and_shows_who_asks(platform, caplog):
    """A play address expires: nothing is remembered. User and password go where HTTP wants them, and into no log."""
    caplog.set_level(logging.DEBUG)
    for number in range(2):
        platform.body = f"rtsp://192.0.2.1/{number}".encode()
        assert locate(platform.resolver("me:p%40ss-s3cret@")).reveal().endswith(str(number))
    wanted = "Basic " + base64.b64encode(b"me:p@ss-s3cret").decode()
    assert platform.asked == [("/play/7?token=ask-s3cret", wanted)] * 2
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("status", "kind"), [(401, UnauthorizedError), (403, UnauthorizedError), (404, NotFoundError)]
)
def test_a_refusal_is_told_like_a_cameras(platform, status, kind):
    """What the platform answers decides how soon it is asked again."""
    platform.status = status
    assert type(failure_of(platform.resolver())) is kind


@pytest.mark.parametrize("status", [302, 500, 503])
def test_any_other_status_is_unreachable(platform, status):
    """A redirection is not followed: only whom the operator named is asked."""
    platform.status, platform.body = status, PLAY.encode()
    assert str(status) in failure_of(platform.resolver()).reason


@pytest.mark.parametrize(
    "body",
    [
        "",
        "file:///etc/passwd-s3cret",
        "http://192.0.2.1/s3cret",
        "rtsp://",
        "rtsp://192.0.2.1/a b",
        "rtsp://192.0.2.1/a\r\nInjected: s3cret",
        "rtsp://192.0.2.1:99999/s3cret",
        "rtsp://192.0.2.1/" + "a" * 5000,
        "{",
        '{"address": "rtsp://u:s3cret@192.0.2.1/"}',
        '{"url": 7}',
        "[" * 40000,
    ],
)
def test_only_an_rtsp_url_is_believed(platform, body):
    """A platform cannot make us read files or speak to other services; its answer is not shown."""
    platform.body = body.encode()
    failure_of(platform.resolver())


def test_an_answer_without_end_is_cut(platform):
    """More than a URL can have is not read."""
    platform.body = b"x" * (1 << 20)
    assert failure_of(platform.resolver()).reason == "the resolver's answer is too long"


def test_a_platform_that_is_slow_is_given_up(platform):
    """It answers nothing, or a bit now and then, of its headers too: the time allowed bounds all of it."""
    ways = ((1.5, False, False), (0.0, True, False), (0.0, False, True))
    for platform.delay_s, platform.drip, platform.drips_headers in ways:
        platform.body = b"x"  # no URL: another failure, if it were waited for
        assert type(failure_of(platform.resolver(timeout_s=0.4))) is TimedOutError


def test_nobody_there_is_unreachable():
    """A closed port, and a name that does not exist."""
    gone = Platform()
    gone.close()
    assert type(failure_of(gone.resolver())) is UnreachableError
    nowhere = Resolver(http=SecretUrl("http://u:s3cret@platform.invalid/x"), timeout_s=2.0)
    assert type(failure_of(nowhere)) is UnreachableError


def test_a_programs_first_line_is_the_url():
    """It gets its arguments as they are, through no shell, and no input."""
    code = f"import sys; print({PLAY!r}); print('more'); sys.exit(len(sys.stdin.read()))"
    assert locate(python(code)).reveal() == PLAY
    assert locate(Resolver(command=("echo", "rtsp://192.0.2.1/$HOME;a"))).reveal().endswith("/$HOME;a")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (f"import sys; print({PLAY!r}); sys.exit(1)", "the resolver's program failed"),
        ("print('x' * 100000)", "the resolver's program says too much"),
        ("pass", "what the resolver says is no rtsp:// or rtsps:// URL"),
        ("raise SystemExit('s3cret')", "the resolver's program failed"),
    ],
)
def test_a_program_that_fails_is_told(code, reason):
    """Its own words may hold secrets and are not shown."""
    assert failure_of(python(code)).reason == reason


def test_a_program_that_is_not_there_is_told():
    """No such file."""
    assert type(failure_of(Resolver(command=("/nonexistent/s3cret",)))) is UnreachableError


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path):
    """After the time allowed nothing of it is left."""
    mark = tmp_path / "alive"
    child = (
        f"import pathlib,time\nfor _ in range(1000): pathlib.Path({str(mark)!r}).touch(); time.sleep(0.05)"
    )
    code = f"import subprocess,sys,time; subprocess.Popen([sys.executable,'-c',{child!r}]); time.sleep(60)"
    began = time.monotonic()
    assert type(failure_of(python(code, timeout_s=1.0))) is TimedOutError
    assert time.monotonic() - began < 20
    mark.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not mark.exists()


def test_a_plain_url_is_itself():
    """Most cameras have a fixed address."""
    assert locate(SecretUrl(PLAY)) == SecretUrl(PLAY)
