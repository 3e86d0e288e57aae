"""A process of the guest, spoken with in JSON lines over two pipes and held to its limits."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable
from typing import Any

import msgspec

from edgebuild.process import Limits
from edgebuild.units import format_bytes, format_seconds

# How often memory and time are looked at.
_POLL_S = 0.05
_CHUNK_BYTES = 1 << 16


class BrokenLimitError(Exception):
    """The process took more than it may; the text says of what."""


class Talk:
    """Our ends of the two pipes.

    Args:
        requests: the descriptor that lines are written to.
        answers: the descriptor that they are read from.
        resident_bytes: tells the memory that the process has now.
    """

    def __init__(self, requests: int, answers: int, resident_bytes: Callable[[], int]) -> None:
        self._requests = requests
        self._answers = answers
        self._resident_bytes = resident_bytes
        self._pending = b""
        os.set_blocking(requests, False)

    def ask(self, request: dict[str, Any], limits: Limits) -> dict[str, Any] | None:
        """Send a line and wait for the next; None where the process has ended.

        Raises:
            BrokenLimitError: it takes too long or too much memory.
        """
        deadline = time.monotonic() + limits.time_s
        left = memoryview(msgspec.json.encode(request) + b"\n")
        while b"\n" not in self._pending:
            self._check(limits, deadline)
            readable, writable, _ = select.select(
                [self._answers],
                [self._requests] if left else [],
                [],
                max(0.0, min(_POLL_S, deadline - time.monotonic())),
            )
            if readable:
                chunk = os.read(self._answers, _CHUNK_BYTES)
                if not chunk:
                    return None
                self._pending += chunk
            if writable:
                left = self._write(left)
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(line)
        return answer

    def close(self) -> None:
        """End the conversation."""
        for descriptor in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _write(self, data: memoryview) -> memoryview:
        try:
            return data[os.write(self._requests, data[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:
            return data[:0]  # it has ended: its answers will say so

    def _check(self, limits: Limits, deadline: float) -> None:
        resident = self._resident_bytes()
        if resident > limits.memory_bytes:
            raise BrokenLimitError(
                f"it took {format_bytes(resident)}, more than its {format_bytes(limits.memory_bytes)}"
            )
        if time.monotonic() > deadline:
            raise BrokenLimitError(f"it was not done after {format_seconds(limits.time_s)}")
