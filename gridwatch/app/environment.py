# SPDX-License-Identifier: AGPL-3.0-or-later
"""Secrets of a configuration come from the environment: `${NAME}` in a URL."""

import os
import re
from urllib.parse import quote

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def from_environment(text: str) -> str:
    """Return a URL with every `${NAME}` replaced from the environment.

    Before the host, where user and password stand, the value is percent-encoded: a password may hold any character.

    Raises:
        ValueError: a variable is not set.
    """
    missing = [name for name in _VARIABLE.findall(text) if name not in os.environ]
    if missing:
        raise ValueError(f"environment variable {missing[0]} is not set")
    login, at, rest = text.rpartition("@")
    login = _VARIABLE.sub(lambda match: quote(os.environ[match.group(1)], safe=""), login)
    return login + at + _VARIABLE.sub(lambda match: os.environ[match.group(1)], rest)
