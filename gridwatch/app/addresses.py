# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses of streams as files write them, with `${NAME}` for every secret, and what core makes of them.

What a file says is kept as it stands, so that it can be stored, compared and exported; values of the environment come
in only when a `Camera` is made of it.
"""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from pydantic import Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from gridwatch.app.environment import from_environment, variables_in, without_variables
from gridwatch.app.yaml_border import Strict
from gridwatch.core.camera import Address, Resolver
from gridwatch.core.errors import InputError
from gridwatch.core.redact import SecretUrl

STREAM_SCHEMES = ("rtsp://", "rtsps://")
_HTTP_SCHEMES = ("http://", "https://")
_SECRET_NAME = re.compile(r"(?i)pass|pwd|psw|token|secret|sign|auth|api_?key|access_?key")
# Some cameras take /user=NAME_password=WORD_channel=1, with _ or & between.
_SECRET_IN_PATH = re.compile(r"(?i)(?:pass(?:word|wd)?|pwd|psw|token|secret)=[^&_/?#]")
# --password=WORD, but not --password-file=PATH: where a secret stands is none.
_SECRET_ARGUMENT = re.compile(r"(?i)(?:pass|pwd|psw|token|secret)(?![^=]*(?:file|path|env))[^=]*=.")
_STANDS_FOR_UNSET = "1"  # good as a user, a password, a host and a port


class ResolverFields(Strict):
    """Who tells a stream's URL when asked, at every opening."""

    http: str | None = None
    """Asked with GET; answers with the URL as text, or as the field `url` of a JSON object."""
    command: list[Annotated[str, Field(min_length=1, max_length=4096)]] | None = Field(
        default=None, min_length=1, max_length=64
    )
    """A program and its arguments, run without a shell; the first line that it prints is the URL."""
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    """Seconds that are waited for it."""

    @model_validator(mode="after")
    def _asks_one(self) -> "ResolverFields":
        if (self.http is None) == (self.command is None):
            raise ValueError("needs http or command, one of them")
        if self.http is not None:
            _check(self.http, _HTTP_SCHEMES)
        if any(_tells_secret(argument) for argument in self.command or ()):
            raise ValueError(
                "a password stands in the command: let the program read it from the environment (which it has from gridwatch)"
            )
        return self


def stream_address(given: object) -> str | ResolverFields:
    """Return what a file says of a stream's address, checked; secrets stay named, not read.

    Raises:
        ValueError: it is none, or a secret stands in it; the sentence does not show it.
    """
    if isinstance(given, ResolverFields):
        return given
    if isinstance(given, str):
        return _check(given, STREAM_SCHEMES)
    if not isinstance(given, Mapping):
        raise ValueError("must be a URL, or {http: URL} or {command: [PROGRAM, …]}")  # noqa: TRY004  pydantic's kind
    try:
        return ResolverFields.model_validate(dict(given))
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(details) for details in error.errors())) from None


def _as_written(address: str | ResolverFields) -> str | dict[str, Any]:
    return address if isinstance(address, str) else address.model_dump(mode="json", exclude_unset=True)


# One validator of our own: a union's mistakes would show what was written, and so a password.
StreamAddress = Annotated[
    str | ResolverFields,
    PlainValidator(stream_address, json_schema_input_type=str | ResolverFields),
    PlainSerializer(_as_written),
]


def address_of(given: str | ResolverFields, unset: str | None = None) -> Address:
    """Return the address with the environment's values in it.

    Args:
        given: as a file has it.
        unset: stands for a variable that is not set; with None that is an error.

    Raises:
        ValueError: a variable is not set, or with its value the URL is none.
    """
    if isinstance(given, str):
        return _secret_url(given, unset)
    http = None if given.http is None else _secret_url(given.http, unset)
    return Resolver(http, tuple(given.command or ()), given.timeout_s)


def _secret_url(text: str, unset: str | None) -> SecretUrl:
    usable = _usable(from_environment(text, unset))
    _host, *behind = re.split(r"[/?#]", text.partition("://")[2], maxsplit=1)
    return SecretUrl(usable, [os.environ.get(name, "") for name in variables_in("".join(behind))])


def address_to_try(url: str) -> SecretUrl:
    """Return the address of a URL that a person gave a command; a password in it is that person's business.

    Raises:
        InputError: it is none; the sentence does not show it.
    """
    try:
        if not url.lower().startswith(STREAM_SCHEMES):
            raise ValueError(f"must begin with {' or '.join(STREAM_SCHEMES)}")
        address, blank = _secret_url(url, None), without_variables(url)
        if _cut_short(blank, urlsplit(blank)):
            raise ValueError("write / # ? and @ of a password as %2F %23 %3F %40")
        return address
    except ValueError as error:
        raise InputError(f"the address: {error}") from None


def with_named_password(url: str, variable: str) -> str:
    """Move a password that stands in a URL into this process's environment, as `variable`; return the URL that names it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if not without_variables(password):
        return url
    os.environ[variable] = unquote(password)
    return urlunsplit(parts._replace(netloc=f"{user}:${{{variable}}}@{host}"))


def variables_of(given: str | ResolverFields | None) -> list[str]:
    """Return the names of the environment's variables that an address needs."""
    text = given.http or "" if isinstance(given, ResolverFields) else given or ""
    return variables_in(text)


def has_secret(url: str) -> bool:
    """Tell whether a password or a key stands in a URL itself, rather than as `${NAME}`."""
    blank = without_variables(url)
    try:
        parts = urlsplit(blank)
    except ValueError:
        return "@" in blank
    if _cut_short(blank, parts) or _SECRET_IN_PATH.search(
        unquote(f"{parts.path}?{parts.query}#{parts.fragment}")
    ):
        return True
    named = (value for name, value in parse_qsl(parts.query) if _SECRET_NAME.search(name))
    return bool(_password(parts)) or any(named)


def _tells_secret(argument: str) -> bool:
    """Tell whether a password stands in a program's argument, where every process of the machine may read it."""
    return bool(_SECRET_ARGUMENT.search(argument)) or ("://" in argument and has_secret(argument))


def _cut_short(blank: str, parts: SplitResult) -> bool:
    """Tell whether the host ends inside a password: one like `12/34` makes user and password look like host and port."""
    return "@" in blank and "@" not in parts.netloc


def _password(parts: SplitResult) -> str:
    login, at, _host = parts.netloc.rpartition("@")
    return login.partition(":")[2] if at else ""


def _check(text: str, schemes: tuple[str, ...]) -> str:
    if not text.lower().startswith(schemes):
        hint = " (`gridwatch simulate` serves clips as cameras)" if schemes == STREAM_SCHEMES else ""
        raise ValueError(f"must begin with {' or '.join(schemes)}{hint}")
    _usable(from_environment(text, unset=_STANDS_FOR_UNSET))
    if has_secret(text):
        raise ValueError(
            "a password stands in it: put that into the environment, and write ${NAME} for it here"
        )
    return text


def _usable(url: str) -> str:
    if not _is_url(url):  # the sentence must not show the text: it may hold a password
        raise ValueError(
            "is no usable URL: put user and password in ${NAME}, and use plain : and @, not full-width ones"
        )
    return url


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port or 1) > 0 and url.isascii()
    except ValueError:
        return False


def _sentence(details: Any) -> str:
    path = ".".join(str(part) for part in details["loc"])
    text = details["msg"].removeprefix("Value error, ")
    return f"{path}: {text}" if path else text
