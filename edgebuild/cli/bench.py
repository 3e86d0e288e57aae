"""`edgebuild bench PLACE`: time artifacts on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edgebuild.cli import options, output
from edgebuild.errors import ExitCode


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--kernels", type=click.Choice(["xnnpack", "builtin", "reference"]), help="Instead of the target's own.")
@options.set_option
@options.config_option
@options.json_option
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def command(
    place: Path, kernels: str | None, settings: tuple[str, ...], config: Path | None, as_json: bool, quiet: bool
) -> int:
    """Time the artifacts at PLACE on this machine: a .tflite file, a manifest, or a folder that was built into.

    Each is looked through first and then run in a process of its own, with the limits of [limits]; [bench] says how
    often. A file that is not what the manifest beside it describes is not run.
    """
    from edgebuild import api  # --help should not wait for what it does not need
    from edgebuild.cli import progress
    from edgebuild.core.target import Kernels
    from edgebuild.report import bench as report

    tree = options.merged(*map(options.setting, settings))
    listener = progress.listener(quiet=quiet)
    found = api.bench(place, options.configuration(config, tree), Kernels(kernels) if kernels else None, listener)
    if as_json:
        output.result(
            output.as_json([{"artifact": str(item.path), "measurements": item.measurements} for item in found])
        )
    else:
        output.result("\n\n".join(report.of_artifact(str(item.path), item.measurements) for item in found))
    return ExitCode.OK
