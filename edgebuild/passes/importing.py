"""Importers of plug-ins: from a file or a text to a network that is loaded as those of users are."""

from __future__ import annotations

from pathlib import Path

from edgebuild import plugins
from edgebuild.actions.networks import Imported, ImportJob
from edgebuild.child import Say
from edgebuild.plugins import Group


def run(job: ImportJob, say: Say) -> Imported:
    """Import.

    Raises:
        StepError: the importer failed, or left no network that can be loaded.
    """
    out = Path(job.out)
    say(f"importing {Path(job.path).name}")
    found = plugins.call(Group.IMPORTERS, job.plugin, job.path, out)
    problem = misfit(found, out)
    if problem:
        raise plugins.refused(Group.IMPORTERS, job.plugin, problem)
    path = Path(found)
    return Imported(kind="folder" if path.is_dir() else "file", path=path.relative_to(out).as_posix())


def misfit(found: object, out: Path) -> str:
    """Why what an importer returned is no network in the folder, as the end of a sentence; empty where it is."""
    if not isinstance(found, str | Path):
        return f"{type(found).__name__}, not a path"
    path = Path(found)
    if not path.is_relative_to(out) or path == out:
        return f"the path {path}, which is not below the folder that it was given"
    if path.is_dir():
        return "" if (path / "saved_model.pb").is_file() else f"the folder {path.name}, which holds no saved_model.pb"
    if not path.is_file():
        return f"the path {path.name}, where there is nothing"
    return "" if path.suffix in (".keras", ".h5") else f"the file {path.name}, which is no .keras or .h5 file"
