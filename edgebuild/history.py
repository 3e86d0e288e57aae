"""The history: every measurement of every artifact, in a local SQLite file.

The file is `history.sqlite` in the user's data folder; EDGEBUILD_HISTORY names another, or "off" for none. _SCHEMA
describes it, and SQLite's `user_version` is the version of that. Any number of builds may write at once. A history that
cannot be written is no reason for a build to fail, or to wait for more than a moment: it is said in one sentence.

The rollback journal is used and not a write-ahead log: that cannot be read where the folder is read-only, and does not
work on network file systems.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import platformdirs
from msgspec.structs import replace

from edgebuild.core.budget import Subject
from edgebuild.core.manifest import Manifest
from edgebuild.core.measurement import Measurement
from edgebuild.core.record import Commit, Record, RecordedFigure
from edgebuild.decode import closest
from edgebuild.errors import StepError, UsageError

if TYPE_CHECKING:
    import sqlite3

VARIABLE = "EDGEBUILD_HISTORY"
OFF = "off"
_FILE_NAME = "history.sqlite"
_VERSION = 2
_WAIT_S = 1.0
_SCHEMA = (
    """
    CREATE TABLE builds (
        id INTEGER PRIMARY KEY,        -- in the order they were recorded
        time TEXT NOT NULL,            -- UTC, ISO 8601
        name TEXT NOT NULL,            -- of the artifact
        target TEXT NOT NULL,          -- '' where it is not known
        project TEXT NOT NULL,         -- the folder of its repository, or the one worked in; '' in records of version 1
        sha256 TEXT NOT NULL,          -- of the file
        commit_sha TEXT NOT NULL,      -- '' outside of a repository
        dirty INTEGER,                 -- whether tracked files differed from the commit; NULL where it is not known
        edgebuild TEXT NOT NULL,       -- the version that built it; '' where it was measured by itself
        metric TEXT NOT NULL,          -- what accuracy is; '' where nothing was scored
        evaluation_sha256 TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE figures (
        build INTEGER NOT NULL REFERENCES builds (id),
        subject TEXT NOT NULL,         -- as in budgets: size, latency, instructions, ...
        value REAL NOT NULL,           -- the median where there are samples
        unit TEXT NOT NULL,            -- bytes, s, share, relative, number, count, J
        low REAL,                      -- 95 % interval of the value; NULL where it has none
        high REAL,
        mode TEXT NOT NULL,            -- measured, emulated, estimated
        place TEXT NOT NULL,           -- host, arm64:cortex-a72, ssh:user@host, ...; file where the file decides
        machine TEXT NOT NULL,
        kernels TEXT NOT NULL,
        threads INTEGER NOT NULL
    )
    """,
    "CREATE INDEX builds_by_name ON builds (name, target, id)",
    "CREATE INDEX figures_by_build ON figures (build)",
    f"PRAGMA user_version = {_VERSION}",
)
# From one version to the next.
_MIGRATIONS = {1: "ALTER TABLE builds ADD COLUMN project TEXT NOT NULL DEFAULT ''"}
_ADD_BUILD = """
    INSERT INTO builds (time, name, target, project, sha256, commit_sha, dirty, edgebuild, metric, evaluation_sha256)
    VALUES (:time, :name, :target, :project, :sha256, :commit, :dirty, :edgebuild, :metric, :evaluation_sha256)
"""
_ADD_FIGURE = """
    INSERT INTO figures (build, subject, value, unit, low, high, mode, place, machine, kernels, threads)
    VALUES (:build, :subject, :value, :unit, :low, :high, :mode, :where, :machine, :kernels, :threads)
"""


class _UnfitError(Exception):
    """A file that is no history, or a newer one."""


def path() -> Path | None:
    """The file of the history; None where there is to be none."""
    named = os.environ.get(VARIABLE)
    if named == OFF:
        return None
    return Path(named) if named else Path(platformdirs.user_data_dir("edgebuild", appauthor=False)) / _FILE_NAME


def append(manifest: Manifest, commit: Commit) -> str:
    """Record a build; one that is the same as the last of its name and target, figures too, is there already.

    Returns:
        Why it is not in the history, in a sentence; empty where it is, or where there is to be none.
    """
    data, scored = manifest.inputs.data, manifest.accuracy
    record = _record(manifest.name, manifest.target, manifest.artifact.sha256, manifest.measurements, commit)
    if data is not None and scored is not None:
        record = replace(record, metric=scored.metric, evaluation_sha256=data.evaluation_sha256)
    return _append(replace(record, edgebuild=manifest.edgebuild))


def append_figures(name: str, target: str, sha256: str, measurements: Iterable[Measurement], commit: Commit) -> str:
    """Record an artifact that was measured by itself; see `append`."""
    return _append(_record(name, target, sha256, measurements, commit))


def read(name: str, target: str = "", project: str = "") -> tuple[Record, ...]:
    """What is recorded of an artifact, the oldest first.

    Args:
        name: of the artifact.
        target: that it was built for; empty for all.
        project: that it belongs to; empty for all. Records of no project count for each.

    Raises:
        UsageError: nothing is recorded of it.
        StepError: the history cannot be read.
    """
    import sqlite3

    file = path()
    if file is None or not file.exists():
        why = f"{VARIABLE} is off." if file is None else f"There is no {file}."
        raise UsageError("there is no history yet", why, "Builds and measurements are recorded from now on.")
    try:
        with _opened(file, write=False) as database:
            rows = database.execute("SELECT * FROM builds ORDER BY id").fetchall()
            found = [_loaded(database, row) for row in rows if row["name"] == name]
            _require_known({row["name"] for row in rows}, found, name, target, project)
            return tuple(record for record in found if _is_of(record, target, project))
    except (sqlite3.Error, _UnfitError, msgspec.ValidationError, UnicodeError, OSError) as error:
        raise StepError(f"the history at {file} cannot be read", str(error), "Move it away to begin anew.") from None


def _record(name: str, target: str, sha256: str, measurements: Iterable[Measurement], commit: Commit) -> Record:
    return Record(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        name=name,
        target=target,
        sha256=sha256,
        project=commit.project,
        commit=commit.sha,
        dirty=commit.dirty,
        figures=tuple(_figures(measurements)),
    )


def _figures(measurements: Iterable[Measurement]) -> Iterator[RecordedFigure]:
    """Figures that are numbers; a score that is given in two units is recorded in the first."""
    scored: set[tuple[str, str]] = set()
    for measurement in measurements:
        where = (measurement.where, measurement.kernels)
        if not math.isfinite(measurement.value) or (measurement.subject == Subject.ACCURACY and where in scored):
            continue
        if measurement.subject == Subject.ACCURACY:
            scored.add(where)
        yield RecordedFigure(
            subject=measurement.subject,
            value=float(measurement.value),
            unit=measurement.unit,
            interval=measurement.intervals.get("median"),
            mode=measurement.mode,
            where=measurement.where,
            machine=measurement.machine,
            kernels=measurement.kernels,
            threads=measurement.settings.get("threads", 1),
        )


def _append(record: Record) -> str:
    import sqlite3

    file = path()
    if file is None:
        return ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _opened(file, write=True) as database:
            _insert(database, record)
    except (sqlite3.Error, _UnfitError, msgspec.ValidationError, UnicodeError, OSError) as error:
        return f"not recorded in the history at {file}: {error}"
    return ""


@contextlib.contextmanager
def _opened(file: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """A history within a transaction, which is committed where it was opened to write; raises _UnfitError."""
    import sqlite3

    mode = "rwc" if write else "ro"
    address = f"{file.absolute().as_uri()}?mode={mode}"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=_WAIT_S, isolation_level=None)) as database:
        database.row_factory = sqlite3.Row
        database.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        (found,) = database.execute("PRAGMA user_version").fetchone()
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if found > _VERSION:
            raise _UnfitError("it was written by a newer edgebuild")
        if found == 0 and (tables or not write):
            raise _UnfitError("it is no history of edgebuild")
        for statement in _SCHEMA if found == 0 else _brought_up(found) if write else ():
            database.execute(statement)
        yield database
        if write:
            database.execute("COMMIT")


def _brought_up(version: int) -> Iterator[str]:
    """What brings a history of an earlier version up to this one."""
    for earlier in range(version, _VERSION):
        yield _MIGRATIONS[earlier]
        yield f"PRAGMA user_version = {earlier + 1}"


def _insert(database: sqlite3.Connection, record: Record) -> None:
    last = database.execute(
        "SELECT * FROM builds WHERE name = ? AND target = ? AND project = ? ORDER BY id DESC LIMIT 1",
        (record.name, record.target, record.project),
    ).fetchone()
    if last is not None and replace(_loaded(database, last), time=record.time) == record:
        return
    added = database.execute(_ADD_BUILD, msgspec.to_builtins(record))
    for figure in record.figures:
        low, high = figure.interval or (None, None)
        cells = {**msgspec.to_builtins(figure), "build": added.lastrowid, "low": low, "high": high}
        database.execute(_ADD_FIGURE, cells)


def _loaded(database: sqlite3.Connection, build: sqlite3.Row) -> Record:
    """A record as it was written; raises ValidationError where a cell holds what was not."""
    figures = database.execute("SELECT * FROM figures WHERE build = ? ORDER BY rowid", (build["id"],)).fetchall()
    dirty = None if build["dirty"] is None else bool(build["dirty"])
    fields = {**dict(build), "commit": build["commit_sha"], "dirty": dirty, "figures": [*map(_figure, figures)]}
    return msgspec.convert(fields, Record)


def _figure(cells: sqlite3.Row) -> dict[str, object]:
    interval = None if cells["low"] is None else (cells["low"], cells["high"])
    return {**dict(cells), "where": cells["place"], "interval": interval}


def _is_of(record: Record, target: str, project: str) -> bool:
    return target in ("", record.target) and (not project or record.project in ("", project))


def _require_known(names: Collection[str], found: Sequence[Record], name: str, target: str, project: str) -> None:
    """Refuse a name, a project or a target of which nothing is recorded; raises UsageError."""
    if not found:
        known = f"There are: {', '.join(sorted(names))}." if names else ""
        raise UsageError(f'nothing is recorded of "{name}"{closest(name, names)}', known)
    here = [record for record in found if _is_of(record, "", project)]
    if not here:
        others = dict.fromkeys(record.project for record in found)
        raise UsageError(
            f"nothing is recorded of {name} in {project}",
            f"Artifacts of that name belong to: {', '.join(others)}.",
            "Name one of these (--project FOLDER), or show all (--project all).",
        )
    targets = list(dict.fromkeys(record.target for record in here))
    if target and target not in targets:
        known = f"There are: {', '.join(filter(None, targets))}."
        raise UsageError(f'nothing is recorded of {name} for target "{target}"{closest(target, targets)}', known)
