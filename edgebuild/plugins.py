"""Plug-ins: what other packages add to edgebuild, and how they are found.

A package names an object of one of the types below in an entry point group, such as `edgebuild.metrics`; the name of
the entry point is the name that users write. Groups are read only where a name is none of the built-in ones, since to
read them takes time. The module that an entry point names is imported by edgebuild's own process, so it must import
nothing that is heavy: the work is done by a function that `run` names, in a child process.
"""

from __future__ import annotations

import importlib.util
import re
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from edgebuild import hashing
from edgebuild.core import place as places
from edgebuild.core.budget import Subject
from edgebuild.core.metric import Metric
from edgebuild.core.passes import AFTER, PluginPass
from edgebuild.core.place import Place, PlaceKind
from edgebuild.core.plugin import Plugin
from edgebuild.core.settings import AUTO, MetricKind, MetricSettings, ReportFormat
from edgebuild.core.target import Compiler, PassTables
from edgebuild.decode import closest
from edgebuild.errors import EdgebuildError, StepError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_RUN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
# What Python leaves beside the sources of a package decides nothing.
_CODE_ENDINGS = (".pyc", ".pyo")


class Group(StrEnum):
    """The kinds of plug-ins; the name of the entry point group has "edgebuild." before it."""

    PASSES = "passes"
    DEVICES = "devices"
    COMPILERS = "compilers"
    IMPORTERS = "importers"
    METRICS = "metrics"
    REPORTS = "reports"

    @property
    def entry_points(self) -> str:
        """The name of the entry point group."""
        return f"edgebuild.{self}"

    @property
    def one(self) -> str:
        """One of the kind, for people."""
        return {"passes": "pass", "reports": "report format"}.get(self, self.removesuffix("s"))


