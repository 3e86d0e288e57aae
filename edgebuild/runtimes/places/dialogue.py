"""A program that is spoken with over its standard streams, a line at a time and never longer than it may take."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence

_LAST_LINES = 6
# How long a program may take to end once its input has.
_GRACE_S = 10.0


class Dialogue:
    """A program that has been started; what it writes to its standard error is kept for later.

    Args:
        command: the program and its arguments.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
            )
        except OSError:
            self._errors.close()
            raise
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        self._pending = b""
        self._ended: tuple[int, str] | None = None

    def write(self, data: bytes, stall_s: float) -> None:
        """Give it bytes.

        Raises:
            BrokenPipeError: it takes no more, or has been ended.
            TimeoutError: it took none of them for `stall_s` seconds.
        """
        if self._ended is not None:
            raise BrokenPipeError
        left = memoryview(data)
        while left:
            if not select.select([], [self._input], [], stall_s)[1]:
                raise TimeoutError
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(self._input.fileno(), left[: 1 << 16]) :]

    def line(self, time_s: float) -> bytes | None:
        """The next line that it writes, without its end; None where there are no more.

        Raises:
            TimeoutError: there was none within `time_s` seconds.
        """
        deadline = time.monotonic() + time_s
        while b"\n" not in self._pending:
            if self._ended is not None:
                return None
            if not select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            chunk = os.read(self._output.fileno(), 1 << 16)
            if not chunk:
                return None
            self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._ended is not None or self._process.poll() is not None

    def end(self, grace_s: float = _GRACE_S) -> tuple[int, str]:
        """End its input, wait for it and kill it if it does not end; may be called again.

        Returns:
            Its exit code, negative for a signal, and the last lines that it wrote to its standard error.
        """
        if self._ended is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                # This ends its input too. What it still writes is of no use, and must not hold it up.
                self._process.communicate(timeout=grace_s)
            self._process.kill()
            code = self._process.wait()
            self._output.close()
            self._errors.seek(0)
            text = self._errors.read().decode("utf-8", "replace")
            self._errors.close()
            self._ended = code, "\n".join([line.strip() for line in text.splitlines() if line.strip()][-_LAST_LINES:])
        return self._ended
