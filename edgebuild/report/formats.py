"""Report formats: what `--report` writes of a manifest, built in or of a plug-in, each a function of the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath

from edgebuild import documents, plugins
from edgebuild.core.manifest import Manifest
from edgebuild.core.settings import ReportFormat
from edgebuild.errors import StepError
from edgebuild.plugins import Group
from edgebuild.report import card, summary

FOLDER = "reports"
# From a manifest to files: text or bytes by path below FOLDER, with slashes.
Writer = Callable[[Manifest], Mapping[str, str | bytes]]


def _text(manifest: Manifest) -> Mapping[str, str]:
    return {"summary.txt": summary.of_check(manifest, manifest.verdict) + "\n"}


def _card(manifest: Manifest) -> Mapping[str, str]:
    return {"card.md": card.of_build(manifest)}


def _json(manifest: Manifest) -> Mapping[str, bytes]:
    return {"verdict.json": documents.as_json(manifest.verdict) + b"\n"}


_BUILT_IN: Mapping[str, Writer] = {ReportFormat.TEXT: _text, ReportFormat.CARD: _card, ReportFormat.JSON: _json}


def files(manifest: Manifest, formats: Iterable[str]) -> dict[str, bytes]:
    """What formats write of a manifest, by path beside it.

    Raises:
        UsageError: there is no such format, or a plug-in cannot be loaded.
        StepError: a plug-in failed, or returned what cannot be written.
    """
    found: dict[str, bytes] = {}
    for name in formats:
        for path, content in _of_format(manifest, name).items():
            if path in found:
                raise StepError(f"two report formats write {path}", remedy=f"Leave out one of them: {name}.")
            found[path] = content
    return found


def _of_format(manifest: Manifest, name: str) -> dict[str, bytes]:
    write = _BUILT_IN.get(name)
    if write is not None:
        return _encoded(write(manifest))
    _, plugin = plugins.require(Group.REPORTS, name)
    written = plugins.call(Group.REPORTS, plugin, manifest)
    problem = misfit(written)
    if problem:
        raise plugins.refused(Group.REPORTS, plugin, problem)
    return _encoded(written)


def _encoded(written: Mapping[str, str | bytes]) -> dict[str, bytes]:
    return {
        f"{FOLDER}/{path}": content.encode() if isinstance(content, str) else content
        for path, content in written.items()
    }


def misfit(written: object) -> str:
    """Why what a format returned cannot be written; empty where it can."""
    if not isinstance(written, Mapping):
        return f"{type(written).__name__}, not a mapping"
    for path, content in written.items():
        parts = PurePosixPath(path).parts if isinstance(path, str) else ()
        if not parts or ".." in parts or PurePosixPath(path).is_absolute():
            return f"the path {path!r}, which is not one below a folder"
        if not isinstance(content, str | bytes):
            return f"{type(content).__name__} for {path}"
    return "" if written else "no files"
