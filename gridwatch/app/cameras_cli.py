# SPDX-License-Identifier: AGPL-3.0-or-later
"""The command line of `gridwatch cameras`; what the commands do is in `cameras_command`."""

from pathlib import Path
from typing import Annotated

import typer

cameras = typer.Typer(
    help="The register of cameras: import, export, check, list; and to resume one that was set aside.",
    no_args_is_help=True,
)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration of this machine.")]
CONFIG = Path("gridwatch.yaml")


@cameras.command("import")
def cameras_import(
    file: Annotated[Path, typer.Argument(help="A .csv (Chinese or English headings), .yaml or .yml file.")],
    config: ConfigOption = CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Remove every camera that is not in the file, if all its lines are taken."
        ),
    ] = False,
) -> None:
    """Take cameras into the register; say line by line what was not taken and why. Exit 1 where some were not."""
    from gridwatch.app.cameras_command import import_cameras

    raise typer.Exit(import_cameras(config, file, dry_run=dry_run, replace=replace))


@cameras.command("export")
def cameras_export(
    file: Annotated[
        Path | None, typer.Argument(help="A .yaml or .csv file; standard output (YAML) where none is named.")
    ] = None,
    config: ConfigOption = CONFIG,
) -> None:
    """Write the register to a file that `import` reads; secrets stay named, not written."""
    from gridwatch.app.cameras_command import export_cameras

    export_cameras(config, file)


@cameras.command("check")
def cameras_check(
    file: Annotated[
        Path | None, typer.Argument(help="A file that is to be imported; the register where none is named.")
    ] = None,
    config: ConfigOption = CONFIG,
) -> None:
    """Say what is wrong with a file of cameras, or with the register. Exit 1 where something is."""
    from gridwatch.app.cameras_command import check_cameras

    raise typer.Exit(check_cameras(config, file))


@cameras.command("list")
def cameras_list(config: ConfigOption = CONFIG) -> None:
    """List the cameras: id, name, place, what is looked for, how each is reached, whether it is watched."""
    from gridwatch.app.cameras_command import list_cameras

    list_cameras(config)


@cameras.command("resume")
def cameras_resume(
    camera_id: Annotated[str, typer.Argument(help="A camera that was set aside.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Let a camera that crashed the decoder twice be watched again."""
    from gridwatch.app.cameras_command import resume_camera

    resume_camera(config, camera_id)
