# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opens the network that the settings name, verified, on the back end that they ask for; says what it cannot serve."""

from pathlib import Path

from gridwatch.app.settings import ModelSettings
from gridwatch.core.camera import Camera
from gridwatch.core.detections import VEHICLES, ObjectClass, Part
from gridwatch.core.zone import Kind
from models.backends.choose import Asked
from models.catalogue import Catalogue
from models.network import Network, NetworkSettings


def open_network(settings: ModelSettings, state: Path | None = None) -> Network:
    """Open the network.

    Args:
        settings: which, and on what.
        state: folder in which it is kept which back end was found fastest; if None none is timed.

    Raises:
        InputError: the catalogue or the weights are not what they should be, or what is asked for is not to be had here.
    """
    return Network.open(
        settings.network,
        threads=settings.threads,
        settings=NetworkSettings(asked=asked_of(settings), state_dir=state),
        catalogue=Catalogue.load(settings.catalogue),
    )


def asked_of(settings: ModelSettings) -> Asked:
    """Return what the settings ask of a back end."""
    return Asked(settings.backend, settings.precision, settings.device)


def kinds_served(classes: frozenset[ObjectClass], parts: frozenset[Part]) -> frozenset[Kind]:
    """Return the kinds of zones that a network can serve: one that sees none of a kind's things would say "nothing there".

    Args:
        classes: what its boxes tell.
        parts: what it can be asked for.
    """
    # A look for a crowd asks for boxes and the density together: a density beside no boxes of people would never answer.
    counts = ObjectClass.PERSON in classes or parts >= {Part.PEOPLE, Part.CROWD}
    served = {
        Kind.FIRE: ObjectClass.FIRE in classes,
        Kind.SMOKE: ObjectClass.SMOKE in classes,
        Kind.CROWD: counts,
        Kind.TRAFFIC: not classes.isdisjoint(VEHICLES),
    }
    return frozenset(kind for kind, is_served in served.items() if is_served)


def served_by(settings: ModelSettings) -> frozenset[Kind]:
    """Return the kinds of zones that the network which the settings name can serve; its weights are not read.

    Raises:
        InputError: the catalogue is not what it should be, or has no such network.
    """
    entry = Catalogue.load(settings.catalogue).entry(settings.network)
    return kinds_served(entry.tells, entry.parts)


def why_unserved(served: frozenset[Kind], camera: Camera) -> str:
    """Return in one phrase which of a camera's zones a network cannot serve; empty where it serves them all.

    Args:
        served: the kinds of zones that it can serve, see `kinds_served`.
        camera: whatever it is like, on or off.
    """
    missing = {kind for zone in camera.zones for kind in zone.kinds} - served
    return f"the network does not tell {', '.join(sorted(missing))}" if missing else ""
