# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may look. The examples are those of RFC 2617 section 3.5 and RFC 2069 (with its erratum), and FFmpeg's."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.digest import Credentials, DigestGate, Verdict, digest_response, parse_fields
from gridwatch.simulator.rtsp.wire import Request, parse_request

NONCE = "3f69fcf0db6601b67eda489e79766000"  # of the golden file
VIEWER = Credentials("viewer", "look")
URL = "rtsp://h/gate-1"


def request(fields, credentials=VIEWER, method="DESCRIBE", url=URL, **changes):
    """Return a request as the right client would sign it, then changed."""
    signed = {"username": credentials.user, "realm": "gridwatch-simulator", "uri": url} | fields
    signed["response"] = digest_response(method, signed, credentials, "gridwatch-simulator").decode()
    text = ", ".join(f'{name}="{value}"' for name, value in (signed | changes).items())
    return Request(method, url, (("Authorization", f"Digest {text}"),))


def test_the_rfcs_example_with_qop_gives_its_response():
    """Mufasa's GET of RFC 2617 is answered 6629fae4…."""
    fields = {
        "username": "Mufasa",
        "realm": "testrealm@host.com",
        "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        "uri": "/dir/index.html",
        "qop": "auth",
        "nc": "00000001",
        "cnonce": "0a4f113b",
    }
    mufasa = Credentials("Mufasa", "Circle Of Life")
    assert digest_response("GET", fields, mufasa, "testrealm@host.com") == b"6629fae49393a05397450978507c4ef1"


def test_the_rfcs_example_without_qop_gives_its_response():
    """Mufasa's GET of RFC 2069 is answered 19493237… (erratum 749)."""
    fields = {
        "username": "Mufasa",
        "realm": "testrealm@host.com",
        "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        "uri": "/dir/index.html",
    }
    mufasa = Credentials("Mufasa", "CircleOfLife")
    assert digest_response("GET", fields, mufasa, "testrealm@host.com") == b"1949323746fe6a43ef61f9606e7febea"


def test_a_real_clients_answer_is_admitted(golden):
    """FFmpeg's DESCRIBE, as it was on the wire, opens the gate that it was made for, and only that one."""
    described = parse_request(golden("rtsp_describe_digest.bin")[:-4])
    assert DigestGate(VIEWER, NONCE).verdict(described) is Verdict.ADMITTED
    assert DigestGate(Credentials("viewer", "Look"), NONCE).verdict(described) is Verdict.REFUSED
    assert DigestGate(VIEWER, "another").verdict(described) is Verdict.STALE


@pytest.mark.parametrize(
    "authorization", [None, "Basic dmlld2VyOmxvb2s=", "Digest uri=rtsp://h/gate-1", "Bearer x"]
)
def test_another_scheme_is_refused(authorization):
    """Without Digest there is no way in; Basic with the right password is none."""
    headers = () if authorization is None else (("Authorization", authorization),)
    gate = DigestGate(VIEWER, NONCE)
    assert gate.verdict(Request("DESCRIBE", URL, headers)) is Verdict.REFUSED


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "root"},
        {"realm": "other"},
        {"response": "0" * 32},
        {"response": "-"},
        {"algorithm": "SHA-256"},
    ],
)
def test_what_is_not_as_signed_is_refused(changes):
    """A change of any field that counts closes the gate."""
    gate = DigestGate(VIEWER, NONCE)
    assert gate.verdict(request({"nonce": NONCE})) is Verdict.ADMITTED
    assert gate.verdict(request({"nonce": NONCE}, **changes)) is Verdict.REFUSED


def test_a_method_cannot_be_changed_under_its_signature():
    """What was signed for DESCRIBE does not open PLAY."""
    signed = request({"nonce": NONCE})
    assert DigestGate(VIEWER, NONCE).verdict(Request("PLAY", URL, signed.headers)) is Verdict.REFUSED


def test_the_signed_uri_must_be_the_requests():
    """A signature for one camera does not open another."""
    signed = request({"nonce": NONCE})
    with pytest.raises(WireError):
        DigestGate(VIEWER, NONCE).verdict(Request("DESCRIBE", "rtsp://h/gate-2", signed.headers))


def test_with_qop_a_nonce_count_is_used_once():
    """The same count twice is stale; the next one is admitted."""
    gate = DigestGate(VIEWER, NONCE, qop=True)

    def counted(count):
        return request({"nonce": NONCE, "qop": "auth", "nc": count, "cnonce": "abc"})

    verdicts = [gate.verdict(counted(count)) for count in ("00000001", "00000001", "00000002", "xyz")]
    assert verdicts == [Verdict.ADMITTED, Verdict.STALE, Verdict.ADMITTED, Verdict.STALE]
    assert gate.verdict(request({"nonce": NONCE})) is Verdict.REFUSED  # not as it was offered


def test_the_challenge_offers_what_is_checked():
    """Realm, nonce, algorithm; qop and stale where they apply."""
    gate = DigestGate(VIEWER, "n", qop=True)
    expected = 'Digest realm="gridwatch-simulator", nonce="n", algorithm=MD5, qop="auth", stale=true'
    assert gate.challenges(stale=True) == (expected,)
    assert "qop" not in DigestGate(VIEWER, "n").challenges()[0]


@pytest.mark.parametrize("text", ["a", "a=", 'a="b', 'a="b" c="d"', "a=b, a=c", "a=b,, c=d", '="x"'])
def test_a_malformed_header_is_refused(text):
    """Only name=value pairs with commas between them, each name once."""
    with pytest.raises(WireError):
        parse_fields(text)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_header_is_read_or_refused(text):
    """Nothing else is raised."""
    with suppress(WireError):
        parse_fields(text)


def test_a_password_does_not_show():
    """Credentials can be printed."""
    assert "look" not in repr(VIEWER)
