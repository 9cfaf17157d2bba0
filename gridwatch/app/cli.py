# SPDX-License-Identifier: AGPL-3.0-or-later
"""The `gridwatch` command. Exit codes: 0 done, 1 the check failed, 2 wrong input (one clear sentence)."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from events.roles import Role
from gridwatch.app.cameras_cli import cameras as cameras_register
from gridwatch.app.case_desk_command import desk
from gridwatch.app.models_cli import models
from gridwatch.core.errors import InputError

app = typer.Typer(
    name="gridwatch",
    help="Cameras to incidents in a city's grids. It says 疑似 (suspected), and is no certified fire alarm.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(models, name="models")
app.add_typer(cameras_register, name="cameras")
letters = typer.Typer(
    help="Messages that no queue took: which, why, and to tell their incidents again.", no_args_is_help=True
)
app.add_typer(letters, name="dead-letters")
case_queue = typer.Typer(
    help="How the case queue stands to this journal, and what to do where they disagree.",
    no_args_is_help=True,
)
app.add_typer(case_queue, name="queue")
app.add_typer(desk, name="case-desk")
tokens = typer.Typer(
    help="Who may call: programs and seats, each by a token that is shown once.", no_args_is_help=True
)
app.add_typer(tokens, name="tokens")

audit = typer.Typer(help="Whether the journal is what was recorded.", no_args_is_help=True)
app.add_typer(audit, name="audit")
journal = typer.Typer(help="The one ordered record of every change.", no_args_is_help=True)
app.add_typer(journal, name="journal")

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
    from gridwatch.app.check import advice, check_all

    cameras, zones, grids = check_all(config)
    for remark in advice(config):
        typer.echo(f"{config}: {remark}")
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
def probe(
    target: Annotated[str, typer.Argument(help="An rtsp:// URL (quote it), or the id of a camera of -c.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Where that camera is configured.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object in place of lines.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Write a picture here (JPEG).")] = None,
    seconds: Annotated[
        float,
        typer.Option(
            help="How long each stream is read; the main one up to 25 s, until two key frames came."
        ),
    ] = 10.0,
) -> None:
    """Look at one camera's stream: codec, size, key frames, bit rate, clock, a picture, and what to configure."""
    from gridwatch.app.probe_command import probe_command

    probe_command(target, config, as_json=as_json, picture=picture, seconds=seconds)


@app.command()
def simulate(  # noqa: PLR0913, PLR0917  one option each
    clips: Annotated[
        list[Path], typer.Argument(help="H.264 or H.265 clips, each served in a loop as a camera.")
    ],
    cameras: Annotated[
        int | None, typer.Option(help="How many cameras; clips repeat. One per clip where nothing is said.")
    ] = None,
    port: Annotated[int, typer.Option(help="RTSP port; 0 takes a free one.")] = 8554,
    control_port: Annotated[
        int, typer.Option(help="Port for faults at run time and the timeline; 0 takes a free one.")
    ] = 0,
    user: Annotated[str | None, typer.Option(help="Ask for a password, with this user.")] = None,
    password: Annotated[
        str | None, typer.Option(help="Its password.", envvar="GRIDWATCH_SIMULATE_PASSWORD")
    ] = None,
    auth: Annotated[str, typer.Option(help="How it is asked for: digest, basic or both.")] = "digest",
    fault: Annotated[
        list[str] | None,
        typer.Option(help="NAME[:key=value,...][@PATH], such as freeze@gate-1; may be given again."),
    ] = None,
    sub: Annotated[bool, typer.Option(help="Give each camera a smaller second stream at PATH/sub.")] = False,
    own_ports: Annotated[
        bool, typer.Option(help="Give each camera a port of its own, which the fault `refuse` closes.")
    ] = False,
    with_parent: WithParent = False,
) -> None:
    """Serve clips as looping RTSP cameras on 127.0.0.1, with faults on demand (docs/simulator.md)."""
    from gridwatch.simulator.cli import SimulatorOptions, run_simulator

    run_simulator(
        SimulatorOptions(
            clips=tuple(clips),
            cameras=cameras,
            port=port,
            control_port=control_port,
            user=user,
            password=password,
            auth=auth,
            faults=tuple(fault or ()),
            sub=sub,
            own_ports=own_ports,
            with_parent=with_parent,
        )
    )


