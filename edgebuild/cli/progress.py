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
        self._last = ""  # the title of the step that the last line was about

    def step_started(self, title: str) -> None:
        self._told = time.monotonic()
        self._last = title
        output.say(f"- {title}")

    def step_progressed(self, title: str, text: str) -> None:
        if time.monotonic() - self._told > _PLAIN_EVERY_S:
            self._told = time.monotonic()
            self._add(title, text)

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:
        if reused:
            self._last = title
            output.say(f"- {title}: kept from an earlier build")
        elif time_s >= _WORTH_A_TIME_S:
            self._add(title, f"done in {format_seconds(time_s)}")

    def step_failed(self, title: str) -> None:
        pass

    def noted(self, text: str) -> None:
        output.say(f"  {text}")

    def _add(self, title: str, text: str) -> None:
        """Below the line of the step, or with its title where other steps have come between."""
        output.say(f"  {text}" if title == self._last else f"- {title}: {text}")
        self._last = title


class _Terminal:
    """One moving line for the step under way, and a line for each that is done."""

    def __init__(self) -> None:
        from rich.console import Console  # 100 ms that logs need not pay
        from rich.markup import escape

        self._escaped = escape
        self._console = Console(stderr=True, highlight=False)
        self._status: Any = None
        self._under_way: dict[str, str] = {}  # what is said of each step, by its title

    def step_started(self, title: str) -> None:
        self._under_way[title] = title
        self._show()

    def step_progressed(self, title: str, text: str) -> None:
        if title in self._under_way:
            self._under_way[title] = f"{title}: {text}"
            self._show()

    def step_failed(self, title: str) -> None:
        self._over(title)

    def step_finished(self, title: str, time_s: float, *, reused: bool) -> None:
        self._over(title)
        self._console.print(f"- {self._plain(title)}[dim]: {'kept' if reused else format_seconds(time_s)}[/dim]")

    def noted(self, text: str) -> None:
        self._console.print(f"  {self._plain(text)}")

    def _plain(self, text: str) -> str:
        """A text in which nothing is markup, nor moves the cursor: names in it come from files of others."""
        return self._escaped(output.shown(text))

    def _show(self) -> None:
        """One moving line of all that is under way."""
        text = self._plain("; ".join(self._under_way.values()))
        if self._status is None:
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _over(self, title: str) -> None:
        """Take a step off the moving line; with the last one give the terminal its cursor back."""
        self._under_way.pop(title, None)
        if self._under_way:
            self._show()
        elif self._status is not None:
            self._status.stop()
            self._status = None
