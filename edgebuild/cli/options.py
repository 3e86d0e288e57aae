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

config_option = click.option(
    "--config", "-c", type=click.Path(path_type=Path), help="The configuration  [default: ./edgebuild.toml if there]"
)
budget_option = click.option(
    "--budget",
    "-b",
    multiple=True,
    metavar="NAME=LIMIT",
    help="A limit, e.g. size=60KB, accuracy_drop=1%, latency=5ms,level=warn; NAME=off drops one. Repeatable.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")


def configuration(file: Path | None, options: Tree) -> Configuration:
    """The merged settings; raises UsageError."""
    from edgebuild import config  # here and below: --help should not wait for what it does not need

    return config.load(options, os.environ, file=file)


def budget_table(texts: Sequence[str]) -> Tree:
    """The [budgets] table that repeated --budget options stand for; raises UsageError."""
    from edgebuild import budgets, config
    from edgebuild.layering import Layer, overlay

    return overlay(Layer(config.OPTIONS, budgets.from_option(text)) for text in texts).values


def given(**tables: dict[str, object]) -> Tree:
    """Settings without the options that were not given (None, False or empty)."""
    kept = {
        name: {key: value for key, value in table.items() if value is not False and value not in (None, "", ())}
        for name, table in tables.items()
    }
    return {name: table for name, table in kept.items() if table}
