# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps secrets out of logs, exceptions and pages."""

import re
from urllib.parse import urlsplit, urlunsplit

# Up to the last @ before a space or a quote: a password may hold any other character, and a cut URL is better than a leak.
_USERINFO = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@")
_SECRET_QUERY = re.compile(
    r"(?i)([?&](?:[^=&\s]*(?:pass|pwd|token|secret|key|auth|user)[^=&\s]*)=)[^&\s'\"]+"
)


def redact(text: str) -> str:
    """Return `text` with the credentials of every URL in it replaced by `***`."""
    return _SECRET_QUERY.sub(r"\1***", _USERINFO.sub(r"\g<scheme>***@", text))


class SecretUrl:
    """A URL whose credentials show only through `reveal()`."""

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def reveal(self) -> str:
        """Return the whole URL, credentials included: for the library that connects, nobody else."""
        return self._url

    @property
    def host(self) -> str:
        """The host and port, without credentials."""
        parts = urlsplit(self._url)
        return parts.netloc.rpartition("@")[2]

    def without_credentials(self) -> str:
        """Return the URL without user and password (and with secret query values masked)."""
        parts = urlsplit(self._url)
        return redact(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))

    def __str__(self) -> str:
        return redact(self._url)

    def __repr__(self) -> str:
        return f"SecretUrl({redact(self._url)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)
