"""A POSIX shell on a device, spoken with over ssh or adb: for machines that have little else."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shlex
import time
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from edgebuild.child import Say
from edgebuild.errors import EdgebuildError, StepError, UnavailableError
from edgebuild.runtimes.places.dialogue import Dialogue
from edgebuild.runtimes.places.protocol import busy, waiting
from edgebuild.units import format_seconds

_GREETING_S = 60.0
_STALL_S = 30.0
_AGAIN_S = 0.5
# For what takes no time: making a folder, looking for a program.
_SHORT_S = 30.0
# Both scripts work in the folder `$base` and use `flock` where there is one. However the shell ends, short of a kill,
# it removes what it made: dash forgets the trap for its end where that of a signal just leaves.

# Folders of shells that were killed have a lock that nobody holds, or a number in their name that is of no process.
_ROOM = """
umask 077
mine="$base/edgebuild-$(id -u)-sh"
for old in "$mine".*; do
    [ -d "$old" ] || continue
    if command -v flock >/dev/null
    then (exec 8>>"$old/lock" && flock -n 8)
    else ! kill -0 "${old##*.}"
    fi && rm -rf "$old"
done
room="$mine.$$"
mkdir "$room" &&
    trap 'rm -rf "$room"' EXIT && trap 'rm -rf "$room"; exit 1' HUP INT PIPE TERM &&
    command exec 8>>"$room/lock" && { ! command -v flock >/dev/null || flock -n 8; } &&
    echo "$room"
"""
# The lock is that of `supervisor.queue`: who had it before removes the file, so it may be another by then.
_TURN = """
umask 077
lock="$base/edgebuild-$(id -u).lock"
if command -v flock >/dev/null; then
    command exec 9>>"$lock" && flock -n 9 && [ "$lock" -ef /proc/self/fd/9 ] &&
        trap 'rm -f "$lock"' EXIT && trap 'rm -f "$lock"; exit 1' HUP INT PIPE TERM
fi
"""

# Why the line ended: the exit code and the last words of ssh or adb, and whether the shell had answered before.
Explain = Callable[[int, str, bool], EdgebuildError]


class Ran(NamedTuple):
    """How a command ended, and what it wrote to both its streams."""

    code: int
    text: str


class Shell:
    """A shell that runs one command after another; it cleans up and ends when the line does.

    Args:
        dialogue: with a POSIX shell that reads commands from its input.
        device: its name, for messages.
        explain: why the line ended.

    Raises:
        EdgebuildError: it did not come about, as `explain` has it.
    """

    def __init__(self, dialogue: Dialogue, device: str, explain: Explain) -> None:
        self._dialogue = dialogue
        self._device = device
        self._explain = explain
        self._word = secrets.token_hex(8)
        self._greeted = False
        try:
            self.run(":", _GREETING_S)
        except TimeoutError:
            raise UnavailableError(
                f"{device} let us in and does not answer", f"No shell had started after {format_seconds(_GREETING_S)}."
            ) from None
        self._greeted = True

    def run(self, command: str, time_s: float, data: bytes = b"") -> Ran:
        """Run a command; its input are `data`, of which it has to take all.

        Raises:
            TimeoutError: it was not done after `time_s` seconds; the shell has been ended.
            StepError: the line ended.
        """
        word, deadline = self._word, time.monotonic() + time_s
        # The data follow once the shell has the whole line, and nothing follows them: what it runs may read ahead.
        silent = "" if data else " </dev/null"
        self._write(
            f"echo; echo {word} ready; {{ {command}\n}} 2>&1{silent}; ended=$?; echo; echo {word} $ended\n".encode()
        )
        self._lines_until(f"{word} ready", deadline)
        self._write(data)
        lines = self._lines_until(f"{word} ", deadline)
        code = int(lines.pop().split()[1])
        return Ran(code, "\n".join(lines).strip())

    def room(self, base: str) -> str:
        """Make a private folder that is removed with the shell; those of shells that were killed are removed now.

        Args:
            base: where, as the shell writes it; variables count.

        Raises:
            StepError: it cannot be made.
        """
        ran = self._soon(f"base={base}{_ROOM}")
        if ran.code:
            raise StepError(f"there is no room on {self._device}", ran.text)
        return ran.text.splitlines()[-1]

    def turn(self, base: str, most_s: float, say: Say) -> None:
        """Wait until no other call measures there, and keep others away until the shell ends.

        Args:
            base: where the lock is, as for `room`.
            most_s: how long it may take.
            say: is told where it has to wait.

        Raises:
            UnavailableError: it took longer than `most_s` seconds.
        """
        deadline = time.monotonic() + most_s
        for attempt in itertools.count():
            if not self._soon(f"base={base}{_TURN}").code:
                return
            if attempt == 0:
                say(waiting(self._device))
            if time.monotonic() > deadline:
                self.end()
                raise busy(self._device, most_s)
            time.sleep(_AGAIN_S)

    def find(self, command: str) -> str:
        """The last line that a command writes; empty where it fails or is silent."""
        ran = self._soon(command)
        return "" if ran.code or not ran.text else ran.text.splitlines()[-1].strip()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._dialogue.is_over

    def end(self) -> None:
        """End it, at which it cleans up; may be called again."""
        self._dialogue.end()

    def _soon(self, command: str) -> Ran:
        try:
            return self.run(command, _SHORT_S)
        except TimeoutError:
            raise StepError(f"{self._device} does not answer any more", f"It ran: {command}") from None

    def _write(self, data: bytes) -> None:
        # Where nobody reads any more, the lines that come back end, which is explained there.
        with contextlib.suppress(BrokenPipeError):
            try:
                self._dialogue.write(data, _STALL_S)
            except TimeoutError:
                self.end()
                raise

    def _lines_until(self, start: str, deadline: float) -> list[str]:
        """The lines up to the one that starts so, which is the last."""
        lines: list[str] = []
        while not (lines and lines[-1].startswith(start)):
            try:
                line = self._dialogue.line(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                self.end()
                raise
            if line is None:
                self._gone()
            lines.append(line.decode("utf-8", "replace").rstrip("\r"))
        return lines

    def _gone(self) -> NoReturn:
        code, text = self._dialogue.end()
        raise self._explain(code, text, self._greeted)


def quoted(path: str) -> str:
    """A path as the shell takes it."""
    return shlex.quote(path)
