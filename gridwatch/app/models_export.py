# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models export`: a network as a folder for another machine, with an 8-bit form on request."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.catalogue import Catalogue
from models.exporting import export


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the command line says."""

    folder: Path
    name: str | None = None
    catalogue: Path | None = None
    pictures: Path | None = None
    force: bool = False


def export_model(options: ExportOptions) -> None:
    """Write the folder, with bars for what takes time, and print what lies in it.

    Raises:
        InputError: anything is not as it should be; then nothing was changed.
    """
    catalogue = Catalogue.load(options.catalogue)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        bars: dict[str, TaskID] = {}

        def advance(step: str, parts: int) -> None:
            if parts:
                bars[step] = progress.add_task(step, total=parts)
            else:
                progress.advance(bars[step])

        done = export(
            catalogue,
            catalogue.entry(options.name),
            options.folder,
            pictures=options.pictures,
            force=options.force,
            advance=advance,
        )
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"{done.entry.name} was written to {options.folder}:", markup=False)
    for file in done.files:
        console.print(f"  {file.name} ({file.stat().st_size / (1 << 20):.1f} MiB)", markup=False)
    if done.agreement is not None:
        seen = done.agreement
        console.print(
            f"8-bit: {seen.found} of the {seen.boxes} boxes that single precision has on {seen.pictures} pictures held "
            f"back, and {seen.more} others"
        )
    console.print(
        f"use it with `models: {{catalogue: {done.files[0]}, network: {done.entry.name}}}` in gridwatch.yaml",
        markup=False,
    )
