"""`edgebuild build-all [MODEL]... --target NAME`: several networks in one go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgebuild.cli import build as single, output
from edgebuild.cli.outcome import exit_code
from edgebuild.errors import ExitCode

if TYPE_CHECKING:
    from edgebuild.many import Build, Made

_OWN = ("model", "version", "name")
_SHARED = [option for option in single.command.params if option.name not in _OWN]


def command_body(
    models: tuple[str, ...],
    target: tuple[str, ...],
    budget: tuple[str, ...],
    config: Path | None,
    dry_run: bool,
    explain: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **more: Any,
) -> int:
    """Turn several networks into gated .tflite files, in one go.

    MODELS are built with the options given; without any, the [[build]] tables of edgebuild.toml are. Each is left in
    OUT/NAME/TARGET/. What several share is done once, one that fails leaves the others alone, and the exit code is the
    worst of all.
    """
    from edgebuild import many  # --help should not wait for what it does not need

    tree = single.settings_of("", target, budget, {**more, "name": ""})
    builds = many.load(tree, os.environ, models=models, file=config)
    return run(builds, dry_run=dry_run, explain=explain, as_json=as_json, quiet=quiet, verbose=verbose)


command = click.Command(
    "build-all",
    params=[click.Argument(["models"], nargs=-1, metavar="[MODEL]..."), *_SHARED],
    callback=command_body,
    help=command_body.__doc__,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run(builds: Sequence[Build], *, dry_run: bool, explain: bool, as_json: bool, quiet: bool, verbose: bool) -> int:
    """Build all, or show what would be done; returns the exit code."""
    from edgebuild import api, many  # --help should not wait for what it does not need
    from edgebuild.cli import progress
    from edgebuild.report import plans as plan_report

    if explain:
        for build in builds:
            shown = plan_report.explain(build.configuration.layered, api.resolve(build.configuration))
            output.result(f"build {build.name}\n{shown}\n")
        return ExitCode.OK
    if dry_run:
        planned = [plan for build in builds for plan in api.plans(build.configuration)]
        single.show(planned, [found for plan in planned for found in api.outlooks([plan])], as_json)
        return ExitCode.OK
    return _report(many.build_many(builds, progress.listener(quiet=quiet)), as_json=as_json, verbose=verbose)


def _report(made: Sequence[Made], *, as_json: bool, verbose: bool) -> int:
    from edgebuild.report import summary

    outcomes = [(build, outcome) for build in made for outcome in build.outcomes]
    failed = [(f"{build.name} for {each.target}", each.error) for build, each in outcomes if each.error is not None]
    verdicts = [outcome.manifest.verdict for _, outcome in outcomes if outcome.manifest is not None]
    code = exit_code([verdict.status for verdict in verdicts], [error.exit_code for _, error in failed])
    if as_json:
        output.result(output.as_json({"exit_code": int(code), "builds": [_document(build) for build in made]}))
    else:
        for build, each in outcomes if verbose else ():
            if each.manifest is not None:
                shown = summary.of_build(each.manifest, str(build.out / each.target), output.paint, verbose=True)
                output.result(f"\n{build.name} for {shown}")
        lines = [summary.Line(build.name, each.target, str(build.out), each.manifest) for build, each in outcomes]
        output.result("\n" + summary.table_of_several(lines, output.paint))
        for text in summary.actions_of_several(lines):
            output.result(f"  {text}")
    output.errors(failed, titled=True)
    if not as_json:
        output.result("\n" + summary.closing(verdicts, [name for name, _ in failed], output.paint, "no artifact of"))
    return code


def _document(build: Made) -> dict[str, object]:
    manifests = [outcome.manifest for outcome in build.outcomes if outcome.manifest is not None]
    errors = [
        {"target": outcome.target, "error": output.as_document(outcome.error)}
        for outcome in build.outcomes
        if outcome.error is not None
    ]
    return {"name": build.name, "out": str(build.out), "manifests": manifests, "errors": errors}