@dataclass(frozen=True, kw_only=True)
class MetricPlugin:
    """A score, by the name that `--metric` and `[metric] name` take.

    Attributes:
        run: "module:function" that takes the network's outputs, [samples, ...], real values, and labels as they were
            given, [samples, ...], as arrays, and returns the score as a finite number.
        lower_is_better: the direction of the score.
        is_share: whether it is a fraction of one, which budgets limit in %.
        packages: further distributions whose versions decide the score.
    """

    run: str
    lower_is_better: bool = False
    is_share: bool = False
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportPlugin:
    """A report format, by the name that `--report` and `[build] reports` take.

    Attributes:
        run: "module:function" that takes a `core.manifest.Manifest` and returns text or bytes by relative path: the
            files that are left in `reports/` beside the manifest. It is called in edgebuild's own process.
        packages: further distributions that it needs.
    """

    run: str
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CompilerPlugin:
    """A compiler for an accelerator, by the name that `[accelerator] compiler` of a target profile takes.

    Attributes:
        run: "module:function" that takes the artifact's path, the `core.target.Accelerator` of the profile and the
            path of an empty folder, writes the file for the device into that folder, if it makes one, and returns a
            `core.mapping.Compiled`. It raises `errors.UnavailableError` where the compiler is not installed, and
            `errors.StepError` where it refuses the artifact.
        tells: which of Subject.NPU_LATENCY and Subject.NPU_SRAM it estimates, so that budgets may limit them.
        packages: further distributions whose versions decide what it makes.
    """

    run: str
    tells: tuple[Subject, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PassPlugin:
    """A pass before quantization, by the name that `[passes.NAME]` takes.

    Attributes:
        run: "module:function" that takes a `passes.plugged.Work` and returns a `passes.plugged.Changed`.
        settings: a frozen msgspec.Struct with a default for each field: what `[passes.NAME]` may set. A field that is
            called `max_drop` limits what the pass may cost, as in the built-in ones.
        after: the built-in pass that it follows where that is asked for: "student", "channels", "prune", "cluster";
            "equalize" makes it one for the accuracy of int8, which is left out where it fails; empty for the first.
        title: what it does, for people: "fold what is constant".
        learns: whether it takes train data. Its network is then reverted where it loses more of the validation score
            than is allowed.
        observes: whether it takes calibration samples.
        untrained: whether it is done where there are no train data.
        packages: further distributions whose versions decide what it makes.
    """

    run: str
    settings: type[msgspec.Struct]
    after: str = "prune"
    title: str
    learns: bool = False
    observes: bool = False
    untrained: bool = True
    packages: tuple[str, ...] = ()

    def asked(self, plugin: Plugin, settings: msgspec.Struct) -> PluginPass:
        """The pass with these settings, for a plan."""
        return PluginPass(
            plugin=plugin,
            settings=msgspec.to_builtins(settings),
            title=self.title,
            after=self.after,
            takes_train=self.learns,
            takes_calibration=self.observes,
            untrained=self.untrained,
            max_drop=getattr(settings, "max_drop", None),
        )


@dataclass(frozen=True, kw_only=True)
class DevicePlugin:
    """A device that artifacts are run on, by the name that `--on` and budgets take: `--on NAME` or `--on NAME:ADDRESS`.

    Attributes:
        run: "module:function" that takes the `core.place.Place`, the `process.Limits` of one request, the path of a
            folder for logs, and a function to tell of progress, and returns what meets
            `runtimes.places.protocol.Place`; its samples are seconds. One call of edgebuild at a time measures on it.
        address: what is written behind the name, for people: "PORT"; empty where nothing is.
        packages: further distributions whose versions decide what is measured.
    """

    run: str
    address: str = ""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImporterPlugin:
    """An importer: what the MODEL argument and `[model] path` may be beside what edgebuild reads itself.

    Attributes:
        takes: a function of the text that the user wrote, a path or anything else such as "hub://name", which says
            whether it is this importer's; it is called in edgebuild's own process for what edgebuild does not read.
        run: "module:function" that takes the text (of a file or folder its path) and the path of an empty folder,
            leaves a .keras or .h5 file or a SavedModel below that, and returns its path.
        packages: further distributions whose versions decide what it makes.
    """

    run: str
    takes: Callable[[str], bool]
    packages: tuple[str, ...] = ()


_TYPES: dict[Group, type[Any]] = {
    Group.COMPILERS: CompilerPlugin,
    Group.DEVICES: DevicePlugin,
    Group.IMPORTERS: ImporterPlugin,
    Group.METRICS: MetricPlugin,
    Group.PASSES: PassPlugin,
    Group.REPORTS: ReportPlugin,
}
_BUILT_IN: dict[Group, tuple[str, ...]] = {
    Group.COMPILERS: tuple(Compiler),
    Group.DEVICES: tuple(PlaceKind),
    Group.IMPORTERS: (),
    Group.METRICS: (AUTO, *MetricKind),
    Group.PASSES: tuple(PassTables.__struct_fields__),
    Group.REPORTS: tuple(ReportFormat),
}


class Found(NamedTuple):
    """A plug-in: the object that its entry point names, and what plans keep of it."""

    offer: Any
    plugin: Plugin


def built_in(group: Group) -> tuple[str, ...]:
    """The names of a kind that edgebuild has itself."""
    return _BUILT_IN[group]


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


def misfit(group: Group, offer: object) -> str:
    """What is wrong with the object of an entry point, as the end of a sentence; empty where nothing is.

    Nothing of what it runs is imported.
    """
    wanted = _TYPES[group]
    if not isinstance(offer, wanted):
        return f"is {_article(type(offer).__name__)}, not an edgebuild.plugins.{wanted.__name__}"
    if not isinstance(offer.run, str) or not _RUN.fullmatch(offer.run):
        return f'has run = {offer.run!r}, which is not "module:function"'
    top = offer.run.partition(":")[0].partition(".")[0]
    if importlib.util.find_spec(top) is None:
        return f"has run = {offer.run!r}, and there is no module {top}"
    if not isinstance(offer.packages, tuple) or not all(isinstance(name, str) for name in offer.packages):
        return "has packages that are no tuple of names"
    if isinstance(offer, ImporterPlugin) and not callable(offer.takes):
        return "has `takes`, which is not a function"
    return _misfit_of_pass(offer) if isinstance(offer, PassPlugin) else ""


def _misfit_of_pass(offer: PassPlugin) -> str:
    if not (isinstance(offer.settings, type) and issubclass(offer.settings, msgspec.Struct)):
        return f"has settings = {offer.settings!r}, which is no msgspec.Struct"
    needed = [field.name for field in msgspec.structs.fields(offer.settings) if field.required]
    if needed:
        return f"has settings without a default for {', '.join(needed)}"
    if not offer.settings.__struct_config__.frozen:
        return f"has settings that are not frozen: class {offer.settings.__name__}(msgspec.Struct, frozen=True)"
    if offer.after not in AFTER:
        return f"has after = {offer.after!r}, which is none of {', '.join(map(repr, AFTER))}"
    if not isinstance(offer.title, str) or not offer.title:
        return "has no title"
    return ""


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
    tops = sorted({path.partition(":")[0].partition(".")[0] for path in paths})
    return hashing.of_data([[_sources(top) for top in tops], version, _versions(packages)])


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


def _versions(packages: tuple[str, ...]) -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return ""

    return [f"{package} {installed(package)}" for package in packages]


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"
