"""A tree of plain values read into a frozen struct, with all of its mistakes found at once."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from edgebuild.errors import UsageError
from edgebuild.layering import Layered
from edgebuild.units import UnitError

T = TypeVar("T", bound=msgspec.Struct)


def decode(kind: type[T], layered: Layered, what: str) -> T:
    """Read merged settings into a struct.

    A field annotated `Annotated[float, parse]` is read by `parse`, so that units are required where it asks for them.

    Raises:
        UsageError: an unknown key (with the closest known one), a missing one, or a value of the wrong type or without
            its unit; all of them in one message, each with where it was written.
    """
    problems: list[str] = []
    value = _struct(kind, layered.values, "", layered, problems)
    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise UsageError(f"{what}: {count}", "\n".join(problems), "Correct it and run the command again.")
    assert value is not None
    return value


def closest(word: str, known: typing.Iterable[str]) -> str:
    """A suggestion such as `; did you mean "mcu"?`, or an empty string where nothing is close."""
    import difflib  # only mistakes pay for it

    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f'; did you mean "{match[0]}"?' if match else ""


def require_known(setting: str, names: typing.Iterable[str], known: typing.Collection[str], owner: str) -> None:
    """Refuse names of layers that a network (`owner`) does not have; raises UsageError."""
    for name in names:
        if name not in known:
            near = closest(name, known)
            raise UsageError(f'{setting} names the layer "{name}", which {owner} does not have{near}')


def _struct(
    kind: type[T], values: Mapping[str, object], prefix: str, layered: Layered, problems: list[str]
) -> T | None:
    hints = typing.get_type_hints(kind, include_extras=True)
    before = len(problems)
    for key in values:
        if key not in hints:
            problems.append(_say(layered, f"{prefix}{key}", f"is not a known key{closest(key, hints)}"))
    fields = {}
    for field in msgspec.structs.fields(kind):
        path = f"{prefix}{field.name}"
        if field.name in values:
            fields[field.name] = _value(hints[field.name], values[field.name], path, layered, problems)
        elif field.required:
            problems.append(_say(layered, path, "is missing"))
    return kind(**fields) if len(problems) == before else None


def _value(hint: object, value: object, path: str, layered: Layered, problems: list[str]) -> object:
    """The value of one field; None, and a problem noted, where it cannot be read."""
    nested = next((option for option in _options(hint) if _is_struct(option)), None)
    if nested is not None and isinstance(value, Mapping):
        return _struct(nested, value, f"{path}.", layered, problems)
    if typing.get_origin(hint) is dict and isinstance(value, Mapping):
        inner = typing.get_args(hint)[1]
        return {str(key): _value(inner, item, f"{path}.{key}", layered, problems) for key, item in value.items()}
    try:
        for option in _options(hint):
            parse = typing.get_args(option)[1] if typing.get_origin(option) is typing.Annotated else None
            if callable(parse) and not isinstance(value, list):
                return parse(value)
        return msgspec.convert(value, hint)
    except (UnitError, msgspec.ValidationError) as error:
        problems.append(_say(layered, path, _in_words(error, hint)))
        return None


def _options(hint: object) -> Iterator[typing.Any]:
    """The members of a union, or the type itself."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        yield from typing.get_args(hint)
    else:
        yield hint


def _is_struct(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, msgspec.Struct)


def _in_words(error: Exception, hint: object) -> str:
    text = str(error).removesuffix(" - at `$`")
    choices = [str(member) for option in _options(hint) if hasattr(option, "__members__") for member in option]
    return f"{text}; one of {', '.join(choices)}" if choices else text


def _say(layered: Layered, path: str, problem: str) -> str:
    origin = layered.origin_of(path)
    colon = "" if problem.startswith("is ") else ":"
    return f"{path}{colon} {problem}" + (f" ({origin})" if origin else "")
