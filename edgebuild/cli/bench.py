"""`edgebuild bench PATH`: measure artifacts at places, and hold them against a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgebuild.cli import options, output
from edgebuild.cli.outcome import exit_code


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", type=click.Path(path_type=Path))
@options.on_option
@options.against_option
@options.require_baseline_option
@options.budget_option
@click.option("--operators", is_flag=True, help="Also where the time goes, operator by operator.")
@click.option("--time", metavar="TIME", help="At most for each artifact and place, e.g. 30s.  [default: 10 s]")
@click.option("--threads", type=int, help="Of the interpreter.  [default: 1]")
@click.option("--kernels", type=click.Choice(["xnnpack", "builtin", "reference"]), help="Instead of the target's own.")
@options.set_option
@options.config_option
@options.json_option
@options.verbose_option
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def command(
    path: Path,
    on: tuple[str, ...],
    against: str | None,
    budget: tuple[str, ...],
    config: Path | None,
    as_json: bool,
    **more: Any,
) -> int:
    """Measure the artifacts at PATH: a .tflite file, a manifest, or a folder that was built into.

    Each is looked through first and then run in fresh processes with the limits of [limits]; [bench] says how. A file
    that is not what the manifest beside it describes is not run. All budgets gate as in a build: costs are measured, at
    the places of --on and of the budgets, and what the build found out stands in its manifest. With --against both
    artifacts run in turn, and "+5 % of baseline" is a limit; that is assumed where none is given.
    """
    from edgebuild import api  # --help should not wait for what it does not need
    from edgebuild.cli import progress
    from edgebuild.core.target import Kernels
    from edgebuild.report import bench as report, summary

    tree = options.merged(
        options.given(
            bench={
                "on": list(on) or None,
                "baseline": against,
                "baseline_required": more["require_baseline"],
                "time": more["time"],
                "threads": more["threads"],
            },
            budgets=dict(options.budget_table(budget)),
        ),
        *map(options.setting, more["settings"]),
    )
    found = api.bench(
        path,
        options.configuration(config, tree),
        kernels=Kernels(more["kernels"]) if more["kernels"] else None,
        operators=more["operators"],
        listener=progress.listener(quiet=more["quiet"]),
    )
    verdicts = [item.verdict for item in found]
    if as_json:
        output.result(output.as_json(found))
    else:
        shown = (report.of_artifact(item, output.paint, verbose=more["verbose"]) for item in found)
        output.result("\n\n".join(shown))
        if any(verdict.checks or verdict.requirements for verdict in verdicts):
            output.result("\n" + summary.closing(verdicts, [], output.paint, ""))
    return exit_code([verdict.status for verdict in verdicts], [])
