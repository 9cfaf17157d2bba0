# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models list` and `verify`."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gridwatch.app.engine import asked_of
from gridwatch.app.settings import ModelSettings, Settings, load_settings
from gridwatch.core.errors import InputError
from models.catalogue import Catalogue, Entry
from models.errors import BackendError
from models.listing import BackendRow, list_backends, list_networks, verify_networks

MIB = 1 << 20


def list_models(config: Path | None = None, catalogue: Path | None = None) -> None:
    """Print the catalogue, and for the network that runs what can compute it here, what will, and why the rest cannot.

    Args:
        config: a gridwatch.yaml that names catalogue, network and back end, and in whose state folder timings are kept;
            the defaults if None.
        catalogue: another catalogue, where there is no `config`.

    Raises:
        InputError: the configuration or the catalogue is wrong, or both are named.
    """
    settings, models = _settings(config, catalogue)
    listed, console = Catalogue.load(models.catalogue), Console()
    entry = listed.entry(models.network)
    table = Table("name", "classes", "MiB", "licence", "source")
    for row in list_networks(listed):
        size = "missing" if row.size_bytes is None else f"{row.size_bytes / MIB:.1f}"
        name = f"{row.name} *" if row.name == entry.name else row.name
        table.add_row(name, ", ".join(row.classes), size, row.licence, row.source)
    console.print(table)
    _print_backends(console, entry, models, settings.state if settings else None)


def _settings(config: Path | None, catalogue: Path | None) -> tuple[Settings | None, ModelSettings]:
    if config is None:
        return None, ModelSettings(catalogue=catalogue)
    if catalogue is not None:
        raise InputError(
            "name a configuration or a catalogue, not both: a configuration says which catalogue it uses"
        )
    settings = load_settings(config)[0]
    return settings, settings.models


def _print_backends(console: Console, entry: Entry, models: ModelSettings, state: Path | None) -> None:
    try:
        rows = list_backends(entry, asked_of(models), state)
    except BackendError as error:
        console.print(str(error), markup=False, style="red")
        return
    table = Table("back end", "ms a look", "on this machine", title=f"what can compute {entry.name}")
    for row in rows:
        table.add_row(
            f"{row.plan} *" if row.is_chosen else row.plan,
            "" if row.ms is None else f"{row.ms:.1f}",
            escape(_said(row)),
        )
    console.print(table)
    if sum(not row.problem for row in rows) > 1 and not any(row.ms for row in rows):
        console.print(
            "several fit: the first start times them, keeps the result and takes the fastest", markup=False
        )


def _said(row: BackendRow) -> str:
    return row.problem or ("runs" if row.is_chosen else "fits")


def verify_models(config: Path | None = None, catalogue: Path | None = None) -> int:
    """Print, for every network, whether its files are those that the catalogue means.

    Args:
        config: a gridwatch.yaml that names the catalogue; the committed one if None.
        catalogue: another catalogue, where there is no `config`.

    Returns:
        0, or 1 when one is not.

    Raises:
        InputError: the configuration or the catalogue is wrong, or both are named.
    """
    rows = verify_networks(Catalogue.load(_settings(config, catalogue)[1].catalogue))
    for row in rows:
        names = ", ".join(file.name for file in row.files)
        Console().print(f"{row.name}: {row.problem or 'is what the catalogue says'} ({names})", markup=False)
    return int(any(row.problem for row in rows))
