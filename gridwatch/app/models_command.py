# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models list` and `verify`."""

from rich.console import Console
from rich.table import Table

from models.catalogue import Catalogue
from models.listing import list_networks, verify_networks

MIB = 1 << 20


def list_models() -> None:
    """Print the catalogue as a table; the network that runs unless another is named has a star."""
    table = Table("name", "classes", "MiB", "licence", "source")
    for row in list_networks(Catalogue.load()):
        size = "missing" if row.size_bytes is None else f"{row.size_bytes / MIB:.1f}"
        name = f"{row.name} *" if row.is_default else row.name
        table.add_row(name, ", ".join(row.classes), size, row.licence, row.source)
    Console().print(table)


def verify_models() -> int:
    """Print, for every file, whether it is the one that the catalogue means.

    Returns:
        0, or 1 when one is not.
    """
    rows = verify_networks(Catalogue.load())
    for row in rows:
        Console().print(
            f"{row.name}: {row.problem or 'is what the catalogue says'} ({row.file.name})", markup=False
        )
    return int(any(row.problem for row in rows))
