"""What packages offer: for each kind of plug-in a type, which says what the plug-in does and what it needs."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from edgebuild.core.budget import Subject
from edgebuild.core.passes import AFTER, PluginPass
from edgebuild.core.place import PlaceKind
from edgebuild.core.plugin import Plugin
from edgebuild.core.settings import AUTO, MetricKind, ReportFormat
from edgebuild.core.target import Compiler, PassTables

_RUN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


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
            `core.device.Compiled`. It raises `errors.UnavailableError` where the compiler is not installed, and
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
BUILT_IN: dict[Group, tuple[str, ...]] = {
    Group.COMPILERS: tuple(Compiler),
    Group.DEVICES: tuple(PlaceKind),
    Group.IMPORTERS: (),
    Group.METRICS: (AUTO, *MetricKind),
    Group.PASSES: tuple(PassTables.__struct_fields__),
    Group.REPORTS: tuple(ReportFormat),
}


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


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"
