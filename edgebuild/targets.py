"""Target profiles: TOML files, found by name or by path, with `extends` and the user's overrides laid over them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from edgebuild import documents, plugins
from edgebuild.core.budget import Budget, Subject
from edgebuild.core.delivery import Delivery
from edgebuild.core.metric import Metric
from edgebuild.core.passes import PluginPass
from edgebuild.core.target import (
    Accelerator,
    AcceleratorTable,
    Compiler,
    Device,
    InputOutput,
    Interpreter,
    Memory,
    Operators,
    PassTables,
    Runtime,
    Target,
)
from edgebuild.decode import closest, decode
from edgebuild.documents import DocumentError
from edgebuild.errors import UsageError
from edgebuild.gating import budgets
from edgebuild.layering import Layer, Layered, overlay
from edgebuild.plugins import Found, Group
from edgebuild.units import is_binary

_PACKAGE = Path(__file__).parent
# In a wheel the profiles lie inside the package; in a checkout (and an editable install) at its top level.
_PLACES = (_PACKAGE.parent / "targets", _PACKAGE / "_targets")
_RUNTIME = "runtime"
_EXTENDS = "extends"
_PASSES = "passes"
_PASS_DEFAULTS = _PACKAGE / "pass_defaults.toml"
_OFF = "off"
# What the origin of a limit begins with that is the size of a device's memory.
OF_MEMORY = "memory."

P = TypeVar("P", bound=msgspec.Struct)


class _Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A profile as it is written, after `extends` has been followed."""

    description: str
    runtime: Runtime
    io: InputOutput
    operators: Operators
    passes: PassTables
    memory: Memory = Memory()
    accelerator: AcceleratorTable | None = None
    delivery: Delivery = Delivery()
    device: Device | None = None
    budgets: dict[str, object] = {}
    sources: dict[str, str] = {}


class ResolvedTarget(NamedTuple):
    """A target with its merged values and where each came from, for `--explain` and `edgebuild targets NAME`."""

    target: Target
    layered: Layered


def folder() -> Path:
    """The folder of the profiles that edgebuild brings along."""
    for place in _PLACES:
        if (place / "arm64.toml").is_file():
            return place
    raise AssertionError("edgebuild was installed without its target profiles")


def called(name: str) -> str:
    """What a target is called, as its folder is: by its own name, or by the file of its profile."""
    return Path(name).stem if name.endswith(".toml") else name


def names() -> list[str]:
    """The names of all profiles that edgebuild brings along, sorted."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def origins() -> frozenset[str]:
    """What settings that come from the profiles that edgebuild brings along name as their origin."""
    return frozenset(_origin(folder() / f"{name}.toml") for name in names())


def load(name: str, metric: Metric, overrides: Sequence[Layer] = ()) -> ResolvedTarget:
    """Read a profile.

    Args:
        name: of a profile that edgebuild brings along, or the path of a TOML file (ending in .toml).
        metric: the score in whose unit budgets on accuracy are read.
        overrides: layers over the profile, each shaped like a profile.

    Raises:
        UsageError: no such profile, an unknown key, a value that cannot be read, or profiles that extend each other.
    """
    layers = _with_kernels([*_chain(name), *overrides])
    offers = _offers(layers)
    layered = _overlaid(layers, offers)
    plugged = tuple(_plugged(kind, found, layered) for kind, found in offers.items() if kind in _asked_passes(layered))
    rest = _without(layered, offers)
    profile = decode(_Profile, rest, f"target {name}")
    table = _below(layered, "budgets")
    target = Target(
        name=Path(name).stem if name.endswith(".toml") else name,
        description=profile.description,
        runtime=profile.runtime,
        io=profile.io,
        operators=profile.operators,
        passes=profile.passes,
        plugged=plugged,
        memory=profile.memory,
        accelerator=accelerator(profile.accelerator) if profile.accelerator is not None else None,
        delivery=profile.delivery,
        device=profile.device,
        budgets=_within_memory(budgets.read(table, metric), table, profile, layered),
        sources=profile.sources,
    )
    return ResolvedTarget(target, layered)


def accelerator(table: AcceleratorTable) -> Accelerator:
    """With what compiles for it; raises UsageError where that is not there."""
    if table.compiler in set(Compiler):
        return Accelerator.of(table)
    offer, plugin = plugins.require(Group.COMPILERS, table.compiler)
    return Accelerator.of(table, (plugin, offer.tells))


def default_pass(kind: type[P]) -> P:
    """A pass with the settings that it has where a profile asks for it and says nothing."""
    table = _read(_PASS_DEFAULTS)[str(kind.__struct_config__.tag)]
    assert isinstance(table, Mapping), "the file has a table for each pass"
    return decode(kind, overlay([Layer("default", table)]), _PASS_DEFAULTS.name)


def _with_kernels(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, below them the kernels of the runtime that is named last.

    Kernels that were set for a runtime named before it are left out with that.
    """
    kept: list[Layer] = []
    name: object = None
    for layer in layers:
        runtime = layer.values.get(_RUNTIME)
        named = runtime.get("name", name) if isinstance(runtime, Mapping) else name
        if named != name and named in list(Interpreter):  # decoding refuses others, and need not miss kernels as well
            kept, name = [_without_kernels(each) for each in kept], named
        kept.append(layer)
    if name is None:
        return kept
    own = {_RUNTIME: {"kernels": str(Interpreter(str(name)).known.kernels)}}
    return [Layer(f"runtime {name}", own), *kept]


