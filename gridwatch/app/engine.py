# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opens the network that the settings name, verified."""

from gridwatch.app.settings import ModelSettings
from models.catalogue import Catalogue
from models.network import Network


def open_network(settings: ModelSettings) -> Network:
    """Open the network.

    Raises:
        InputError: the catalogue or the weights are not what they should be.
    """
    return Network.open(
        settings.network, threads=settings.threads, catalogue=Catalogue.load(settings.catalogue)
    )
