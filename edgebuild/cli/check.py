"""`edgebuild check [DIST]`: gate again what is built already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebuild import api
from edgebuild.cli import options, output
from edgebuild.cli.outcome import exit_code
from edgebuild.report import summary

if TYPE_CHECKING:
    from edgebuild.config import Configuration
    from edgebuild.layering import Tree
    from edgebuild.pipeline.check import Checked


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("dist", type=click.Path(path_type=Path), required=False)
@options.budget_option
@options.require_baseline_option
@options.config_option
@options.report_option
@options.json_option
def command(
    dist: Path | None,
    budget: tuple[str, ...],
    require_baseline: bool,
    config: Path | None,
    reports: tuple[str, ...],
    as_json: bool,
) -> int:
    """Gate the artifacts in DIST again, from their files and manifests; nothing is run and TensorFlow is not needed.

    DIST is the folder that was built into (by default the one that edgebuild.toml names, else dist), one target's
    folder in it, or a manifest. The budgets are those recorded in the manifests, under those of edgebuild.toml and of
    --budget. What edgebuild.toml says of targets, model and data must be what was built.
    """
    given = options.given(
        budgets=dict(options.budget_table(budget)),
        bench={"baseline_required": require_baseline},
        build={"reports": options.listed(reports)},
    )
    configuration = options.configuration(config, given)
    checked = _checked(dist, config, given, configuration)
    judged = [(item.manifest, item.verdict) for item in checked if item.manifest and item.verdict]
    failed = [(item.path.parent, item.error) for item in checked if item.error is not None]
    if as_json:
        verdicts = [{"target": manifest.target, "name": manifest.name, "verdict": v} for manifest, v in judged]
        errors = [{"target": folder.name, "error": output.as_document(error)} for folder, error in failed]
        output.result(output.as_json([*verdicts, *errors]))
    else:
        for manifest, verdict in judged:
            output.result(summary.of_check(manifest, verdict, output.paint))
    output.errors([(folder.name, error) for folder, error in failed], titled=False)
    if not as_json:
        given_verdicts = [verdict for _, verdict in judged]
        folders = [str(folder) for folder, _ in failed]
        output.result(summary.closing(given_verdicts, folders, output.paint, "no verdict on"))
    return exit_code([verdict.status for _, verdict in judged], [error.exit_code for _, error in failed])


def _checked(dist: Path | None, config: Path | None, given: Tree, configuration: Configuration) -> list[Checked]:
    """Of all [[build]] tables, of the one that left a folder, or of what is at a place."""
    builds = options.builds(config, given)
    inside = [
        build
        for build in builds
        if dist is None or Path(build.configuration.settings.build.out).absolute().is_relative_to(dist.absolute())
    ]
    if inside:
        from edgebuild import many

        return many.check(inside)
    around = [
        build
        for build in builds
        if dist is not None and dist.absolute().is_relative_to(Path(build.configuration.settings.build.out).absolute())
    ]
    return api.check(dist, around[0].configuration if around else configuration)