def _without_kernels(layer: Layer) -> Layer:
    runtime = layer.values.get(_RUNTIME)
    if not isinstance(runtime, Mapping):
        return layer
    kept = {key: value for key, value in runtime.items() if key != "kernels"}
    return Layer(layer.origin, {**layer.values, _RUNTIME: kept})


def _offers(layers: Sequence[Layer]) -> dict[str, Found]:
    """The passes of plug-ins that layers speak of; raises UsageError where one cannot be used."""
    tables = (layer.values.get(_PASSES) for layer in layers)
    named = dict.fromkeys(kind for table in tables if isinstance(table, Mapping) for kind in table)
    others = [str(kind) for kind in named if kind not in plugins.built_in(Group.PASSES)]
    found = {kind: plugins.find(Group.PASSES, kind) for kind in others}
    return {kind: item for kind, item in found.items() if item is not None}


def _asked_passes(layered: Layered) -> Mapping[str, object]:
    passes = layered.values.get(_PASSES)
    return passes if isinstance(passes, Mapping) else {}


def _plugged(kind: str, found: Found, layered: Layered) -> PluginPass:
    """A pass of a plug-in with the settings that layers give it."""
    path = f"{_PASSES}.{kind}"
    settings = decode(found.offer.settings, _below(_below(layered, _PASSES), kind), path)
    asked: PluginPass = found.offer.asked(found.plugin, settings)
    return asked


def _without(layered: Layered, offers: Collection[str]) -> Layered:
    """The tree without the tables of plug-ins."""
    kept = {kind: table for kind, table in _asked_passes(layered).items() if kind not in offers}
    return Layered({**layered.values, _PASSES: kept} if offers else layered.values, layered.origins)


def _overlaid(layers: Sequence[Layer], offers: Collection[str]) -> Layered:
    """The layers over each other, and the defaults of the passes that they ask for below them all."""
    defaults = {**_read(_PASS_DEFAULTS), **{kind: {} for kind in offers}}
    asked = {kind: table for kind, table in defaults.items() if _is_asked(kind, layers)}
    layered = overlay(
        [Layer("default", {_PASSES: asked}), *(_without_switches(layer, defaults, asked) for layer in layers)]
    )
    layered.values.pop(_EXTENDS, None)
    layered.origins.pop(_EXTENDS, None)
    return layered


def _is_asked(kind: str, layers: Sequence[Layer]) -> bool:
    """Whether the last layer that speaks of a pass does not switch it off."""
    passes = [layer.values.get(_PASSES) for layer in layers]
    said = [table[kind] for table in passes if isinstance(table, Mapping) and kind in table]
    return bool(said) and said[-1] != _OFF


def _without_switches(layer: Layer, known: Collection[str], asked: Collection[str]) -> Layer:
    """A layer without the passes that are off in the end, and without what switched off those that are not."""
    passes = layer.values.get(_PASSES)
    if not isinstance(passes, Mapping):
        return layer
    kept = {kind: table for kind, table in passes.items() if kind not in known or (kind in asked and table != _OFF)}
    return Layer(layer.origin, {**layer.values, _PASSES: kept})


