"""The key of an action: a hash of all that decides its result. Nobody writes one by hand."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from edgebuild import hashing, host
from edgebuild.core.action import Action, Kind, parse, with_files
from edgebuild.execution import code


def key(action: Action[Any], kind: Kind[Any, Any]) -> str:
    """The key of an action of a kind.

    It is made of the settings, with files by what they are, of the code that the kind runs with all that it imports, of
    the versions of the packages that it declares, and of this machine where the result depends on that.
    """
    return hashing.of_data(
        [
            action.kind,
            with_files(action.settings, _identity),
            code.digest(*modules(kind)),
            _versions(kind.packages),
            host.identity() if kind.of_host else "",
        ]
    )


def of_result(action: Action[Any], result: bytes) -> str:
    """The key of what is done each time: it is kept under its result, which holds the digests of what it made."""
    return hashing.of_data([action.kind, msgspec.Raw(result)])


def modules(kind: Kind[Any, Any]) -> tuple[str, str]:
    """What a kind is made of: the module that does it, and that which says what it takes and answers."""
    return kind.run.partition(":")[0], kind.settings.__module__


def _identity(text: str) -> str:
    ref = parse(text)
    return ref.identity if ref is not None else text


@functools.cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return host.versions(packages)
