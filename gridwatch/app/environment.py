# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets of a configuration come from the environment: `${NAME}` in a URL."""

import os
import re
from urllib.parse import quote

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def from_environment(text: str, unset: str | None = None) -> str:
    """Return a URL with every `${NAME}` replaced from the environment.

    Before the host, where user and password stand, the value is percent-encoded: a password may hold any character.

    Args:
        text: as a file has it.
        unset: stands for a variable that is not set; with None that is an error.

    Raises:
        ValueError: a variable is not set.
    """
    missing = [name for name in variables_in(text) if name not in os.environ]
    if missing and unset is None:
        raise ValueError(f"environment variable {missing[0]} is not set")
    login, at, rest = text.rpartition("@")
    login = _VARIABLE.sub(lambda match: quote(os.environ.get(match.group(1), unset or ""), safe=""), login)
    return login + at + _VARIABLE.sub(lambda match: os.environ.get(match.group(1), unset or ""), rest)


def variables_in(text: str) -> list[str]:
    """Return the names of the variables that a text asks for."""
    return _VARIABLE.findall(text)


def without_variables(text: str) -> str:
    """Return a text with every `${NAME}` cut out: what is left of a secret stands in the text itself."""
    return _VARIABLE.sub("", text)
