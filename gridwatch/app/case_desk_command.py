# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch case-desk`: runs the reference case system, gives it orders, lists its cases. Only the command line is here."""

from pathlib import Path
from typing import Annotated

import typer

desk = typer.Typer(
    help="The reference case system: receipts, cases for what is confirmed, answers until they are closed.",
    invoke_without_command=True,
)

State = Annotated[Path, typer.Option(help="The desk's own file of cases.")]
DEFAULT_STATE = Path("case-desk.db")


@desk.callback()
def run(  # noqa: PLR0913, PLR0917  each option of the command is an argument
    context: typer.Context,
    redis: Annotated[
        str,
        typer.Option(
            help="Where the case queue is: redis://, rediss:// or unix://.",
            envvar="GRIDWATCH_CASE_DESK_REDIS",
        ),
    ] = "",
    door: Annotated[str, typer.Option(help="Instead: gridwatch's API, as in https://192.0.2.5:8000.")] = "",
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the door's token (role integrator).")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates to trust at the door.")] = None,
    state: State = DEFAULT_STATE,
    script: Annotated[
        Path | None, typer.Option(help="Which incidents go another way (docs/integrate/case-desk.md).")
    ] = None,
    step_s: Annotated[float, typer.Option(min=0, help="Seconds between two steps of a case.")] = 5.0,
    source: Annotated[str, typer.Option(help="The name that the answers carry.")] = "urn:case-desk:demo",
    accept_exercise: Annotated[
        bool, typer.Option("--accept-exercise", help="Open cases for exercises and tests too.")
    ] = False,
    with_parent: Annotated[bool, typer.Option(help="End when standard input ends.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print nothing.")] = False,
) -> None:
    """Run the desk, until stopped; `say` and `list` speak to one that runs."""
    if context.invoked_subcommand is not None:
        return
    from gridwatch.simulator.case_desk import CaseDeskOptions, run_case_desk  # noqa: PLC0415  only what is needed

    run_case_desk(
        CaseDeskOptions(
            redis_url=redis,
            door_url=door,
            token_file=token_file,
            ca_file=ca_file,
            state=state,
            script=script,
            step_s=step_s,
            source=source,
            accept_exercise=accept_exercise,
            with_parent=with_parent,
            quiet=quiet,
        )
    )


@desk.command("say")
def say(  # noqa: PLR0913, PLR0917  each option of the command is an argument
    which: Annotated[str, typer.Argument(help="An incident, a case, or `last`.")],
    word: Annotated[str, typer.Argument(help="accepted, returned, rework, merged, confirmed …")],
    state: State = DEFAULT_STATE,
    unit: Annotated[str | None, typer.Option(help="A unit's name or code; the case's own otherwise.")] = None,
    role: Annotated[
        str | None, typer.Option(help="lead or assist, of a unit that is new to the case.")
    ] = None,
    case: Annotated[str | None, typer.Option(help="Of merged: the case that the incident goes into.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    note: Annotated[str | None, typer.Option(help="Free words.")] = None,
    by: Annotated[str | None, typer.Option(help="Of a decision: a pseudonymous staff code.")] = None,
    hold_s: Annotated[float, typer.Option(min=0, help="Send it so much later than it was said.")] = 0.0,
    twice: Annotated[bool, typer.Option("--twice", help="Send it twice.")] = False,
    same_revision: Annotated[
        bool, typer.Option("--same-revision", help="Give it the number of the answer before it.")
    ] = False,
) -> None:
    """Let a desk at work say something about a case, now."""
    from gridwatch.simulator.case_desk import Step, give_order  # noqa: PLC0415  only what is needed

    step = Step(
        say=word,
        unit=unit,
        role=role,
        case=case,
        reason=reason,
        note=note,
        by=by,
        hold_s=hold_s,
        twice=twice,
        same_revision=same_revision,
    )
    typer.echo(f"{give_order(state, which, step)}: {word}")


@desk.command("list")
def show(state: State = DEFAULT_STATE) -> None:
    """List a desk's newest cases."""
    from gridwatch.simulator.case_desk import list_cases  # noqa: PLC0415  only what is needed

    for line in list_cases(state):
        typer.echo(str(line))
