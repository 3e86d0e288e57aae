"""A build's progress: a moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from edgebuild.cli import output
from edgebuild.core.progress import Listener, Silence
from edgebuild.units import format_seconds

# Where lines stay for good, a step tells of itself at most this often.
_PLAIN_EVERY_S = 5.0
_WORTH_A_TIME_S = 1.0


def listener(*, quiet: bool) -> Listener:
    """Who listens to a build, for the standard error that there is."""
    if quiet:
        return Silence()
    return _Terminal() if sys.stderr.isatty() else _Lines()


class _Lines:
    """Plain lines, for logs."""

    def __init__(self) -> None:
        self._told = 0.0

    def step_started(self, title: str) -> None:
        self._told = time.monotonic()
        output.say(f"- {title}")

    def step_progressed(self, text: str) -> None:
        if time.monotonic() - self._told > _PLAIN_EVERY_S:
            self._told = time.monotonic()
            output.say(f"  {text}")

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:
        if reused:
            output.say(f"- {title}: kept from an earlier build")
        elif time_s >= _WORTH_A_TIME_S:
            output.say(f"  done in {format_seconds(time_s)}")

    def step_failed(self) -> None:
        pass

    def noted(self, text: str) -> None:
        output.say(f"  {text}")


class _Terminal:
    """One moving line for the step under way, and a line for each that is done."""

    def __init__(self) -> None:
        from rich.console import Console  # 100 ms that logs need not pay

        self._console = Console(stderr=True, highlight=False)
        self._status: Any = None
        self._title = ""

    def step_started(self, title: str) -> None:
        self._title = title
        self._status = self._console.status(title)
        self._status.start()

    def step_progressed(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"{self._title}: {text}")

    def step_failed(self) -> None:
        self._stop()

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:
        self._stop()
        self._console.print(f"- {title}[dim]: {'kept' if reused else format_seconds(time_s)}[/dim]")

    def noted(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False)

    def _stop(self) -> None:
        """Take the moving line away, and give the terminal its cursor back."""
        if self._status is not None:
            self._status.stop()
            self._status = None
