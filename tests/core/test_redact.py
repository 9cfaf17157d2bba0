# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets stay out of everything that is printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.redact import SecretUrl, redact


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:S3cret@10.0.0.5:554/x",
        "cannot open rtsp://admin:S3cret@10.0.0.5/x: 401",
        "rtsp://admin:S3cret@word@10.0.0.5/x",
        "rtsp://admin:S3cret/and#more?@10.0.0.5/x",
        "http://h/play?user=admin&password=S3cret&x=1",
        "http://h/play?psw=S3cret&x=1 and http://h/play?sign=S3cret",
        "rtsp://10.0.0.5/user=admin_password=S3cret_channel=1_stream=0.sdp?real_stream",
        "rtsp://10.0.0.5/user=admin&password=S3cret&channel=1",
        "rtsp://10.0.0.5/live/ch1_psw=S3cret/0",
        "two rtsp://a:S3cret@h/1 and redis://:S3cret@h/0",
    ],
)
def test_no_secret_survives(text):
    """User and password of any URL, and secret query values, become stars."""
    cleaned = redact(text)
    assert "S3cret" not in cleaned
    assert "***" in cleaned


def test_what_is_no_secret_stays():
    """Host, path and harmless queries are still there to find the camera by."""
    assert redact("rtsp://u:p@10.0.0.5:554/ch1?x=1") == "rtsp://***@10.0.0.5:554/ch1?x=1"
    assert redact("mail a@b.cn about rtsp://10.0.0.5/ch1") == "mail a@b.cn about rtsp://10.0.0.5/ch1"


@given(st.text("abcXYZ019!$%:;,._~-@", min_size=6, max_size=20).filter(lambda word: "hos" not in word))
def test_a_secret_url_never_shows_its_password(password):
    """Neither str nor repr nor a format string shows it; reveal does."""
    url = SecretUrl(f"rtsp://user:{password}@host.example:554/a")
    for shown in (str(url), repr(url), f"{url}", url.without_credentials(), url.host):
        assert password not in shown
    assert password in url.reveal()
    assert url.host == "host.example:554"
