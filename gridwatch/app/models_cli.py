# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands of `gridwatch models`, and their options."""

from pathlib import Path
from typing import Annotated

import typer

from gridwatch.core.errors import InputError

models = typer.Typer(
    help="The weights: what there is, and whether the files are what they should be.", no_args_is_help=True
)

CatalogueOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Take catalogue and network from this configuration.")
]
OtherCatalogueOption = Annotated[
    Path | None, typer.Option("--catalogue", help="Another catalogue than this distribution's.")
]


@models.command("list")
def models_list(config: CatalogueOption = None, catalogue: OtherCatalogueOption = None) -> None:
    """List the networks of the catalogue, and what can compute the one that runs."""
    from gridwatch.app.models_command import list_models

    list_models(config, catalogue)


@models.command("verify")
def models_verify(config: CatalogueOption = None, catalogue: OtherCatalogueOption = None) -> None:
    """Compare every weights file with the hash in the catalogue."""
    from gridwatch.app.models_command import verify_models

    raise typer.Exit(verify_models(config, catalogue))


@models.command("add")
def models_add(  # noqa: PLR0913, PLR0917  each option of the command is an argument
    file: Annotated[Path, typer.Argument(help="An Ultralytics detector: .onnx, or .pt with --allow-pickle.")],
    name: Annotated[str | None, typer.Option(help="What to call it; the file's name otherwise.")] = None,
    catalogue: Annotated[Path, typer.Option(help="The catalogue of your own; made if missing.")] = Path(
        "models-own/catalogue.yaml"
    ),
    sha256: Annotated[str | None, typer.Option(help="The SHA-256 that FILE must have.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="What its classes mean where names differ: auto=car,bike=bicycle,van=none."),
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Load a .pt, which runs the code that is in it.")
    ] = False,
    licence: Annotated[str | None, typer.Option(help="Its licence; what the file says otherwise.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it is from; the file's name otherwise.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of one of that name.")
    ] = False,
) -> None:
    """Add a detector of your own to a catalogue of your own, after checks and a trial."""
    from gridwatch.app.models_add import add_model, parse_classes
    from models.adding import AddRequest

    add_model(
        AddRequest(
            file, catalogue, name, sha256, parse_classes(classes), allow_pickle, licence, source, replace
        )
    )


@models.command("export")
def models_export(
    to: Annotated[Path, typer.Option(help="The folder to write; a catalogue of its own.")],
    name: Annotated[
        str | None, typer.Argument(help="A name of the catalogue; its default otherwise.")
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="Another catalogue than this distribution's.")
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(help="Also make the 8-bit form, calibrated on this folder of your pictures."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write although the folder is not empty; files of the same name go."),
    ] = False,
) -> None:
    """Write a network's verified files into a folder that another machine can name as its catalogue."""
    from gridwatch.app.models_export import ExportOptions, export_model

    export_model(ExportOptions(to, name, catalogue, int8, force))


@models.command("evaluate")
def models_evaluate(  # noqa: PLR0913, PLR0917  each option of the command is an argument
    dataset: Annotated[
        Path, typer.Argument(help="Folder with data.yaml (boxes) or a MANIFEST.tsv (counts).")
    ],
    split: Annotated[str, typer.Option(help="Which pictures to score.")] = "test",
    size: Annotated[
        list[int] | None,
        typer.Option(help="Long side of the input, pixels; may be given again. The network's own otherwise."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Score this class (or any_vehicle) only; may be given again.")
    ] = None,
    choose_on: Annotated[
        str | None,
        typer.Option(help="The split on which thresholds are chosen; val otherwise, where there is one."),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="A name of the catalogue; its default otherwise.")
    ] = None,
    catalogue: Annotated[
        Path | None, typer.Option(help="Another catalogue than this distribution's.")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or torch.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, f32, int8 or f16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the page and its pictures; under out/models otherwise.")
    ] = None,
) -> None:
    """Score a network on labelled pictures: precision, recall, false alarms, counting error."""
    from gridwatch.app.models_evaluate import EvaluateOptions, evaluate_models
    from models.backends.choose import Asked

    evaluate_models(
        EvaluateOptions(
            dataset,
            split,
            choose_on,
            tuple(size or ()),
            tuple(only or ()),
            network,
            catalogue,
            Asked(backend, precision, device),
            json_out,
            report,
        )
    )


@models.command("train")
def models_train(  # noqa: PLR0913, PLR0917  one option each
    data: Annotated[Path, typer.Option(help="The folder of pictures (docs/training.md).")],
    weights: Annotated[Path, typer.Option(help="The folder of weights to start from.")],
    out: Annotated[Path, typer.Option(help="The run's folder; made if missing.")] = Path("out/training"),
    recipe: Annotated[
        str, typer.Option(help="cpu (two cores, under 2.5 hours) or gpu (15 minutes).")
    ] = "cpu",
    seeds: Annotated[
        str, typer.Option(help="One run side by side for each; their mean may be chosen.")
    ] = "7,8",
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Of each run; the recipe's if not given.")
    ] = None,
    counter_iterations: Annotated[
        int | None, typer.Option(min=0, help="Of the crowd counter; 0 keeps it.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Only every n-th picture, for a try.")] = 1,
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
) -> None:
    """Train the project's own weights (needs the extra `train`)."""
    from gridwatch.app.models_train import TrainOptions, train_models

    try:
        chosen = tuple(int(seed) for seed in seeds.split(","))
    except ValueError as error:
        raise InputError(f"--seeds: {seeds!r} is not a list of whole numbers, as in 7,8") from error
    options = TrainOptions(data, weights, out, recipe, chosen, iterations, counter_iterations, every, resume)
    raise typer.Exit(train_models(options))
