"""`edgebuild calibrate`: what an emulated instruction takes on a real device."""

from __future__ import annotations

from pathlib import Path

import click

from edgebuild.cli import options, output
from edgebuild.errors import ExitCode, UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", metavar="ARTIFACT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--on", required=True, metavar="PLACE", help="The device: ssh:user@host, or adb[:serial].")
@click.option("--core", required=True, metavar="CORE", help="The emulated core that is like the device's: cortex-a72.")
@click.option("--name", default="", metavar="NAME", help="Of the calibration.  [default: of core and types]")
@options.set_option
@options.config_option
@options.json_option
@click.option("--quiet", is_flag=True, help="No progress, only the result.")
def command(
    paths: tuple[Path, ...],
    on: str,
    core: str,
    name: str,
    settings: tuple[str, ...],
    config: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Count the instructions of each ARTIFACT in emulation, time it on a device, and keep the line between them.

    From then on `edgebuild bench --on arm64:CORE` estimates times for networks like these: of the same types and
    operators, with the same LiteRT, not much larger or smaller. Take at least four of one architecture that differ in
    size. An estimate says so and has an interval; no budget for a device is ever kept by one.
    """
    from edgebuild import api, calibration  # --help should not wait for what it does not need
    from edgebuild.cli import progress
    from edgebuild.report import calibration as report

    tree = options.merged(*map(options.setting, settings))
    if tree.get("budgets"):
        raise UsageError(
            "calibrate judges no budgets", remedy="Leave --set budgets... out; edgebuild bench judges them."
        )
    configuration = options.configuration(config, tree)
    made, path = api.calibrate(
        paths, on=on, core=core, name=name, configuration=configuration, listener=progress.listener(quiet=quiet)
    )
    if as_json:
        output.result(output.as_json(made))
        return ExitCode.OK
    line = calibration.fit(made.points)
    errors = calibration.left_out(made.points)
    output.result(report.of_calibration(made, line.intercept_s, line.slope_s, line.spread, errors))
    output.say(f"kept in {path}")
    return ExitCode.OK
