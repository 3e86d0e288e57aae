"""The calibrations that were made on this machine: a JSON file each, and the estimates that follow from them.

They lie in the folder `calibrations` of the user's data; EDGEBUILD_CALIBRATIONS names another one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import platformdirs

from edgebuild import documents
from edgebuild.calibration import Estimate, Workload, estimate, family_of
from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.calibration import Calibration
from edgebuild.core.inspection import Inspection
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.documents import DocumentError
from edgebuild.flatbuffer.inspecting import inspect

VARIABLE = "EDGEBUILD_CALIBRATIONS"
LITERT = "ai-edge-litert"
_SUFFIX = ".json"
_RESOLUTION_DIGITS = 9


class Estimates(NamedTuple):
    """Latencies that were not measured, and why there are not more."""

    measurements: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()


def folder() -> Path:
    """Where calibrations are kept."""
    named = os.environ.get(VARIABLE)
    return (
        Path(named).absolute()
        if named
        else Path(platformdirs.user_data_dir("edgebuild", appauthor=False)) / "calibrations"
    )


def write(calibration: Calibration) -> Path:
    """Keep a calibration in place of an earlier one of its name, and tell where.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder() / f"{calibration.name}{_SUFFIX}"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = documents.as_json(calibration)
    # Whoever reads at the same time sees the earlier one or this.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(text + b"\n")
    Path(file.name).replace(path)
    return path


def read() -> tuple[list[Calibration], list[str]]:
    """All calibrations by name, and what could not be read, in a sentence each."""
    found: list[Calibration] = []
    damaged: list[str] = []
    for path in sorted(folder().glob(f"*{_SUFFIX}")):
        try:
            found.append(documents.json(documents.read(path), Calibration))
        except (OSError, DocumentError) as error:
            damaged.append(f"the calibration {path} cannot be read: {error}")
    return found, damaged


def estimates(artifact: Path, measurements: Iterable[Measurement]) -> Estimates:
    """The latencies that calibrations give for the instructions of an artifact, one for each emulated core.

    Of several calibrations that hold for it the one with the narrowest interval is taken.
    """
    counted = [figure for figure in measurements if figure.subject == Subject.INSTRUCTIONS]
    if not counted:
        return Estimates()
    inspection = inspect(artifact.read_bytes(), artifact.name)
    known, notes = read()
    made = []
    for figure in counted:
        found = list(_estimated(inspection, figure, known, notes))
        if found:
            made.append(min(found, key=_width))
    return Estimates(tuple(made), tuple(notes))


def _estimated(
    inspection: Inspection, figure: Measurement, known: list[Calibration], notes: list[str]
) -> Iterator[Measurement]:
    core = place.parse(figure.where).name
    workload = Workload(family_of(inspection), core, figure.kernels, figure.versions.get(LITERT, ""))
    for calibration in known:
        if calibration.core != core:
            continue
        found = estimate(calibration, workload, figure.value)
        if isinstance(found, str):
            notes.append(f"no time is estimated for {figure.where} from {calibration.name}: {found}")
        else:
            yield _measurement(figure, calibration, found)


def _measurement(figure: Measurement, calibration: Calibration, found: Estimate) -> Measurement:
    low_s, high_s = (round(end_s, _RESOLUTION_DIGITS) for end_s in found.interval_s)
    value_s = round(found.time_s, _RESOLUTION_DIGITS)
    return Measurement(
        subject=Subject.LATENCY,
        value=value_s,
        unit=Subject.LATENCY.unit,
        mode=Mode.ESTIMATED,
        where=figure.where,
        machine=f"calibrated on {calibration.place} ({calibration.machine}) with {len(calibration.points)} networks",
        kernels=figure.kernels,
        statistics={"median": value_s},
        intervals={"median": (low_s, high_s)},
        settings={"threads": 1},
        versions=figure.versions,
    )


def _width(measurement: Measurement) -> float:
    low, high = measurement.intervals["median"]
    return high - low
