# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch models add`: a user's own detector into a catalogue of the user's own."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gridwatch.core.errors import InputError
from models.adding import STEPS, Added, AddRequest, add
from models.detector_onnx import listed

CATALOGUE = Path("models-own/catalogue.yaml")
NOT_OURS = "none"


def parse_classes(text: str | None) -> dict[str, str | None]:
    """Return what `--classes` says: from the file's class to ours, or to None for `none`.

    Raises:
        InputError: it is no list of pairs, or names one twice.
    """
    said: dict[str, str | None] = {}
    for pair in filter(None, (text or "").split(",")):
        theirs, equals, ours = pair.rpartition("=")
        theirs, ours = theirs.strip(), ours.strip().lower()
        if not equals or not theirs or not ours:
            raise InputError(f"--classes: {pair!r} is not THEIRS=OURS, as in auto=car,bike=bicycle,van=none")
        if theirs in said:
            raise InputError(f"--classes: {theirs!r} stands there twice")
        said[theirs] = None if ours == NOT_OURS else ours
    return said


def add_model(request: AddRequest) -> None:
    """Add a detector, with a bar meanwhile, and print what it is taken for and how to use it.

    Raises:
        InputError: anything is not as it should be; then nothing was changed.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as progress:
        steps = STEPS if request.allow_pickle else STEPS - 1
        bar = progress.add_task("", total=steps, completed=-1)
        added = add(request, lambda said: progress.update(bar, advance=1, description=said))
    _print(added, request.catalogue)


def _print(added: Added, catalogue: Path) -> None:
    entry, console = added.entry, Console(soft_wrap=True, highlight=False)
    taken = ", ".join(
        theirs if theirs == ours else f"{theirs} as {ours}" for theirs, ours in added.taken.items()
    )
    lines = [
        f"{entry.name} was added to {catalogue}; tried on {added.device}.",
        f"SHA-256 of the file given: {added.sha256}",
        f"classes: {taken}",
        f"not used: {listed(added.unused) or 'nothing'}",
        "Nothing was measured: score it with",
        f"  gridwatch models evaluate DATASET --catalogue {catalogue} --network {entry.name}",
        "and run it with these lines in gridwatch.yaml:",
        f"  models: {{catalogue: {catalogue}, network: {entry.name}}}",
    ]
    console.print("\n".join(lines), markup=False)
