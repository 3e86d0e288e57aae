"""Options that several verbs share, and options turned into settings shaped like edgebuild.toml."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgebuild.config import Configuration
    from edgebuild.layering import Tree
    from edgebuild.many import Build

config_option = click.option(
    "--config", "-c", type=click.Path(path_type=Path), help="The configuration  [default: ./edgebuild.toml if there]"
)
budget_option = click.option(
    "--budget",
    "-b",
    multiple=True,
    metavar="NAME=LIMIT",
    help="A limit, e.g. size=60KB, accuracy_drop=1%, latency=5ms,level=warn, or latency=+5% of the baseline; NAME=off "
    "drops one. Repeatable.",
)
set_option = click.option(
    "--set",
    "-s",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting of edgebuild.toml, e.g. passes.channels.keep=50%, train.epochs=20. Repeatable.",
)
on_option = click.option(
    "--on",
    multiple=True,
    metavar="PLACE",
    help="Where to measure: host, host:xnnpack=off, tflm, ssh:user@host, adb[:serial], arm64:cortex-a72. Repeatable.",
)
against_option = click.option(
    "--against",
    metavar="OLD",
    help="The baseline: a manifest, a .tflite file, a folder that was built into, or a git ref.",
)
require_baseline_option = click.option(
    "--require-baseline", is_flag=True, help="A baseline that cannot be used is exit code 5, not a warning."
)
verbose_option = click.option(
    "--verbose", "-v", is_flag=True, help="Also this host's times where they are not the target's."
)
report_option = click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FORMAT",
    help="Write reports/ beside the manifest: text, card, json, or a plug-in's, comma-separated. Repeatable.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")


def configuration(file: Path | None, options: Tree) -> Configuration:
    """The merged settings; raises UsageError."""
    from edgebuild import config  # here and below: --help should not wait for what it does not need

    return config.load(options, os.environ, file=file)


def builds(file: Path | None, options: Tree) -> list[Build]:
    """The builds of [[build]] tables; none where there are no such tables; raises UsageError."""
    from edgebuild import config

    if not config.tables(file):
        return []
    from edgebuild import many

    return many.load(options, os.environ, file=file)


def listed(texts: Sequence[str]) -> list[str] | None:
    """The names of an option that takes several, comma-separated and repeated; None where it was not given."""
    return list(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip())) or None


def budget_table(texts: Sequence[str]) -> Tree:
    """The [budgets] table that repeated --budget options stand for; raises UsageError."""
    from edgebuild.gating import budgets

    return budgets.from_options(texts)


def setting(text: str) -> Tree:
    """The tables that one --set KEY=VALUE stands for: a value of TOML, or text as it is; raises UsageError."""
    from edgebuild import documents
    from edgebuild.errors import UsageError

    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set {text} says nothing", remedy="Write it as KEY=VALUE: --set train.epochs=20.")
    try:
        read: object = documents.toml_of(f"value = {value}")["value"]
    except documents.DocumentError:
        read = value.strip()
    for key in reversed(keys):
        read = {key: read}
    return read  # type: ignore[return-value] # keys holds at least one


def merged(*trees: Tree) -> Tree:
    """Settings laid over each other, later over earlier."""
    from edgebuild.config import OPTIONS
    from edgebuild.layering import Layer, overlay

    return overlay(Layer(OPTIONS, tree) for tree in trees).values


def given(**tables: dict[str, object]) -> Tree:
    """Settings without the options that were not given (None, False or empty)."""
    kept = {
        name: {key: value for key, value in table.items() if value is not False and value not in (None, "", ())}
        for name, table in tables.items()
    }
    return {name: table for name, table in kept.items() if table}
