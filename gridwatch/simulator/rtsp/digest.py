# SPDX-License-Identifier: AGPL-3.0-or-later
"""Digest access authentication with MD5, as cameras do it (RFC 2617 section 3; without qop as in RFC 2069).

One gate per connection: its nonce lives and dies with it. Basic is auth.py's.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.wire import Request, url_path

REALM = "gridwatch-simulator"

_PAIR = re.compile(r'\s*([a-zA-Z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)')
_ESCAPE = re.compile(r"\\(.)")
_NONCE_COUNT = re.compile(r"[0-9a-fA-F]{8}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The one user of a simulated city."""

    user: str
    password: str = field(repr=False)


class Verdict(Enum):
    """What the gate says of a request."""

    ADMITTED = "admitted"
    REFUSED = "refused"
    STALE = "stale"  # the right form with a nonce or count that no longer holds: try again


@dataclass(slots=True)
class DigestGate:
    """Challenges and checks the requests of one connection.

    Attributes:
        nonce: random, drawn by the caller for this connection.
        qop: offer qop=auth. Without it the older form is offered, as most cameras do; an answer in either form
            is accepted only as it was offered.
    """

    credentials: Credentials
    nonce: str
    qop: bool = False
    realm: str = REALM
    _last_count: int = 0

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:
        """Return the one value of WWW-Authenticate."""
        parts = [f'Digest realm="{self.realm}"', f'nonce="{self.nonce}"', "algorithm=MD5"]
        if self.qop:
            parts.append('qop="auth"')
        if stale:
            parts.append("stale=true")
        return (", ".join(parts),)

    def verdict(self, request: Request) -> Verdict:
        """Judge a request by its Authorization header.

        Raises:
            WireError: the header is malformed, or speaks of another resource than the request (400).
        """
        text = request.header("Authorization")
        if text is None or text[:7].lower() != "digest ":
            return Verdict.REFUSED
        fields = parse_fields(text[7:])
        if fields.get("algorithm", "MD5").upper() != "MD5" or ("qop" in fields) != self.qop:
            return Verdict.REFUSED
        if url_path(fields.get("uri", "")) != url_path(request.url):
            raise WireError("the digest's uri is not the request's")
        expected = digest_response(request.method, fields, self.credentials, self.realm)
        if not hmac.compare_digest(expected, fields.get("response", "").lower().encode()):
            return Verdict.REFUSED
        return self._freshness(fields)

    def _freshness(self, fields: Mapping[str, str]) -> Verdict:
        if fields.get("nonce") != self.nonce:
            return Verdict.STALE
        if self.qop:
            text = fields.get("nc", "")
            count = int(text, 16) if _NONCE_COUNT.fullmatch(text) else 0
            if count <= self._last_count:
                return Verdict.STALE
            self._last_count = count
        return Verdict.ADMITTED


def parse_fields(text: str) -> dict[str, str]:
    """Read `name=value, name="value"` pairs; names in lower case, values without their quotes.

    Raises:
        WireError: something else stands there, or a name twice.
    """
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None or match[1].lower() in fields:
            raise WireError("the Authorization header is malformed")
        fields[match[1].lower()] = _ESCAPE.sub(r"\1", match[2]) if match[2] is not None else match[3]
        at = match.end()
    return fields


def digest_response(method: str, fields: Mapping[str, str], credentials: Credentials, realm: str) -> bytes:
    """Return the response (32 hex digits) that the right user would send (RFC 2617 section 3.2.2.1)."""
    if fields.get("username") != credentials.user or fields.get("realm") != realm:
        return b"-"  # equal to no response
    secret = _md5(f"{credentials.user}:{realm}:{credentials.password}")
    asked = _md5(f"{method}:{fields.get('uri', '')}")
    nonce = fields.get("nonce", "")
    if "qop" not in fields:
        return _md5(f"{secret}:{nonce}:{asked}").encode()
    if fields["qop"] != "auth":
        return b"-"
    middle = f"{nonce}:{fields.get('nc', '')}:{fields.get('cnonce', '')}:auth"
    return _md5(f"{secret}:{middle}:{asked}").encode()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
