"""`edgebuild history NAME`: how an artifact's figures moved from commit to commit."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgebuild.cli import options, output

_ALL = "all"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option("--target", "-t", default="", metavar="NAME", help="Only of this target.")
@click.option("--on", default="", metavar="PLACE", help="Only what was measured there, beside the size.")
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many rows.")
@click.option("--project", default="", metavar="FOLDER", help='Of another project, or "all".  [default: of this one]')
@options.json_option
def command(name: str, target: str, on: str, last: int, project: str, as_json: bool) -> None:
    """Show how size, accuracy, instructions and latency of the artifact NAME moved, by commit, the newest last.

    Every build and every measurement on this machine is kept, in a SQLite file in the user's data folder;
    EDGEBUILD_HISTORY names another, or "off" for none. Artifacts of one name in two projects (repositories, or folders
    outside of any) are two. Figures of different places, machines, kernels or evaluation
    data are never put in one column. --json prints the last records as they are kept.
    """
    from edgebuild import history, repository  # --help should not wait for what it does not need
    from edgebuild.report import history as report

    of = "" if project == _ALL else repository.project(Path(project or "."))
    records = history.read(name, target, of)
    place = _place(on, {figure.where for record in records for figure in record.figures}) if on else ""
    if as_json:
        output.result(output.as_json(records[-last:]))
    else:
        output.result(report.trend(records, last=last, on=place, paint=output.paint, ascii_only=not _shows_blocks()))


def _place(text: str, known: set[str]) -> str:
    """The label of a place that something was measured at; raises UsageError."""
    from edgebuild.core import place
    from edgebuild.errors import UsageError

    label = text.strip()
    if label not in known:
        try:
            label = place.parse(text).label
        except ValueError as error:
            raise UsageError(f"--on {text} names no place", str(error)) from None
    if label not in known:
        there = ", ".join(sorted(known - {"file"})) or "none"
        raise UsageError(f"nothing is recorded on {label}", f"The places there are: {there}.")
    return label


def _shows_blocks() -> bool:
    """Whether standard output can take the block characters of a sparkline."""
    try:
        "▁█".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
