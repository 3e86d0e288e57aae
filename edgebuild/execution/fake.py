"""An executor that answers from a table and starts no process, for tests of what asks for actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgebuild.core.action import Bound, with_files
from edgebuild.execution.executor import Work

_TIME_S, _MEMORY_BYTES = 60.0, 10**9

# Answers an action: takes its settings, with files as paths, and the folder to leave files in.
Answer = Callable[[Any, Path], msgspec.Struct]


class Asked(NamedTuple):
    """An action that was asked for: its kind, its title, and its settings with references."""

    kind: str
    title: str
    settings: Any


class Fake:
    """Answers at once; `asked` are the actions that it was given, in order.

    Args:
        answers: by kinds; what one raises is what the action fails with.
    """

    width = 1

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers
        self.asked: list[Asked] = []

    def submit(self, work: Work) -> Future[bytes]:
        """Answer from the table; an action of a kind that is not in it fails with a KeyError."""
        self.asked.append(Asked(work.action.kind, work.action.title, work.action.settings))
        future: Future[bytes] = Future()
        try:
            settings = with_files(work.action.settings, work.path, Bound(str(work.out), _TIME_S, _MEMORY_BYTES))
            future.set_result(msgspec.json.encode(self._answers[work.action.kind](settings, work.out)))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is under way."""
