"""The library face: what the command does, for Python."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs
from msgspec.structs import replace

from edgebuild import config, hashing, history, plugins, renewed, repository, targets
from edgebuild.core.benched import Benched
from edgebuild.core.calibration import Calibration
from edgebuild.core.manifest import Manifest
from edgebuild.core.outlook import DataOutline, Outlook
from edgebuild.core.plan import Plan, Source
from edgebuild.core.progress import Listener, Silence
from edgebuild.core.record import Commit
from edgebuild.core.target import Kernels, Target
from edgebuild.decode import closest
from edgebuild.errors import UsageError
from edgebuild.execution.session import Session, default_jobs, session as opened
from edgebuild.execution.store import Store
from edgebuild.gating import judgeable
from edgebuild.pipeline import (
    benching,
    build as building,
    calibrating,
    calibrations,
    check as checking,
    outlook,
    publish,
    sources,
)
from edgebuild.plan import plan
from edgebuild.search.accuracy_recovery import AccuracyRecovery

STORE_VARIABLE = "EDGEBUILD_STORE"


def build(
    model: Any = None,
    *,
    target: str,
    data: str | Path | Mapping[str, Any] | None = None,
    budgets: Mapping[str, object] | None = None,
    out: str | Path = "dist",
    name: str = "",
    settings: Mapping[str, Mapping[str, object]] | None = None,
    listener: Listener | None = None,
) -> Manifest:
    """Build one network for one target and judge it.

    Args:
        model: a .keras or .h5 file, a SavedModel folder, "module:callable", or a Keras model; None for the example.
        target: the name of a profile, or the path of a TOML file.
        data: a .npz or .csv file, a folder of images by class, "module:callable", or a mapping of arrays (any of
            x_train y_train x_validation y_validation x_calibration x_eval y_eval labels, or x and y; samples first);
            None for none.
        budgets: limits over those of the profile, as in edgebuild.toml: {"size": "60 KB"}.
        out: the folder that TARGET/NAME.tflite and its manifest are left in.
        name: of the artifact; empty for the model's own.
        settings: any further tables of edgebuild.toml: {"metric": {"name": "top-k", "k": 3}}.
        listener: is told what happens; None for silence.

    Returns:
        The manifest; `manifest.verdict.status` says whether all budgets were kept. Sizes are bytes, times seconds.

    Raises:
        UsageError: the request is wrong.
        StepError: a step failed; earlier artifacts are as they were.
    """
    with tempfile.TemporaryDirectory(prefix="edgebuild-") as folder:
        options: dict[str, dict[str, object]] = {table: dict(values) for table, values in (settings or {}).items()}
        options.setdefault("model", {}).update({"path": sources.model_file(model, Path(folder)), "name": name})
        options.setdefault("data", {})["path"] = sources.data_file(data, Path(folder))
        options.setdefault("build", {}).update({"targets": [target], "out": str(out)})
        options.setdefault("budgets", {}).update(budgets or {})
        if not name and hasattr(model, "save"):
            options["model"]["name"] = str(model.name)
        (outcome,) = build_all(config.load(options, {}, use_file=False), listener or Silence())
    if outcome.error is not None:
        raise outcome.error
    assert outcome.manifest is not None
    return outcome.manifest


def build_all(configuration: config.Configuration, listener: Listener) -> list[building.Outcome]:
    """Build everything a configuration asks for.

    Returns:
        An outcome for each target, in order.

    Raises:
        UsageError: the request is wrong.
        StepError: a step that all targets share failed.
    """
    ready = make_ready(configuration)
    with working(configuration, listener) as session:
        outcomes = build_ready(ready, session, listener)
        # Of one build alone: a session of several does not know which of them took what.
        if all(outcome.error is None for outcome in outcomes):
            outlook.keep(store_folder(), ready.plans, session.spent)
    return outcomes


class Ready(NamedTuple):
    """A build that can begin: what is asked for, its plans, and the commit that it is of."""

    configuration: config.Configuration
    plans: list[Plan]
    commit: Commit


def make_ready(configuration: config.Configuration) -> Ready:
    """Plan a build before anything is published: the folder may be tracked.

    Raises:
        EdgebuildError: the request is wrong, or network or data cannot be read.
    """
    settings = configuration.settings
    planned = plans(configuration)
    for item in planned:
        publish.require_writable(Path(settings.build.out) / item.target)
    return Ready(configuration, planned, _commit(configuration, *_places(settings.model.path)))


def working(configuration: config.Configuration, listener: Listener) -> contextlib.AbstractContextManager[Session]:
    """A session as a configuration wants it."""
    settings = configuration.settings
    jobs = settings.build.jobs or default_jobs()
    code = _code_folders(configuration)
    return opened(Store(store_folder()), listener, settings.limits, code, jobs, settings.build.cluster)


def build_ready(ready: Ready, session: Session, listener: Listener) -> list[building.Outcome]:
    """Build for all targets; raises EdgebuildError where a step that all share failed."""
    settings = ready.configuration.settings.build
    outcomes = building.build(
        ready.plans,
        Path(settings.out),
        session,
        listener,
        again=settings.measure_again,
        vet=settings.vet,
        strategy=AccuracyRecovery if settings.repair else None,
        reports=settings.reports,
    )
    for manifest in (outcome.manifest for outcome in outcomes if outcome.manifest is not None):
        _tell(history.append(manifest, ready.commit), listener)
    return outcomes


def _commit(configuration: config.Configuration, *places: Path) -> Commit:
    """The commit that says what was built, of the project that is worked in."""
    here = configuration.file.absolute().parent if configuration.file is not None else Path.cwd()
    return repository.commit(*places, Path.cwd())._replace(project=repository.project(here))


def _places(model: str) -> list[Path]:
    """Where a repository may be whose commit says what was built."""
    return [Path(model).absolute().parent] if model and Path(model).exists() else []


def _tell(problem: str, listener: Listener) -> None:
    if problem:
        listener.noted(problem)


def plans(configuration: config.Configuration) -> list[Plan]:
    """The plan for each target that a configuration names; nothing is built.

    Raises:
        UsageError: no target, an unknown one, or a request that cannot work.
        StepError: the network or the data cannot be read.
    """
    settings = configuration.settings
    resolved = resolve(configuration)
    _require_baseline_named(configuration)
    if settings.model.path:
        model, data = sources.model(settings.model.path), sources.data(settings.data.path, settings.data.label_column)
    else:
        _require_example(configuration)
        model = data = sources.EXAMPLE
    for source in filter(None, (model, data)):
        if source.kind == "callable":
            sources.require(source.path, _code_folders(configuration))
    planned = [plan(item.target, settings, model, data, _learns_from(item.target, configuration)) for item in resolved]
    why = _unscored(planned)
    if why:
        judgeable.require_scores(planned, why, targets.origins())
    return planned


def _unscored(planned: Sequence[Plan]) -> str:
    """Why nothing will be scored, as far as that is known before the data are read."""
    from edgebuild.data.array_names import unscored

    return unscored(planned[0].data, planned[0].metric)


def outlooks(planned: Sequence[Plan]) -> list[Outlook]:
    """What the build of each plan would find and take; the data's headers are read, and none of the samples.

    Raises:
        UsageError: the data are in a folder that is divided in no way that is known.
    """
    earlier = outlook.read(store_folder())
    data: DataOutline | None = None
    if planned and planned[0].data is not None and planned[0].data.kind != "example":
        from edgebuild.data.outline import outline  # numpy, which not every command needs

        data = outline(planned[0].data, planned[0].split)
    why = _unscored(planned) if planned else ""
    return [replace(outlook.of_plan(item, earlier), data=data, unscored=why) for item in planned]


def _learns_from(target: Target, configuration: config.Configuration) -> tuple[Source, ...]:
    """The files and functions that training for a target depends on; none where nothing is trained."""
    settings = configuration.settings
    if not settings.build.compress or not target.compressions:
        return ()
    student = target.passes.student.network if target.passes.student is not None else ""
    metric = settings.metric.name if config.is_callable(settings.metric.name) else ""
    named = [teacher.network for teacher in settings.distill.teachers]
    named += filter(None, (student, settings.train.augment, metric))
    folders = _code_folders(configuration)
    return tuple(sources.learnt(path, folders) for path in dict.fromkeys(named))


def _require_example(configuration: config.Configuration) -> None:
    """The example is for those who name nothing: a release job must not gate it by mistake."""
    named = configuration.settings.data.path
    if named or configuration.file is not None:
        what = f"data at {named}" if named else str(configuration.file)
        raise UsageError(
            f"there is {what}, but no model",
            remedy="Name one on the command line, or in edgebuild.toml: [model] path.",
        )


def resolve(configuration: config.Configuration) -> list[targets.ResolvedTarget]:
    """The profiles that a configuration names, with what lies over them.

    Raises:
        UsageError: none is named, or one is unknown or cannot be read.
    """
    settings = configuration.settings
    if not settings.build.targets:
        raise UsageError(
            "no target was named",
            remedy="Say --target arm64 (edgebuild targets lists them), or [build] targets = [...] in edgebuild.toml.",
        )
    names = list(dict.fromkeys(settings.build.targets))
    for name in names:
        same = [other for other in names if targets.called(other) == targets.called(name)]
        if len(same) > 1:
            raise UsageError(
                f"{' and '.join(same)} are both called {targets.called(name)}", "Each has a folder of that name."
            )
    _require_known_targets(configuration)
    metric = plugins.metric(settings.metric)
    return [targets.load(name, metric, configuration.over_profile(targets.called(name))) for name in names]


def check(place: str | Path | None = None, configuration: config.Configuration | None = None) -> list[checking.Checked]:
    """Gate artifacts that were built before. Needs no TensorFlow and runs nothing.

    Args:
        place: the folder that was built into, a target's folder in it, or a manifest; None for the configured folder.
        configuration: whose budgets hold over those that were recorded, and whose targets, model and data must be
            those that were built; None for no such demands.

    Raises:
        UsageError: there is no manifest at the place, or a budget cannot be read.
    """
    known = configuration or config.load({}, {}, use_file=False)
    out = Path(known.settings.build.out)
    _require_known_targets(known)
    # A single target's folder, or a manifest, is asked for by itself; the whole folder must be complete.
    is_whole = place is None or Path(place) == out
    wanted = [out / targets.called(name) for name in known.settings.build.targets] if is_whole else []
    demands = checking.Demands(
        lambda manifest: renewed.budgets(manifest, checking.of(manifest), known),
        _digest(known.settings.model.path),
        _digest(known.settings.data.path),
        known.settings.bench.baseline_required,
        known.settings.build.reports,
    )
    return checking.check(checking.find(Path(place or out), wanted), demands)


def bench(
    path: str | Path,
    configuration: config.Configuration | None = None,
    *,
    kernels: Kernels | None = None,
    operators: bool = False,
    listener: Listener | None = None,
) -> list[Benched]:
    """Measure artifacts at places, compare them with a baseline, and judge them. Needs no TensorFlow.

    Args:
        path: a .tflite file, a manifest, one target's folder, or a folder of targets.
        configuration: whose [bench] says where and how, against what, and whose budgets and [limits] hold; None for
            the defaults.
        kernels: None for those of each artifact's target.
        operators: whether to see where the time goes on this machine as well.
        listener: is told what happens; None for silence.

    Raises:
        UsageError: there is nothing at the path, or no such place, or a budget cannot be read.
        StepError: an artifact is damaged, is not the one that was built, or does not run.
    """
    known = configuration or config.load({}, {}, use_file=False)
    _require_known_targets(known)
    _require_baseline_named(known)
    found = benching.find(Path(path), kernels)
    with opened(Store(store_folder()), listener or Silence(), known.settings.limits) as session:
        benched = benching.bench(
            found,
            known.settings.bench,
            lambda item: renewed.budgets(item.manifest, benching.of(item, known.settings.bench), known),
            session,
            operators=operators,
        )
    commit = _commit(known, Path(path).absolute().parent)
    for item in benched:
        name = Path(item.artifact).stem
        _tell(history.append_figures(name, item.target, item.sha256, item.measurements, commit), listener or Silence())
    return benched


def _require_known_targets(known: config.Configuration) -> None:
    """Refuse tables for targets that there are not: their budgets would hold for nothing."""
    names = {*targets.names(), *map(targets.called, known.settings.build.targets)}
    for name in known.settings.targets:
        if name not in names:
            raise UsageError(f"[targets.{name}] is for no target that is known or built{closest(name, names)}")


def _require_baseline_named(known: config.Configuration) -> None:
    """Refuse to require a baseline that nobody names."""
    if known.settings.bench.baseline_required and not known.settings.bench.baseline:
        raise UsageError(
            "a baseline is required, and none is named",
            "[bench] baseline_required (or --require-baseline) makes a verdict without a comparison inconclusive.",
            "Name one: --against v1.2, EDGEBUILD_BASELINE, or [bench] baseline in edgebuild.toml.",
        )


def calibrate(
    paths: Sequence[Path],
    *,
    on: str,
    core: str,
    name: str = "",
    configuration: config.Configuration | None = None,
    listener: Listener | None = None,
) -> tuple[Calibration, Path]:
    """Find what an emulated instruction takes on a device, and keep that for later estimates.

    Args:
        paths: artifacts of one family, at least four that differ in size.
        on: the device, as a place: "ssh:pi@board".
        core: the emulated core that is like the device's: "cortex-a72".
        name: of the calibration; empty for one made of core and types.
        configuration: whose [bench] and [limits] hold; None for the defaults.
        listener: is told what happens; None for silence.

    Returns:
        The calibration, and the file that it is kept in.

    Raises:
        UsageError: places or artifacts cannot make a calibration.
        StepError: an artifact does not run, or the figures tell no line.
        UnavailableError: the device or the emulation is not there.
    """
    settings = (configuration or config.load({}, {}, use_file=False)).settings
    wanted = calibrating.wanted(paths, on, core, name)
    with opened(Store(store_folder()), listener or Silence(), settings.limits) as session:
        made = calibrating.calibrate(wanted, settings.bench, session)
    return made, calibrations.write(made)


def _digest(path: str) -> str:
    """The digest of the file or folder that is configured now; empty where there is none to compare."""
    return hashing.of_tree(Path(path)) if path and Path(path).exists() else ""


def store_folder() -> Path:
    """Where what was made is kept: $EDGEBUILD_STORE, or a folder of the user's cache."""
    named = os.environ.get(STORE_VARIABLE)
    return Path(named).absolute() if named else Path(platformdirs.user_cache_dir("edgebuild", appauthor=False))


def _code_folders(configuration: config.Configuration) -> tuple[str, ...]:
    """Where a module:callable is looked up: beside edgebuild.toml, and in the working folder."""
    beside = [str(configuration.file.absolute().parent)] if configuration.file else []
    return tuple(dict.fromkeys([*beside, str(Path.cwd())]))
