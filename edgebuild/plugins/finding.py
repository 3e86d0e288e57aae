"""Plug-ins found: entry points read where a name is not built in, loaded, called, and refused where they are wrong."""

from __future__ import annotations

import importlib.util
import re
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edgebuild import hashing
from edgebuild.core import place as places
from edgebuild.core.metric import Metric
from edgebuild.core.place import Place, PlaceKind
from edgebuild.core.plugin import Plugin
from edgebuild.core.settings import MetricSettings
from edgebuild.decode import closest
from edgebuild.errors import EdgebuildError, StepError, UsageError
from edgebuild.plugins.offers import BUILT_IN, Group, misfit

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
# What Python leaves beside the sources of a package decides nothing.
_CODE_ENDINGS = (".pyc", ".pyo")


class Found(NamedTuple):
    """A plug-in: the object that its entry point names, and what plans keep of it."""

    offer: Any
    plugin: Plugin


def built_in(group: Group) -> tuple[str, ...]:
    """The names of a kind that edgebuild has itself."""
    return BUILT_IN[group]


def names(group: Group) -> tuple[str, ...]:
    """The names that installed packages add to a kind, sorted.

    Raises:
        UsageError: one of them is built in, is none that users can write, or two packages bring the same.
    """
    return tuple(sorted(_points(group)))


def find(group: Group, name: str) -> Found | None:
    """The plug-in of a name that is not built in; None where no package brings it.

    Raises:
        UsageError: it cannot be imported, is no object of its kind's type, or takes a name that is not free.
    """
    point = _points(group).get(name)
    return _load(group, point) if point is not None else None


def require(group: Group, name: str) -> Found:
    """As `find`; raises UsageError also where no package brings the name."""
    found = find(group, name)
    if found is None:
        there = (*built_in(group), *names(group))
        raise UsageError(
            f'no {group.one} is called "{name}"{closest(name, there)}',
            f"There are: {', '.join(there)}.",
            f"Others come from packages with entry points in {group.entry_points}.",
        )
    return found


def installed() -> Iterator[tuple[Group, str, Found | UsageError]]:
    """All plug-ins that packages bring, each under its kind and name, or why it cannot be used.

    What spoils a whole kind, a name that is not free, stands under its group.
    """
    for group in Group:
        try:
            points = _points(group)
        except UsageError as error:
            yield group, group.entry_points, error
            continue
        for name, point in sorted(points.items()):
            try:
                yield group, name, _load(group, point)
            except UsageError as error:
                yield group, name, error


def require_each(group: Group, asked: Iterable[str]) -> None:
    """Refuse names that are neither built in nor of a plug-in that can be used; raises UsageError."""
    for name in asked:
        if name not in built_in(group):
            require(group, name)


def metric(settings: MetricSettings) -> Metric:
    """The metric that settings ask for, before anything is known of labels; raises UsageError as `require` does."""
    asked = Metric.asked(settings)
    if asked.name in built_in(Group.METRICS) or asked.is_open:
        return asked
    offer, plugin = require(Group.METRICS, asked.name)
    return asked.by(plugin, lower_is_better=offer.lower_is_better, is_share=offer.is_share)


def place(text: str) -> Place:
    """The place that a text names, built in or of a plug-in.

    Raises:
        ValueError: it names none; the message says what can be written.
        UsageError: a plug-in cannot be used.
    """
    name, _, address = text.strip().partition(":")
    if name in built_in(Group.DEVICES):
        return places.parse(text)
    found = find(Group.DEVICES, name)
    if found is None:
        there = names(Group.DEVICES)
        more = f"; plug-ins bring {', '.join(there)}" if there else ""
        raise ValueError(f"{text!r} is no place: write {places.FORMS}{more}")
    if bool(address) != bool(found.offer.address):
        form = f"{name}:{found.offer.address}" if found.offer.address else name
        raise ValueError(f"{text!r} is no place: write {form}")
    return Place(kind=PlaceKind.PLUGIN, name=address, plugin=found.plugin)


def _points(group: Group) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # to read those of all packages takes time

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group.entry_points):
        if point.name in found and found[point.name].value == point.value:
            continue  # a package that is on the path twice
        _require_free(group, point, found)
        found[point.name] = point
    return found


