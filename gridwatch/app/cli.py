# SPDX-License-Identifier: AGPL-3.0-or-later
"""The `gridwatch` command. Exit codes: 0 done, 1 the check failed, 2 wrong input (one clear sentence)."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gridwatch.core.errors import InputError

app = typer.Typer(
    name="gridwatch",
    help="Cameras to incidents in a city's grids. It says 疑似 (suspected), and is no certified fire alarm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models = typer.Typer(
    help="The weights: what there is, and whether the files are what they should be.", no_args_is_help=True
)
app.add_typer(models, name="models")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration of this machine.")]
CatalogueOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Take catalogue and network from this configuration.")
]
OtherCatalogueOption = Annotated[
    Path | None, typer.Option("--catalogue", help="Another catalogue than this distribution's.")
]
WithParent = Annotated[bool, typer.Option(help="End when standard input ends.")]


@app.command()
def run(
    config: ConfigOption = Path("gridwatch.yaml"),
    child: Annotated[bool, typer.Option(hidden=True, help="The part that the parent keeps running.")] = False,
) -> None:
    """Watch the cameras and serve the API, until stopped."""
    from gridwatch.app.logs import configure_logs
    from gridwatch.app.run import run_child, run_parent

    configure_logs()
    raise typer.Exit(run_child(config) if child else run_parent(config))


@app.command()
def check(config: Annotated[Path, typer.Argument(help="A gridwatch.yaml.")] = Path("gridwatch.yaml")) -> None:
    """Name every mistake in a configuration and the files that it names, with file and line."""
    from gridwatch.app.check import check_all

    cameras, zones, grids = check_all(config)
    typer.echo(f"{config}: no mistakes; {cameras} cameras, {zones} zones, {grids} grids")


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder with the clips.")],
    truth: Annotated[Path, typer.Option(help="What happened in them (JSON).")],
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Take the network from this configuration.")
    ] = None,
) -> None:
    """Run clips through the real pipeline on media time and score what it raised."""
    from gridwatch.app.evaluate_command import evaluate_command

    evaluate_command(folder, truth, json_out, config)


@app.command()
def simulate(
    clips: Annotated[list[Path], typer.Argument(help="H.264 clips, each served in a loop as a camera.")],
    cameras: Annotated[
        int | None, typer.Option(help="How many cameras; clips repeat. One per clip where nothing is said.")
    ] = None,
    port: Annotated[int, typer.Option(help="RTSP port; 0 takes a free one.")] = 8554,
    user: Annotated[str | None, typer.Option(help="Ask for Digest authentication with this user.")] = None,
    password: Annotated[
        str | None, typer.Option(help="Its password.", envvar="GRIDWATCH_SIMULATE_PASSWORD")
    ] = None,
    with_parent: WithParent = False,
) -> None:
    """Serve clips as looping RTSP cameras on 127.0.0.1."""
    from gridwatch.simulator.cli import SimulatorOptions, run_simulator

    run_simulator(
        SimulatorOptions(
            clips=tuple(clips),
            cameras=cameras,
            port=port,
            user=user,
            password=password,
            with_parent=with_parent,
        )
    )


@app.command("case-desk")
def case_desk(
    redis: Annotated[str, typer.Option(help="Where the case queue is: redis://, rediss:// or unix://.")],
    state: Annotated[Path, typer.Option(help="The desk's own file of cases.")] = Path("case-desk.db"),
    step_s: Annotated[float, typer.Option(min=0, help="Seconds between two steps of a case.")] = 5.0,
    with_parent: WithParent = False,
    quiet: Annotated[bool, typer.Option(help="Print nothing.")] = False,
) -> None:
    """Run the reference case system: receipts, cases for what is confirmed, answers until they are closed."""
    from gridwatch.simulator.case_desk import CaseDeskOptions, run_case_desk

    run_case_desk(
        CaseDeskOptions(redis_url=redis, state=state, step_s=step_s, with_parent=with_parent, quiet=quiet)
    )


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


def main() -> None:
    """Run the command line; wrong input ends in one clear sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
