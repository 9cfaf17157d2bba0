# SPDX-License-Identifier: AGPL-3.0-or-later
"""The certificate that HTTPS is served with. Makes none: that is the business of who runs the network."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from gridwatch.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of a certificate (with those that it hangs on) and of its key, both PEM."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Read both.

        Raises:
            InputError: they cannot be read, or do not belong together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise InputError(
                f"the certificate {self.certificate} and the key {self.key} cannot be used together: {error}; "
                "both are PEM files, the key without a password"
            ) from error


def _no_password() -> str:
    raise ValueError("the key has a password")