@app.command()
def backup(
    to: Annotated[
        Path,
        typer.Option(help="A new folder, or a new file whose name ends in .tar (one file with everything)."),
    ],
    config: ConfigOption = Path("gridwatch.yaml"),
) -> None:
    """Back up store and evidence, while gridwatch runs or not. Not the queue, and not the configuration."""
    from gridwatch.app.backup_command import backup_command

    backup_command(config, to)


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="What `gridwatch backup` wrote.")],
    config: ConfigOption = Path("gridwatch.yaml"),
    without_queue: Annotated[
        bool,
        typer.Option("--without-queue", help="Do not ask the queue what was told since; see docs/backup.md."),
    ] = False,
    follow: Annotated[
        list[str] | None,
        typer.Option(help="An epoch in the stream whose store is gone for good; may be given again."),
    ] = None,
) -> None:
    """Restore a backup into an empty store, and go on above all that the stream shows. gridwatch must not run."""
    from gridwatch.app.backup_command import restore_command

    restore_command(config, backup, without_queue=without_queue, follow=tuple(follow or ()))


@tokens.command("add")
def tokens_add(
    name: Annotated[
        str,
        typer.Argument(help="Of a seat its staff code, of a program what it is; decisions bear this name."),
    ],
    role: Annotated[
        Role,
        typer.Option(
            help="viewer looks; operator also decides; integrator reads case messages and answers them."
        ),
    ],
    config: ConfigOption = Path("gridwatch.yaml"),
    days: Annotated[float, typer.Option(min=0.001, max=3650, help="For how long it is valid.")] = 365,
) -> None:
    """Make a token and print it once. From the first one on, every call needs one."""
    from gridwatch.app.tokens_command import add_token

    add_token(config, name, role, days)


@tokens.command("list")
def tokens_list(config: ConfigOption = Path("gridwatch.yaml")) -> None:
    """List the tokens: id, name, role, state, until when, and when each was used last."""
    from gridwatch.app.tokens_command import list_tokens

    list_tokens(config)


@tokens.command("revoke")
def tokens_revoke(
    which: Annotated[str, typer.Argument(help="A token's id or name.")],
    config: ConfigOption = Path("gridwatch.yaml"),
) -> None:
    """End a token: who brings it is refused within a second."""
    from gridwatch.app.tokens_command import revoke_token

    revoke_token(config, which)


@letters.command("list")
def letters_list(
    config: ConfigOption = Path("gridwatch.yaml"),
    replayed: Annotated[bool, typer.Option("--replayed", help="Also those that were replayed.")] = False,
) -> None:
    """List the messages that were given up: row, message, when, why."""
    from gridwatch.app.letters_command import list_letters

    list_letters(config, replayed=replayed)


@letters.command("replay")
def letters_replay(
    row: Annotated[
        int | None, typer.Argument(help="A row of the list; all that lie there otherwise.")
    ] = None,
    config: ConfigOption = Path("gridwatch.yaml"),
) -> None:
    """Tell an incident again, as a fresh revision in its turn; the old bytes are never sent."""
    from gridwatch.app.letters_command import replay_letters

    raise typer.Exit(replay_letters(config, row))


@case_queue.command("show")
def queue_show(config: ConfigOption = Path("gridwatch.yaml")) -> None:
    """Show the queue's marks beside this journal; exit 1 where they contradict each other."""
    from gridwatch.app.queue_command import show_queue

    raise typer.Exit(show_queue(config))


@case_queue.command("adopt")
def queue_adopt(
    send: Annotated[
        str,
        typer.Option(
            help="all: every message of this journal; new: none that is recorded already; ROW: what follows that row."
        ),
    ],
    config: ConfigOption = Path("gridwatch.yaml"),
    source: Annotated[
        str | None,
        typer.Option(help="Whose mark: a source of before a renaming. Left out, the configured one."),
    ] = None,
) -> None:
    """Decide a conflict: the queue's mark becomes this store's own, and sending goes on from the row that you say."""
    from gridwatch.app.queue_command import adopt_queue

    adopt_queue(config, send, source)


@audit.command("verify")
def audit_verify(
    config: ConfigOption = Path("gridwatch.yaml"),
    copy: Annotated[
        Path | None,
        typer.Option(
            help="The case system's copy of the messages: JSON lines with source, id, journalepoch, journalseq, journalhash."
        ),
    ] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Take what the stream holds as the copy.")] = False,
) -> None:
    """Name the first row that was changed, removed or inserted; against a copy, a chain that was rewritten as a whole."""
    from gridwatch.app.audit_command import verify_command

    raise typer.Exit(verify_command(config, copy, queue=queue))


@journal.command("export")
def journal_export(
    config: ConfigOption = Path("gridwatch.yaml"),
    after: Annotated[int, typer.Option(min=0, help="Only the rows after this one.")] = 0,
) -> None:
    """Print every row as a JSON line: seq, incident_id, revision, and message_id, null where no message is due."""
    from gridwatch.app.journal_command import export_command

    export_command(config, after)


def main() -> None:
    """Run the command line; wrong input ends in one clear sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
