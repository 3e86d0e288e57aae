"""`edgebuild targets [NAME]`: the profiles there are, or all of one with where each value comes from."""

from __future__ import annotations

import click

from edgebuild import config, plugins, targets
from edgebuild.cli import options, output
from edgebuild.report import plans as report


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@options.json_option
def command(name: str | None, as_json: bool) -> None:
    """List the target profiles, or show all of the profile NAME (or TOML file) with where each value comes from."""
    metric = plugins.metric(config.load({}, {}, use_file=False).settings.metric)
    if name is not None:
        resolved = targets.load(name, metric)
        output.result(output.as_json(resolved.target) if as_json else report.of_profile(resolved))
        return
    found = [targets.load(each, metric).target for each in targets.names()]
    output.result(output.as_json(found) if as_json else report.of_profiles(found))
