"""`edgebuild diff A B`: what differs between two artifacts."""

from __future__ import annotations

from pathlib import Path

import click

from edgebuild.cli import options, output
from edgebuild.errors import ExitCode


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@options.config_option
@options.json_option
def command(before: str, after: str, config: Path | None, as_json: bool) -> int:
    """Show what differs between the artifacts A and B: bytes, operators, layers, and what was measured of them.

    Each is a .tflite file, a manifest, a folder that was built into, or a git ref (v1.2, HEAD~3), whose commit holds
    what the other side names, else the folder that edgebuild.toml builds into; REF:PATH is any other file or folder. Of
    folders with several targets those are compared that both have. Accuracy and latency come from manifests: two
    latencies are two measurements, taken apart.
    """
    from edgebuild.pipeline.baselines import compare  # --help should not wait for what it does not need
    from edgebuild.report import difference as report

    out = Path(options.configuration(config, {}).settings.build.out)
    differences = compare(before, after, out)
    if as_json:
        output.result(output.as_json(differences))
    else:
        output.result("\n\n".join(report.of_artifacts(difference, output.paint) for difference in differences))
    return ExitCode.OK
