"""How a build tells what it is doing, whoever listens: a terminal, a log, nobody."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Takes the events of a build in the order they happen, one at a time; several steps may be under way."""

    def step_started(self, title: str) -> None:
        """A step begins that is really done, not found in the store."""

    def step_progressed(self, title: str, text: str) -> None:
        """The step of that title has got further."""

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:
        """A step is done, or its result was found in the store."""

    def step_failed(self, title: str) -> None:
        """The step of that title has come to no result; the error is told elsewhere."""

    def noted(self, text: str) -> None:
        """Something was decided for the user and must be said aloud."""


class Silence:
    """A listener that says nothing."""

    def step_started(self, title: str) -> None:
        """Says nothing."""

    def step_progressed(self, title: str, text: str) -> None:
        """Says nothing."""

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:
        """Says nothing."""

    def step_failed(self, title: str) -> None:
        """Says nothing."""

    def noted(self, text: str) -> None:
        """Says nothing."""
