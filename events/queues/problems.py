# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a failure of the Redis client means, in one sentence for who runs this: what, where, and what to do.

Reads the client's error only; no Redis here. No sentence holds a user's name or a password.
"""

import ssl
from collections.abc import Iterator
from typing import Final

from gridwatch.core.redact import redact

# The first word that is found in the error's text decides, so what is special stands before what is general.
_ANSWERS: Final = (
    (
        "invalid username-password",
        "it refuses this user and password (WRONGPASS): correct them in queue.url, or the user on the server",
    ),
    ("authentication required", "it asks for a user and a password (NOAUTH): give them in queue.url"),
    (
        "already authenticated",  # what a first HELLO is answered
        "it asks for a user and a password (NOAUTH): give them in queue.url",
    ),
    (
        "no password is set",
        "it knows no password, and queue.url holds one: take it out, or set it on the server",
    ),
    (
        "called without any password configured",
        "it knows no password, and queue.url holds one: take it out, or set it on the server",
    ),
    (
        "no permissions",
        "this user may not do what is needed (NOPERM): give it the rights in docs/integrate/README.md",
    ),
    (
        "acl failure",
        "this user may not do what is needed (NOPERM): give it the rights in docs/integrate/README.md",
    ),
    (
        "can't run this command",
        "this user may not do what is needed (NOPERM): give it the rights in docs/integrate/README.md",
    ),
    ("hostname mismatch", "its TLS certificate is for another name: use that name in queue.url"),
    (
        "ip address mismatch",
        "its TLS certificate is for another address: use the name it is for in queue.url",
    ),
    ("certificate has expired", "its TLS certificate has expired: renew it on the server"),
    (
        "certificate_verify_failed",
        "its TLS certificate is not trusted here: name the authority that signed it, ?ssl_ca_certs=FILE in queue.url",
    ),
    (
        "certificate required",
        "it asks for a TLS certificate of ours: ?ssl_certfile=FILE&ssl_keyfile=FILE in queue.url",
    ),
    (
        "eof occurred in violation",
        "it ended the TLS connection; if it asks for a certificate of ours: ?ssl_certfile=FILE&ssl_keyfile=FILE in queue.url",
    ),
    ("wrong_version_number", "it does not speak TLS there: use redis:// or its TLS port in queue.url"),
    ("record layer failure", "it does not speak TLS there: use redis:// or its TLS port in queue.url"),
    ("wrongtype", "one of our names is taken there by something that is no stream or hash: choose others"),
    ("maxmemory", "its memory is full (OOM): give it more, or set queue.max_length"),
    ("readonly", "it is a replica that takes no writes (READONLY): name the primary in queue.url"),
    ("read only replica", "it is a replica that takes no writes (READONLY): name the primary in queue.url"),
    ("misconf", "it cannot write its own files (MISCONF): look at its disk and its log"),
    ("loading the dataset", "it is still reading its files (LOADING): wait"),
    (
        "same slot",
        "our names lie in different slots of a cluster: give them one hash tag, as in {gridwatch}:cases",
    ),
    ("max number of clients", "it has no room for another client: raise its maxclients"),
)


def describe(error: Exception, place: str, *, tls: bool | None = None) -> str:
    """Return the sentence about `error`.

    Args:
        error: the client's.
        place: where the queue is, without credentials.
        tls: whether TLS was tried; None where there is no choice (a unix socket).
    """
    text = " ".join(_texts(error)).lower()
    for word, meaning in _ANSWERS:
        if word in text:
            return redact(f"the case queue at {place}: {meaning}")
    ended = any(words in text for words in ("closed by server", "reset by peer", "broken pipe"))
    hint = ""
    if (
        tls and "timeout connecting" in text
    ):  # without TLS a server waits for the end of what it takes for a line
        hint = "; if it does not speak TLS there, use redis:// or its TLS port in queue.url"
    elif tls and ended:
        hint = "; if it asks for a certificate of ours: ?ssl_certfile=FILE&ssl_keyfile=FILE in queue.url"
    elif tls is False and ended:
        hint = "; if it speaks TLS there, use rediss:// in queue.url"
    if any(isinstance(one, ssl.SSLError) for one in _chain(error)):
        return redact(f"the case queue at {place}: TLS fails: {error}")
    return redact(f"the case queue at {place} does not answer: {error}{hint}")


def _texts(error: Exception) -> Iterator[str]:
    for one in _chain(error):
        yield type(one).__name__
        yield str(one)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
