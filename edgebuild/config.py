"""edgebuild.toml and the defaults, merged with the environment and the options into `Settings`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import documents, plugins
from edgebuild.core.finding import Code
from edgebuild.core.settings import AUTO, INPUT, KERAS, LABELS, MetricKind, Settings
from edgebuild.decode import closest, decode
from edgebuild.documents import DocumentError
from edgebuild.errors import UsageError
from edgebuild.layering import Layer, Layered, Tree, overlay

FILE_NAME = "edgebuild.toml"
OPTIONS = "options"
ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "EDGEBUILD_MODEL": ("model", "path"),
    "EDGEBUILD_DATA": ("data", "path"),
    "EDGEBUILD_OUT": ("build", "out"),
    "EDGEBUILD_TARGETS": ("build", "targets"),
    "EDGEBUILD_BASELINE": ("bench", "baseline"),
}
# Settings that name files: in edgebuild.toml they are relative to its folder.
_PATHS = (("model", "path"), ("data", "path"), ("build", "out"))
# Tables that are laid over those of the same name in each profile.
_OF_EVERY_TARGET = ("budgets", "passes", "delivery")
_DEFAULTS = Path(__file__).parent / "defaults.toml"
_EXAMPLE_DEFAULTS = Path(__file__).parent / "example_defaults.toml"


class Configuration(NamedTuple):
    """The settings, where each came from, and the layers above the profiles for their own tables."""

    settings: Settings
    layered: Layered
    layers: tuple[Layer, ...]
    file: Path | None

    def budgets_over_profile(self, target: str) -> list[Layer]:
        """The budget tables laid over those of one target; raises UsageError where one is no table."""
        tables = [(layer.origin, layer.values.get("budgets", {})) for layer in self.over_profile(target)]
        for origin, table in tables:
            if not isinstance(table, Mapping):
                raise UsageError(f"budgets of target {target}: expected a table, got {table!r} ({origin})")
        return [Layer(origin, table) for origin, table in tables if isinstance(table, Mapping)]

    def over_profile(self, target: str) -> list[Layer]:
        """What edgebuild.toml, the environment and the options lay over one profile."""
        over: list[Layer] = []
        for layer in self.layers:
            shared = {key: layer.values[key] for key in _OF_EVERY_TARGET if layer.values.get(key)}
            if shared:
                over.append(Layer(layer.origin, shared))
            targets = layer.values.get("targets")
            own = targets.get(target) if isinstance(targets, Mapping) else None
            if isinstance(own, Mapping):
                over.append(Layer(layer.origin, own))
        return over


def load(
    options: Tree,
    environment: Mapping[str, str],
    *,
    file: Path | None = None,
    use_file: bool = True,
    number: int = 0,
    over: Sequence[Layer] = (),
) -> Configuration:
    """Merge all sources: options over environment over edgebuild.toml over defaults.

    Args:
        options: settings given on the command line, shaped like edgebuild.toml.
        environment: where EDGEBUILD_* variables are looked up.
        file: the configuration to read; None for ./edgebuild.toml where there is one.
        use_file: whether to look for ./edgebuild.toml at all.
        number: which of several [[build]] tables lies over the rest of the file, from 1; 0 for none of them.
        over: layers above all others.

    Raises:
        UsageError: a file that is absent or is no TOML, an unknown key, or a value that cannot be read.
    """
    found = file or (Path(FILE_NAME) if use_file and Path(FILE_NAME).is_file() else None)
    layers = [Layer("default", _read(_DEFAULTS))]
    if found is not None:
        layers += _file_layers(found, number)
    layers += _environment_layers(environment)
    layers += [Layer(OPTIONS, options), *over]
    layered = overlay(layers)
    if not any(_named(layered.values.get(table)) for table in ("model", "data")):
        layers.insert(1, Layer("default of the example", _read(_EXAMPLE_DEFAULTS)))
        layered = overlay(layers)
    settings = decode(Settings, layered, str(found) if found is not None else "the configuration")
    settings = _with_prefix(settings)
    _check_metric(settings)
    _check_preprocess(settings)
    _check_lint(settings)
    plugins.require_each(plugins.Group.REPORTS, settings.build.reports)
    return Configuration(settings, layered, tuple(layers[1:]), found)


def tables(file: Path | None) -> int:
    """How many [[build]] tables a file has (None for ./edgebuild.toml); 0 where [build] is one or none."""
    found = file or Path(FILE_NAME)
    builds = _read(found).get("build") if file is not None or found.is_file() else None
    if not isinstance(builds, list):
        return 0
    if not all(isinstance(table, dict) for table in builds):
        raise UsageError(f"{found}: build is no table", remedy="Write [build], or [[build]] for each of several.")
    return len(builds)


def _file_layers(file: Path, number: int) -> list[Layer]:
    """The file, and over it one of its [[build]] tables."""
    values = _read(file)
    builds = values.get("build")
    if not isinstance(builds, list):
        return [Layer(str(file), _rooted(values, file.parent))]
    del values["build"]
    layers = [Layer(str(file), _rooted(values, file.parent))]
    if number:
        layers.append(Layer(f"{file} [[build]] {number}", _rooted(_spread(builds[number - 1]), file.parent)))
    return layers


def _spread(table: Mapping[str, object]) -> dict[str, object]:
    """One of [[build]] as tables of the file: those that it holds, its model and data, and what is of [build]."""
    spread: dict[str, dict[str, object]] = {}
    for key, value in table.items():
        if key in ("model", "data") and isinstance(value, str):
            spread.setdefault(key, {})["path"] = value
        elif key == "name":
            spread.setdefault("model", {})["name"] = value
        elif isinstance(value, Mapping):
            spread.setdefault(key, {}).update(value)
        else:
            spread.setdefault("build", {})[key] = value
    return dict(spread)


def _named(table: object) -> bool:
    """Whether a table names a file; one that is no table does, wrongly."""
    return bool(table.get("path")) if isinstance(table, Mapping) else True


def _read(path: Path) -> dict[str, object]:
    try:
        return documents.toml(path)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", remedy="Name another file with --config.") from None
    except (OSError, DocumentError) as error:
        raise UsageError(f"{path} cannot be read", str(error), "It must be a TOML file in UTF-8.") from None


def _rooted(values: dict[str, object], folder: Path) -> dict[str, object]:
    for table, key in _PATHS:
        inner = values.get(table)
        if isinstance(inner, dict) and isinstance(inner.get(key), str) and inner[key] and _is_path(inner[key]):
            inner[key] = str(folder / inner[key])
    bench = values.get("bench")
    if isinstance(bench, dict) and isinstance(bench.get("baseline"), str) and (folder / bench["baseline"]).exists():
        bench["baseline"] = str(folder / bench["baseline"])  # else it may be a git ref
    build = values.get("build")
    if isinstance(build, dict) and isinstance(build.get("targets"), list):
        build["targets"] = [_rooted_profile(name, folder) for name in build["targets"]]
    for named in _naming_networks(values):
        network = named.get("network")
        if isinstance(network, str) and network and not is_callable(network):
            named["network"] = str(folder / network)
    return values


def _is_path(text: str) -> bool:
    """Whether a text is a path, and neither a function nor an address that the importer of a plug-in may take."""
    return not is_callable(text) and "://" not in text


def _rooted_profile(name: object, folder: Path) -> object:
    return str(folder / name) if isinstance(name, str) and name.endswith(".toml") else name


def _naming_networks(values: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """The tables that name a network beside [model]: teachers, and the student of every target or of one."""
    targets = values.get("targets")
    holders = [values, *(targets.values() if isinstance(targets, dict) else ())]
    passes = [holder.get("passes") for holder in holders if isinstance(holder, dict)]
    students = [table.get("student") for table in passes if isinstance(table, dict)]
    distill = values.get("distill")
    teachers = distill.get("teachers") if isinstance(distill, dict) else None
    named = (*students, *(teachers if isinstance(teachers, list) else ()))
    yield from (table for table in named if isinstance(table, dict))


def _environment_layers(environment: Mapping[str, str]) -> list[Layer]:
    layers = []
    for variable, (table, key) in ENVIRONMENT.items():
        if text := environment.get(variable):
            value: object = [name.strip() for name in text.split(",")] if key == "targets" else text
            layers.append(Layer(variable, {table: {key: value}}))
    return layers


def is_callable(path: str) -> bool:
    """Whether a path names a function (module:callable) rather than a file; a Windows drive letter is a file."""
    module, colon, function = path.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _check_preprocess(settings: Settings) -> None:
    for name in ("scale", "mean"):
        value = getattr(settings.preprocess, name)
        if not all(map(math.isfinite, value if isinstance(value, tuple) else (value,))):
            raise UsageError(f"preprocess.{name} holds a number that is not finite")


def _check_lint(settings: Settings) -> None:
    named = [("ignore", code) for code in settings.lint.ignore] + [("allow", code) for code in settings.lint.allow]
    for key, code in named:
        if code not in set(Code):
            raise UsageError(
                f'lint.{key}: no finding is called "{code}"{closest(code, Code)}', f"There are: {', '.join(Code)}."
            )


def _check_metric(settings: Settings) -> None:
    """The name of a Keras metric gets its prefix in `_with_prefix`; all others must be known here."""
    asked = settings.metric
    known = (AUTO, *MetricKind)
    is_keras = asked.name.startswith(KERAS)
    if asked.name not in known and not is_callable(asked.name) and not is_keras:
        there = (*known, *plugins.names(plugins.Group.METRICS))
        if asked.name not in there:
            raise UsageError(
                f'no metric is called "{asked.name}"{closest(asked.name, there)}',
                f"There are: {', '.join(there)}, Keras metrics by class (F1Score), and any module:callable.",
            )
    if asked.target not in (LABELS, INPUT):
        raise UsageError(
            f'[metric] target is "{asked.target}"{closest(asked.target, (LABELS, INPUT))}',
            remedy=f'Write "{LABELS}", or "{INPUT}" to compare outputs with the input.',
        )
    for key, value in (("threshold", asked.threshold), ("ignore", asked.ignore)):
        if isinstance(value, str) and value != AUTO:
            raise UsageError(f'[metric] {key} is "{value}"', remedy=f'Write a number, or "{AUTO}".')
    if asked.options and not asked.name.startswith(KERAS):
        raise UsageError(
            "[metric] options are those of a Keras metric",
            f"The metric is {asked.name}.",
            'Name a Keras metric (name = "F1Score"), or leave the options out.',
        )


def _with_prefix(settings: Settings) -> Settings:
    """With the prefix before a name like a class: "F1Score" is "keras:F1Score"."""
    name = settings.metric.name
    if not (name.isidentifier() and name[0].isupper()):
        return settings
    return replace(settings, metric=replace(settings.metric, name=f"{KERAS}{name}"))
