# SPDX-License-Identifier: AGPL-3.0-or-later
"""Signatures of what this server hands out and takes back: sessions and links. Keeps no list of them.

HMAC-SHA256 under a key that lies in the state folder and nowhere else: whoever deletes it ends every session and link.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from gridwatch.core.errors import InputError

KEY_FILE: Final = "door.key"
_KEY_BYTES: Final = 32


class Signer:
    """Signs texts for a purpose; what was signed for one purpose is worth nothing for another."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def load(cls, folder: Path) -> "Signer":
        """Read the key of a state folder, or draw one; only its owner may read the file.

        Raises:
            InputError: the file cannot be read or written, or holds no key.
        """
        file = folder / KEY_FILE
        try:
            text = _read_or_draw(file)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"the key that signs sessions and links cannot be used: {error}", file=file
            ) from error
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise InputError(
                f"this is no key of {_KEY_BYTES} bytes in hexadecimal; delete the file and a new one is drawn "
                "(sessions and links that were given out end)",
                file=file,
            )
        return cls(key)

    def sign(self, purpose: str, *parts: str) -> str:
        """Return the signature of `parts`, which hold no line feed: URL-safe, 43 characters."""
        text = "\n".join((purpose, *parts)).encode("utf-8", "backslashreplace")
        mac = hmac.digest(self._key, text, hashlib.sha256)
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")

    def holds(self, signature: str, purpose: str, *parts: str) -> bool:
        """Tell whether `signature` is that of `parts`."""
        return hmac.compare_digest(signature.encode(), self.sign(purpose, *parts).encode())


def _read_or_draw(file: Path) -> str:
    """Return what the file holds. It comes to be with all of its content: one without any was cut short, and is drawn anew."""
    if not (file.exists() and file.stat().st_size > 0):
        _draw(file)
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return file.read_text(encoding="ascii").strip()


def _draw(file: Path) -> None:
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(_KEY_BYTES) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            part.rename(file)
        else:
            with contextlib.suppress(FileExistsError):  # somebody else was faster: theirs is used
                file.hardlink_to(part)
    finally:
        part.unlink(missing_ok=True)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
