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
def models_list() -> None:
    """List the networks of the catalogue."""
    from gridwatch.app.models_command import list_models

    list_models()


@models.command("verify")
def models_verify() -> None:
    """Compare every weights file with the hash in the catalogue."""
    from gridwatch.app.models_command import verify_models

    raise typer.Exit(verify_models())


def main() -> None:
    """Run the command line; wrong input ends in one clear sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
