# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers a camera that asks who wants to look: Digest (RFC 7616, and its elder RFC 2617) or Basic (RFC 7617)."""

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence

_PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_NEXT_CHALLENGE = re.compile(r",\s*(?=(?:Digest|Basic)\s)", re.IGNORECASE)
_HASHES = {"MD5": "md5", "MD5-SESS": "md5", "SHA-256": "sha256", "SHA-256-SESS": "sha256"}


class Authorization:
    """User and password, and how a camera wants to be told them; it never shows either.

    Args:
        user, password: as in the camera's URL, decoded.
    """

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password
        self._challenge: dict[str, str] | None = None
        self._basic = self._accepted = False
        self._count = 0

    def __repr__(self) -> str:
        """Show neither."""
        return "Authorization(***)"

    def challenged(self, challenges: Sequence[str]) -> bool:
        """Take what WWW-Authenticate says; return whether another try makes sense: with new knowledge, and a user.

        Digest is preferred. A challenge that comes again has refused us, unless it says that only its nonce is another, or
        we were let in before: a wrong password is told once, because cameras lock accounts.
        """
        if not self._user and not self._password:
            return False
        challenges = [part for text in challenges for part in _NEXT_CHALLENGE.split(text)]
        for text in challenges:
            scheme, _, rest = text.strip().partition(" ")
            if scheme.lower() == "digest":
                said = {m[1].lower(): m[2] if m[2] is not None else m[3] for m in _PARAMETER.finditer(rest)}
                if _hash_of(said) and said.get("nonce"):
                    return self._digest(said)
        was, self._basic = self._basic, any(text.strip().lower().startswith("basic") for text in challenges)
        return self._basic and not was

    def accepted(self) -> None:
        """Take note that a request was not refused."""
        self._accepted = self._challenge is not None

    def _digest(self, said: dict[str, str]) -> bool:
        before, self._challenge = self._challenge, said
        self._count = 0
        if before is None:
            return True
        again = self._accepted or said.get("stale", "").lower() == "true"
        self._accepted = False
        return again and before["nonce"] != said["nonce"]

    def header(self, method: str, uri: str) -> str | None:
        """Return the value of Authorization for a request; None where nobody has asked."""
        if self._challenge is not None:
            return self._answer(self._challenge, method, uri)
        if self._basic:
            return "Basic " + base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return None

    def _answer(self, said: dict[str, str], method: str, uri: str) -> str:
        realm, nonce, own = said.get("realm", ""), said["nonce"], secrets.token_hex(8)
        user = self._user.replace("\\", "\\\\").replace('"', '\\"')

        def hashed(*parts: str) -> str:
            return hashlib.new(_hash_of(said), ":".join(parts).encode(), usedforsecurity=False).hexdigest()

        secret, request = hashed(self._user, realm, self._password), hashed(method, uri)
        in_session = said.get("algorithm", "").upper().endswith("-SESS")
        if in_session:
            secret = hashed(secret, nonce, own)
        fields = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
        bare = {}
        if "auth" in (one.strip() for one in said.get("qop", "").split(",")):
            self._count += 1
            count = f"{self._count:08x}"
            fields |= {"response": hashed(secret, nonce, count, own, "auth", request), "cnonce": own}
            bare = {"qop": "auth", "nc": count}
        else:
            fields["response"] = hashed(secret, nonce, request)
            if in_session:
                fields["cnonce"] = own
        if "opaque" in said:
            fields["opaque"] = said["opaque"]
        if "algorithm" in said:
            bare["algorithm"] = said["algorithm"]
        return "Digest " + ", ".join(
            [f'{name}="{value}"' for name, value in fields.items()]
            + [f"{name}={value}" for name, value in bare.items()]
        )


def _hash_of(said: dict[str, str]) -> str:
    """Return the hash's name; "" for one that is not known here."""
    return _HASHES.get(said.get("algorithm", "MD5").upper(), "")