def _require_free(group: Group, point: EntryPoint, found: dict[str, EntryPoint]) -> None:
    whose = f"the {group.one} {point.name} of the package {_package(point)}"
    if point.name in built_in(group):
        raise UsageError(
            f"{whose} has the name of a built-in {group.one}",
            f"edgebuild's own {point.name} cannot be replaced.",
            f"Uninstall {_package(point)}, or let its author give the {group.one} another name.",
        )
    if point.name in found:
        other = _package(found[point.name])
        raise UsageError(
            f"two packages bring the {group.one} {point.name}: {other} and {_package(point)}",
            remedy=f"Uninstall {other} or {_package(point)}.",
        )
    if not _NAME.fullmatch(point.name):
        raise UsageError(
            f"{whose} has a name that cannot be written",
            "Names are lower-case letters, digits, - and _, a letter first.",
            f"Uninstall {_package(point)}, or let its author give the {group.one} another name.",
        )


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _load(group: Group, point: EntryPoint) -> Found:
    whose = f"the {group.one} {point.name} of the package {_package(point)}"
    remedy = f"Uninstall {_package(point)}, or report this to its author: edgebuild.testing checks plug-ins."
    try:
        offer = point.load()
    except (Exception, SystemExit) as error:
        why = f"{point.value}: {type(error).__name__}: {error}"
        raise UsageError(f"{whose} cannot be imported", why, remedy) from None
    problem = misfit(group, offer)
    if problem:
        raise UsageError(f"{whose} is not one that edgebuild can use", f"{point.value} {problem}.", remedy)
    return Found(offer, _plugin(point, offer))


def _plugin(point: EntryPoint, offer: Any) -> Plugin:
    version = point.dist.version if point.dist is not None else ""
    code = _code((point.value, offer.run), version, offer.packages)
    package = _package(point)
    return Plugin(name=point.name, package=package, version=version, offer=point.value, run=offer.run, code=code)


def offer(plugin: Plugin) -> Any:
    """The object that the entry point of a plug-in names; raises UsageError where it cannot be imported."""
    module, _, name = plugin.offer.partition(":")
    try:
        return getattr(import_module(module), name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{plugin.label} cannot be loaded", f"{type(error).__name__}: {error}") from None


def function(path: str) -> Any:
    """The function that "module:function" of a plug-in names; raises UsageError where it cannot be imported."""
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path} of a plug-in cannot be loaded", f"{type(error).__name__}: {error}") from None
    if not callable(found):
        raise UsageError(f"{path} of a plug-in is not callable")
    return found


def call(group: Group, plugin: Plugin, *arguments: object) -> Any:
    """Call what a plug-in runs.

    Raises:
        EdgebuildError: it raised one, or cannot be imported.
        StepError: it raised anything else.
    """
    return guarded(group, plugin, function(plugin.run), *arguments)


def guarded(group: Group, plugin: Plugin, run: Callable[..., Any], *arguments: object, **named: object) -> Any:
    """As `call`, of a function that a plug-in returned."""
    try:
        return run(*arguments, **named)
    except EdgebuildError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        raise StepError(
            f"the {group.one} {plugin.label} failed",
            f"{type(error).__name__}: {error}{where}",
            f"Report this to the author of {plugin.package}, or build without it.",
        ) from None


def refused(group: Group, plugin: Plugin, problem: str) -> StepError:
    """The error of what a plug-in returned and cannot be used: `problem` is the end of a sentence."""
    return StepError(
        f"the {group.one} {plugin.label} returned {problem}",
        remedy=f"Report this to the author of {plugin.package}: edgebuild.testing checks it.",
    )


def _code(paths: Collection[str], version: str, packages: tuple[str, ...]) -> str:
    """What decides what a plug-in does: all files of its packages, and versions."""
    from edgebuild import host  # it imports what reads metadata, which takes time

    tops = sorted({path.partition(":")[0].partition(".")[0] for path in paths})
    return hashing.of_data([[_sources(top) for top in tops], version, host.versions(packages)])


def _sources(top: str) -> str:
    spec = importlib.util.find_spec(top)
    if spec is None:
        return ""
    if not spec.submodule_search_locations:
        return hashing.of_file(Path(spec.origin)) if spec.origin and Path(spec.origin).is_file() else ""
    found: list[str] = []
    for root in map(Path, spec.submodule_search_locations):
        files = (Path(folder, name) for folder, _, names in hashing.walk(root) for name in names)
        found.append(hashing.of_files(root, sorted(file for file in files if file.suffix not in _CODE_ENDINGS)))
    return hashing.of_data(found)
