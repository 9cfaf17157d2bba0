# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may look: Basic access authentication (RFC 7617), and one gate that offers Basic and Digest side by side.

Digest by itself is digest.py's. Basic sends the password as it is: simulated cameras offer it because real ones do.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from gridwatch.simulator.rtsp.digest import REALM, Credentials, DigestGate, Verdict
from gridwatch.simulator.rtsp.wire import Request

Scheme: TypeAlias = Literal["digest", "basic", "both"]


class Gate(Protocol):
    """Checks the requests of one connection."""

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:
        """Return a value of WWW-Authenticate for each scheme that is offered, the stronger one first."""
        ...

    def verdict(self, request: Request) -> Verdict:
        """Judge a request by its Authorization header.

        Raises:
            WireError: the header is malformed (400).
        """
        ...


@dataclass(frozen=True, slots=True)
class BasicGate:
    """Admits whoever sends the user and the password."""

    credentials: Credentials
    realm: str = REALM

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:
        """Return the one challenge; nothing can be stale."""
        _ = stale
        return (f'Basic realm="{self.realm}"',)

    def verdict(self, request: Request) -> Verdict:
        """Compare what was sent; anything that is not Basic is refused."""
        scheme, _, text = (request.header("Authorization") or "").partition(" ")
        expected = f"{self.credentials.user}:{self.credentials.password}".encode()
        try:
            sent = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            return Verdict.REFUSED
        admitted = scheme.lower() == "basic" and hmac.compare_digest(sent, expected)
        return Verdict.ADMITTED if admitted else Verdict.REFUSED


@dataclass(frozen=True, slots=True)
class EitherGate:
    """Offers Digest and Basic, and takes either."""

    digest: DigestGate
    basic: BasicGate

    def challenges(self, *, stale: bool = False) -> tuple[str, ...]:
        """Return both challenges."""
        return self.digest.challenges(stale=stale) + self.basic.challenges()

    def verdict(self, request: Request) -> Verdict:
        """Judge a request by the scheme that it uses."""
        text = request.header("Authorization") or ""
        gate: Gate = self.basic if text[:6].lower() == "basic " else self.digest
        return gate.verdict(request)


def gate_of(scheme: Scheme, digest: DigestGate) -> Gate:
    """Return the gate that offers `scheme` to the user that `digest` knows."""
    basic = BasicGate(digest.credentials, digest.realm)
    gates: dict[Scheme, Gate] = {"digest": digest, "basic": basic, "both": EitherGate(digest, basic)}
    return gates[scheme]