def _within_memory(
    promised: tuple[Budget, ...], table: Layered, profile: _Profile, layered: Layered
) -> tuple[Budget, ...]:
    """The budgets, none of them beyond the memory of a microcontroller, which has no other.

    A subject that was set to "off" stays off.
    """
    if not profile.runtime.name.is_micro:
        return promised
    memories = {
        Subject.SIZE: ("memory.flash", profile.memory.flash),
        Subject.FLASH: ("memory.flash", profile.memory.flash),
        Subject.ACTIVATIONS: ("memory.ram", profile.memory.ram),
        # Beside an NPU the compiler plans the memory, and TensorFlow Lite Micro cannot be asked on this machine.
        Subject.NPU_SRAM if profile.accelerator else Subject.ARENA: ("memory.ram", profile.memory.ram),
    }
    kept = list(promised)
    for subject, (path, size) in memories.items():
        absolute = [budget for budget in kept if budget.subject == subject and not budget.of_baseline]
        is_off = budgets.is_off(table.values.get(subject))
        if size == 0:
            origin = layered.origin_of(path)
            raise UsageError(f"{path} is 0 ({origin})", "Nothing fits into no memory.", "Write what the device has.")
        if size is not None and not is_off and all(budget.limit > size for budget in absolute):
            origin = f"{path} in {layered.origin_of(path)}"
            kept = [budget for budget in kept if budget not in absolute]
            binary = is_binary(_below(layered, "memory").values.get(path.rpartition(".")[2]))
            kept.append(Budget(subject=subject, limit=size, unit=subject.unit, binary=binary, origin=origin))
    return tuple(sorted(kept, key=lambda budget: list(Subject).index(budget.subject)))


def _chain(name: str) -> list[Layer]:
    """The layers of a profile, the one that extends nothing first."""
    chain: list[Layer] = []
    seen: list[str] = []
    chained: list[Path] = []
    following: str | None = name
    beside: Path | None = None
    while following is not None:
        path = _find(following, beside, chained)
        if path in chained:
            raise UsageError(f"target {name}: its profiles extend each other in a circle: {' -> '.join(seen)}")
        seen.append(following)
        chained.append(path)
        values = _read(path)
        chain.insert(0, Layer(_origin(path), values))
        above = values.get(_EXTENDS)
        if above is not None and not isinstance(above, str):
            raise UsageError(f"{path}: extends names one profile, as text")
        following, beside = above, path.parent
    return chain


def _find(name: str, beside: Path | None, chained: Sequence[Path]) -> Path:
    """The file of a profile; one named by another profile is looked for beside that first.

    A user's arm64.toml may extend arm64: the file that says so, the last of those `chained`, is not the one meant.
    """
    if name.endswith(".toml"):
        path = Path(name) if beside is None else beside / name
        if not re.fullmatch(r"\w[\w .+-]*", path.stem):
            raise UsageError(
                f"{path.name!r} cannot be the file of a target profile",
                "Its name without .toml is a folder's, which builds write into.",
                "Use letters, digits, and any of _ . + -, a letter, a digit or _ first.",
            )
        if not path.is_file():
            raise UsageError(
                f"no target profile {name}", "There is no such file.", "edgebuild targets lists the names."
            )
        return path
    candidates = ([beside] if beside else []) + [folder()]
    for place in candidates:
        path = place / f"{name}.toml"
        if path.is_file() and path not in chained[-1:]:
            return path
    raise UsageError(
        f'no target is called "{name}"{closest(name, names())}',
        remedy="edgebuild targets lists them; a profile of your own is named by its path, ending in .toml.",
    )


def _read(path: Path) -> dict[str, object]:
    try:
        return documents.toml(path)
    except (OSError, DocumentError) as error:
        raise UsageError(f"{path} cannot be read", str(error), "It must be a TOML file in UTF-8.") from None


def _origin(path: Path) -> str:
    return f"targets/{path.name}" if path.parent == folder() else str(path)


def _below(layered: Layered, key: str) -> Layered:
    """One table of a layered tree, with its own origins."""
    values = layered.values.get(key, {})
    prefix = f"{key}."
    origins = {path.removeprefix(prefix): o for path, o in layered.origins.items() if path.startswith(prefix)}
    return Layered(dict(values) if isinstance(values, dict) else {}, origins)
