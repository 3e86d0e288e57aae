"""Action: one unit of work as a value, which can be kept, sent to another process or machine, and compared.

An action names its inputs by what they are, not by where they lie: fields of its settings that are marked `File` hold
references, which whoever does the work replaces by paths of his own.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, get_args

import msgspec

from edgebuild.core.plugin import Plugin

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

_MARK = "edgebuild"
_INPUT, _OUTPUT, _TIME, _MEMORY = "input", "output", "time limit", "memory limit"
# A file or a folder that an action reads: a reference in an action, a path where it is done; empty for none.
File = Annotated[str, msgspec.Meta(extra={_MARK: _INPUT})]
# The folder that an action leaves files in: empty in an action, a path where it is done.
Out = Annotated[str, msgspec.Meta(extra={_MARK: _OUTPUT})]
# What processes that an action starts may take, seconds and bytes: 0 in an action, said where it is done.
TimeLimit = Annotated[float, msgspec.Meta(extra={_MARK: _TIME})]
MemoryLimit = Annotated[int, msgspec.Meta(extra={_MARK: _MEMORY})]

_PREFIX = "ref:"

# The timer of this machine: whoever holds it measures alone.
HOST_TIMER = "host-timer"


class Ref(NamedTuple):
    """A file or a folder that an action left, or that a user gave.

    Attributes:
        identity: what it is, as a digest of all that its readers can see of it: what they make depends on this alone.
        entry: the store's key of what holds it.
        inside: its path in there; empty for the whole.
    """

    identity: str
    entry: str
    inside: str = ""

    def __str__(self) -> str:
        return f"{_PREFIX}{self.identity}:{self.entry}/{self.inside}"


def parse(text: str) -> Ref | None:
    """A reference as `str` wrote it; None for other text: a path, a function, nothing."""
    if not text.startswith(_PREFIX):
        return None
    identity, _, place = text.removeprefix(_PREFIX).partition(":")
    entry, _, inside = place.partition("/")
    return Ref(identity, entry, inside)


class Tool(NamedTuple):
    """What kind of child does an action.

    Attributes:
        purpose: what it is called in messages: "the converter".
        memory_bytes: what its process usually takes, for networks of usual size.
        is_tensorflow: whether it imports TensorFlow, and may take what steps may; others may take what runs may.
        is_fresh: whether each action gets a process of its own: what it calls leaves traces in one, or is timed in it.
    """

    purpose: str
    memory_bytes: int = 300_000_000
    is_tensorflow: bool = False
    is_fresh: bool = False


class Takes(NamedTuple):
    """What an action takes while it is done.

    Attributes:
        extra_s: seconds beyond the limit of its tool.
        alone: names of what nobody else may use meanwhile, in any process of this machine.
        all_cores: whether it computes on all cores, and its result depends on how far it gets in a time.
    """

    extra_s: float = 0.0
    alone: tuple[str, ...] = ()
    all_cores: bool = False


@dataclass(frozen=True)
class Kind(Generic[S, R]):
    """A kind of action: all that is to be known of it, in one place.

    Attributes:
        name: that nothing else has.
        settings: of an action; all that decides its result, beside code, packages and, if so said, this machine.
        result: what it answers.
        run: "module:function", which takes the settings and a function to tell of progress, and returns the result.
        tool: what kind of child does it.
        title: what it does, for people.
        packages: whose versions decide the result.
        of_host: whether the result depends on the machine that does it.
        takes: what it takes.
        is_known: whether the settings are all that decides: a function whose source is not known may be another one
            tomorrow, so that what it made is found again by its own build alone.
        is_local: whether it needs what only the machine has that asks for it, beside its files: programs, code of the
            user, files that settings name by their paths.
        if_it_crashes: what the user can do where the child's process ends without a word.
    """

    name: str
    settings: type[S]
    result: type[R]
    run: str
    tool: Tool
    title: Callable[[S], str]
    packages: tuple[str, ...] = ()
    of_host: bool = False
    takes: Callable[[S], Takes] = lambda _: Takes()
    is_known: Callable[[S], bool] = lambda _: True
    is_local: Callable[[S], bool] = lambda _: False
    if_it_crashes: str = ""

    def runs_own_code(self, settings: S) -> bool:
        """Whether it runs code of the user or of a plug-in, which may be nowhere else and may leave traces."""
        return self.is_local(settings) or not self.is_known(settings) or names_plugin(settings)

    def action(self, settings: S, *, of: str = "", title: str = "") -> Action[R]:
        """An action of this kind; `of` goes before its title, `title` takes that one's place."""
        said = title or self.title(settings)
        return Action(kind=self.name, settings=settings, title=f"{of}: {said}" if of else said)


class Action(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One unit of work; its title decides nothing."""

    kind: str
    settings: msgspec.Struct
    title: str = ""

    def inputs(self) -> tuple[Ref, ...]:
        """All that it reads."""
        found: list[Ref] = []

        def see(text: str) -> str:
            ref = parse(text)
            found.extend([ref] if ref is not None else [])
            return text

        with_files(self.settings, see)
        return tuple(found)


class Bound(NamedTuple):
    """What an action does not say, since it decides nothing: the folder to write into, and limits in seconds, bytes."""

    out: str
    time_s: float
    memory_bytes: int


def with_files(settings: S, change: Callable[[str], str], bound: Bound | None = None) -> S:
    """Settings with every file, nested ones too, put through `change`, and what is bound where they are done."""
    given = {_OUTPUT: bound.out, _TIME: bound.time_s, _MEMORY: bound.memory_bytes} if bound is not None else {}
    marks = _marks(type(settings))
    changed: dict[str, Any] = {}
    for name in settings.__struct_fields__:
        value, mark = getattr(settings, name), marks.get(name)
        if mark == _INPUT:
            changed[name] = _mapped(value, change)
        elif mark in given:
            changed[name] = given[mark]
        elif isinstance(value, msgspec.Struct):
            changed[name] = with_files(value, change, bound)
    return msgspec.structs.replace(settings, **changed) if changed else settings


def names_plugin(settings: msgspec.Struct) -> bool:
    """Whether settings, nested ones too, name code that another package brings."""
    nested = (getattr(settings, name) for name in settings.__struct_fields__)
    return any(isinstance(item, Plugin) or names_plugin(item) for item in nested if isinstance(item, msgspec.Struct))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, tuple):
        return tuple(map(change, value))
    assert isinstance(value, dict), f"{value!r} is neither a file nor several"
    return {name: change(item) for name, item in value.items()}


_MARKS = {"File": _INPUT, "Out": _OUTPUT, "TimeLimit": _TIME, "MemoryLimit": _MEMORY}
_NAME = re.compile(r"\w+")


@functools.cache
def _marks(settings: type[msgspec.Struct]) -> dict[str, str]:
    """The marks of the fields that have one, or whose type has arguments that have.

    Annotations are read by name where they are text: to evaluate those of all settings takes a sixth of a second.
    """
    marks: dict[str, str] = {}
    for base in reversed(settings.__mro__):
        for field, hint in inspect.get_annotations(base).items():
            mark = _named(hint) if isinstance(hint, str) else _mark(hint)
            if mark:
                marks[field] = mark
    return marks


def _named(hint: str) -> str:
    return next((_MARKS[name] for name in _NAME.findall(hint) if name in _MARKS), "")


def _mark(hint: Any) -> str:
    metas = [meta for meta in getattr(hint, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    own = next((str(meta.extra[_MARK]) for meta in metas if meta.extra and _MARK in meta.extra), "")
    return own or next(filter(None, map(_mark, get_args(hint))), "")
