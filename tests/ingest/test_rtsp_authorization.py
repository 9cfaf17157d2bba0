# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who we are, told as cameras ask for it: the RFCs' own examples, and challenges as they come."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.rtsp_auth import Authorization

OLD = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={},'
    ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def answer(challenge, password, *, user="Mufasa"):
    authorization = Authorization(user, password)
    assert authorization.challenged([challenge])
    return authorization.header("GET", "/dir/index.html")


@pytest.mark.parametrize(
    ("challenge", "cnonce", "password", "response"),
    [
        (
            OLD + ', qop="auth,auth-int", opaque="5ccc069c403ebaf9f0171e9517f40e41"',
            "0a4f113b",
            "Circle Of Life",
            "6629fae49393a05397450978507c4ef1",
        ),
        (
            RFC_7616.format("MD5"),
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "Circle of Life",
            "8ca523f5e9506fed4657c9700eebdbec",
        ),
        (
            RFC_7616.format("SHA-256"),
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "Circle of Life",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (OLD, "", "CircleOfLife", "1949323746fe6a43ef61f9606e7febea"),
    ],
    ids=["rfc2617-3.5", "rfc7616-3.9.1-md5", "rfc7616-3.9.1-sha256", "rfc2069-2.4-corrected"],
)
def test_the_examples_of_the_rfcs(monkeypatch, challenge, cnonce, password, response):
    """With qop and without, MD5 and SHA-256."""
    monkeypatch.setattr("ingest.rtsp_auth.secrets.token_hex", lambda _: cnonce)
    header = answer(challenge, password)
    assert f'response="{response}"' in header
    assert ("qop=auth, nc=00000001" in header) == bool(cnonce)
    assert ("opaque=" in header) == ("opaque=" in challenge)


def test_each_request_has_its_number():
    """Nc rises by one for each answer to one nonce, and begins anew with another."""
    authorization = Authorization("u", "p")
    authorization.challenged([OLD + ', qop="auth"'])
    headers = [authorization.header("PLAY", "rtsp://h/") for _ in range(3)]
    authorization.accepted()
    assert authorization.challenged([OLD.replace("dcd98", "other") + ', qop="auth"'])
    headers.append(authorization.header("PLAY", "rtsp://h/"))
    assert [re.search(r"nc=(\w+)", header)[1][-1] for header in headers] == ["1", "2", "3", "1"]


@pytest.mark.parametrize(
    ("challenges", "scheme", "algorithm"),
    [
        (['Basic realm="r"'], "Basic", None),
        (['Basic realm="r"', 'Digest realm="r", nonce="n"'], "Digest", None),
        (['Digest realm="r", nonce="n", algorithm=MD5, Basic realm="other"'], "Digest", "MD5"),
        (['Basic realm="r", Digest realm="r", nonce="n"'], "Digest", None),
        (['DIGEST realm=r,nonce=n,algorithm="md5"'], "Digest", "md5"),
        (
            ['Digest realm="r", nonce="n", algorithm=SHA-512-256', 'Digest realm="r", nonce="m"'],
            "Digest",
            None,
        ),
        (['Digest realm="r", nonce="n", algorithm=SHA-256'], "Digest", "SHA-256"),
        (['Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth"'], "Digest", "MD5-sess"),
        (['Digest realm="r", nonce="n", algorithm=SHA-512-256', 'Basic realm="r"'], "Basic", None),
    ],
)
def test_the_best_of_several_schemes_is_taken(challenges, scheme, algorithm):
    """Digest before Basic, the first that is known here, in one header or in several; its algorithm is said as it came."""
    authorization = Authorization("u", "p")
    assert authorization.challenged(challenges)
    header = authorization.header("DESCRIBE", "rtsp://h/")
    assert header.startswith(scheme + " ")
    if scheme == "Digest":
        said = re.search(r"algorithm=(\S+)", header)
        assert (said and said[1]) == algorithm
        assert 'realm="r"' in header


def test_basic_says_user_and_password():
    """In UTF-8 (RFC 7617, 2.1)."""
    header = answer('Basic realm="r"', "pä:ss", user="ü")
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "ü:pä:ss"


def test_a_wrong_password_is_tried_once():
    """Another nonce alone is no reason for another try: cameras give one with each refusal, and lock accounts."""
    authorization = Authorization("u", "wrong")
    assert authorization.challenged([OLD])
    assert not authorization.challenged([OLD])
    assert not authorization.challenged([OLD.replace("dcd98", "other")])
    assert not authorization.challenged([OLD.replace("dcd98", "other") + ", stale=true"])
    basic = Authorization("u", "wrong")
    assert basic.challenged(["Basic realm=x"])
    assert not basic.challenged(["Basic realm=x"])


@pytest.mark.parametrize("stale", [True, False])
def test_another_nonce_is_taken_where_we_were_let_in(stale):
    """The camera says that the nonce alone is old, or it took the password before."""
    authorization = Authorization("u", "p")
    authorization.challenged([OLD])
    if not stale:
        authorization.accepted()
    other = OLD.replace("dcd98", "other") + (", stale=TRUE" if stale else "")
    assert authorization.challenged([other])
    assert 'nonce="other' in authorization.header("PLAY", "rtsp://h/")
    assert stale or not authorization.challenged([OLD])


def test_nobody_asks_and_nobody_is_there():
    """Nothing is said unasked; without a user no challenge makes sense; what is unknown is not answered."""
    assert Authorization("u", "p").header("PLAY", "rtsp://h/") is None
    assert not Authorization("", "").challenged([OLD])
    assert not Authorization("u", "p").challenged(["Negotiate", "", 'Digest realm="r"'])


def test_it_shows_neither_user_nor_password():
    """Not in its text; a quote in a user's name ends no value."""
    assert repr(Authorization("user", "s3cret")) == "Authorization(***)"
    assert 'username="a\\"b", ' in answer(OLD, "p", user='a"b')


@given(st.lists(st.one_of(st.text(), st.text().map(lambda rest: "Digest nonce=x," + rest))))
def test_any_challenge_is_answered_or_not(challenges):
    """Nothing is raised, whatever a camera asks."""
    authorization = Authorization("u", "p")
    assert authorization.challenged(challenges) == (authorization.header("PLAY", "rtsp://h/") is not None)
