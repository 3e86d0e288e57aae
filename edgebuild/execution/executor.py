"""What does actions: the Protocol that all executors meet, and what they are given."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edgebuild.core.action import Action, Kind, Ref, parse


class CancelledError(Exception):
    """The build was ended before this was done."""


class Work(NamedTuple):
    """An action to be done now.

    Attributes:
        action: what to do.
        kind: its kind.
        out: an empty folder for the files that it leaves.
        locate: finds a file or a folder on this machine.
        say: takes what there is to tell of its progress.
    """

    action: Action[Any]
    kind: Kind[Any, Any]
    out: Path
    locate: Callable[[Ref], Path]
    say: Callable[[str], None]

    def path(self, text: str) -> str:
        """The path of a file on this machine; other text as it is."""
        ref = parse(text)
        return str(self.locate(ref)) if ref is not None else text


class Executor(Protocol):
    """Does actions, some at a time.

    `width` is how many at most.
    """

    @property
    def width(self) -> int:
        """How many are done at a time."""

    def submit(self, work: Work) -> Future[bytes]:
        """Do an action, now or once there is room for it.

        Returns:
            A future of its result as JSON, which is there once `work.out` holds all its files; or of its error.
        """

    def close(self) -> None:
        """End what is under way and what waits; their futures are of CancelledError."""
