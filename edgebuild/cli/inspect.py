"""`edgebuild inspect FILE`: all that a .tflite file says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgebuild.cli import options, output
from edgebuild.errors import ExitCode, StepError

if TYPE_CHECKING:
    from edgebuild.core.inspection import Inspection


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="A file with doubts or warnings is an error.")
@options.json_option
def command(file: Path, strict: bool, as_json: bool) -> int:
    """Show what a .tflite FILE holds: operators, shapes, types, versions, MACs, bytes and the memory they take.

    Nothing is run, and TensorFlow is not needed. A damaged file is an error; one that can be read, but in which
    something does not fit together, is shown with its doubts: a runtime may refuse it. Warnings name what kernels of
    one family refuse.
    """
    from edgebuild.flatbuffer.requantization import REMEDY  # --help should not wait for what it does not need
    from edgebuild.report import inspection as report

    inspection = _inspected(file.read_bytes(), file.name)
    text = report.of_file(inspection, file.name, output.paint, REMEDY)
    output.result(output.as_json(inspection) if as_json else text)
    if strict and inspection.doubts:
        raise StepError(f"{file.name} is doubtful", "\n".join(inspection.doubts), "Build or download it again.")
    if strict and inspection.warnings:
        raise StepError(f"not every runtime runs {file.name}", "\n".join(inspection.warnings), REMEDY)
    return ExitCode.OK


def _inspected(data: bytes, name: str) -> Inspection:
    """A file with what it tells mobile SDKs; raises StepError for a damaged one."""
    import msgspec

    from edgebuild.emit.metadata import reading
    from edgebuild.flatbuffer.inspecting import inspect

    inspection = inspect(data, name)
    try:
        return msgspec.structs.replace(inspection, described=reading.read(data, name))
    except StepError as error:
        return msgspec.structs.replace(inspection, doubts=(*inspection.doubts, f"{error.what}: {error.why}"))
