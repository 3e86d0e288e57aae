"""Several builds as one: those of [[build]] in edgebuild.toml, or one for each of several models."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from edgebuild import api, config, targets
from edgebuild.core.plan import Source
from edgebuild.core.progress import Listener, Silence
from edgebuild.errors import EdgebuildError, UsageError
from edgebuild.execution.session import Session
from edgebuild.layering import Layer, Tree
from edgebuild.pipeline import check as checking
from edgebuild.pipeline.build import Outcome
from edgebuild.plan import default_name

T = TypeVar("T")
_OWN_FOLDER = "a folder for each build"


class Build(NamedTuple):
    """One of several builds: the name that its messages carry, and what it is asked for."""

    name: str
    configuration: config.Configuration


class Made(NamedTuple):
    """What came of one of several builds, for each of its targets."""

    name: str
    out: Path
    outcomes: list[Outcome]


def load(
    options: Tree, environment: Mapping[str, str], *, models: Sequence[str] = (), file: Path | None = None
) -> list[Build]:
    """The builds of several models, each left in a folder of its own (OUT/NAME) where it names none.

    Args:
        options: settings over all of them.
        environment: where EDGEBUILD_* variables are looked up.
        models: paths of networks; empty for the [[build]] tables of the file.
        file: the configuration; None for ./edgebuild.toml where there is one.

    Raises:
        UsageError: there are no builds, two would be left in the same place, or the configuration is wrong.
    """

    def configured(number: int, own: Sequence[Layer], over: Sequence[Layer]) -> config.Configuration:
        return config.load(options, environment, file=file, number=number, over=[*own, *over])

    if models:
        chosen = [Layer(config.OPTIONS, {"model": {"path": path}}) for path in models]
        builds = [_placed(functools.partial(configured, 0, [own])) for own in chosen]
    else:
        numbers = range(1, config.tables(file) + 1)
        builds = [_placed(functools.partial(configured, number, [])) for number in numbers]
    if not builds:
        raise UsageError(
            "there are no builds",
            "No model was named, and there is no [[build]] table.",
            "Name models: edgebuild build-all models/*.keras -t arm64, or write [[build]] tables in edgebuild.toml.",
        )
    _require_apart(builds)
    _require_alike(builds)
    return builds


def build_many(builds: Sequence[Build], listener: Listener | None = None) -> list[Made]:
    """Build several networks for their targets in one session: what they share is done once.

    Args:
        builds: as `load` gives them.
        listener: is told what happens; None for silence.

    Returns:
        What came of each, in order. One that fails leaves the others alone.
    """
    planned = [_unless_it_fails(build, functools.partial(api.make_ready, build.configuration)) for build in builds]
    with api.working(builds[0].configuration, listener or Silence()) as session:
        both = list(zip(builds, planned, strict=True))
        outcomes = session.each(lambda item: _outcomes(*item, session), both)
    if bug := next((found for found in outcomes if isinstance(found, Exception)), None):
        raise bug
    return [
        Made(build.name, Path(build.configuration.settings.build.out), found)
        for build, found in zip(builds, outcomes, strict=True)
        if not isinstance(found, Exception)
    ]


def check(builds: Sequence[Build]) -> list[checking.Checked]:
    """Gate what several builds left; what is missing of them fails."""
    checked: list[checking.Checked] = []
    for build in builds:
        try:
            checked += api.check(None, build.configuration)
        except UsageError as error:
            checked.append(checking.Checked(Path(build.configuration.settings.build.out) / "-", None, None, error))
    return checked


def _outcomes(build: Build, ready: api.Ready | list[Outcome], session: Session) -> list[Outcome] | Exception:
    """Build one of several; a bug is given back, so that the others come to their end."""
    if not isinstance(ready, api.Ready):
        return ready
    with session.on_behalf_of(build.name):
        try:
            return _unless_it_fails(build, lambda: api.build_ready(ready, session, _Notes(session)))
        except Exception as bug:
            return bug


def _unless_it_fails(build: Build, do: Callable[[], T]) -> T | list[Outcome]:
    try:
        return do()
    except EdgebuildError as error:
        return [Outcome(target, None, error) for target in _targets(build)]


class _Notes(Silence):
    """Notes of one of several builds, which carry its name."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def noted(self, text: str) -> None:
        self._session.noted(text)


def _placed(configured: Callable[[Sequence[Layer]], config.Configuration]) -> Build:
    """With a name, and OUT/NAME for its folder where its own table names none."""
    found = configured([])
    path, name = found.settings.model.path, found.settings.model.name
    if not path:
        raise UsageError("a [[build]] table names no model", remedy='Write model = "kws.keras" in each of them.')
    kind = "callable" if config.is_callable(path) else "file"
    name = name or default_name(Source(kind=kind, path=path, sha256=""))
    if "[[build]]" in found.layered.origin_of("build.out"):
        return Build(name, found)
    out = str(Path(found.settings.build.out) / name)
    return Build(name, configured([Layer(_OWN_FOLDER, {"build": {"out": out}})]))


def _targets(build: Build) -> list[str]:
    """The folders of its targets; one without a name where it names no target."""
    names = dict.fromkeys(build.configuration.settings.build.targets)
    return [targets.called(name) for name in names] or ["-"]


def _require_apart(builds: Sequence[Build]) -> None:
    """Refuse two builds that would overwrite each other."""
    owners: dict[Path, Build] = {}
    for build in builds:
        for target in _targets(build):
            folder = Path(build.configuration.settings.build.out).absolute() / target
            if folder in owners:
                paths = [each.configuration.settings.model.path for each in (owners[folder], build)]
                raise UsageError(
                    f"two builds would write {folder}",
                    f"They are of {' and '.join(paths)}.",
                    'Give each a name or a folder of its own in [[build]]: name = "kws", or out = "dist/kws".',
                )
            owners[folder] = build


def _require_alike(builds: Sequence[Build]) -> None:
    """Refuse limits and numbers of steps that differ: all are built in one go."""
    for what in ("limits", "build.jobs", "build.cluster"):
        table, _, key = what.partition(".")
        values = [getattr(build.configuration.settings, table) for build in builds]
        if len({getattr(value, key) if key else value for value in values}) > 1:
            raise UsageError(f"[[build]] tables differ in {what}", "All of them are built in one go.")


__all__: Sequence[str] = ["Build", "Made", "build_many", "check", "load"]
