# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps secrets out of logs, exceptions and pages."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

# Up to the last @ before a space or a quote: a password may hold any other character, and a cut URL is better than a leak.
_USERINFO = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s'\"]*@")
# Of a path too: some cameras take /user=NAME_password=WORD_channel=1. From such a name on all is hidden.
_SECRET_VALUE = re.compile(
    r"(?i)([?&/](?:[^=&/?\s]*(?:pass|pwd|psw|token|secret|sign|key|auth|user)[^=&/?\s]*)=)[^&\s'\"]+"
)


def redact(text: str) -> str:
    """Return `text` with the credentials of every URL in it replaced by `***`."""
    return _SECRET_VALUE.sub(r"\1***", _USERINFO.sub(r"\g<scheme>***@", text))


class SecretUrl:
    """A URL whose credentials show only through `reveal()`.

    Args:
        url: the whole.
        secrets: what is not to be seen behind its host either, whatever stands around it.
    """

    __slots__ = ("_secrets", "_url")

    def __init__(self, url: str, secrets: Iterable[str] = ()) -> None:
        self._url = url
        self._secrets = tuple(sorted(filter(None, secrets), key=len, reverse=True))

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
        parts = urlsplit(self._veiled())
        return redact(urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))

    def __str__(self) -> str:
        return redact(self._veiled())

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"

    def _veiled(self) -> str:
        if not self._secrets:
            return self._url
        at = self._url.find("://") + 3 + len(urlsplit(self._url).netloc)
        behind_host = self._url[at:]
        for secret in self._secrets:
            behind_host = behind_host.replace(secret, "***")
        return self._url[:at] + behind_host

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)
