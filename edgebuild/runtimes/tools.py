"""Vendors' compilers: whether and how they are installed, and run from a child so that its limits hold for them too."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgebuild import host

_LAST_LINES = 6
EDGETPU = "edgetpu_compiler"
# Coral's own instructions: Debian's package, from Coral's repository.
EDGETPU_INSTALL = "sudo apt-get install edgetpu-compiler (x86-64 Debian or Ubuntu; see coral.ai/docs/edgetpu/compiler)"
VELA_INSTALL = "pip install 'edgebuild[ethosu]'"
_VELA = "ethos-u-vela"


class Ran(NamedTuple):
    """How a tool ended: its exit code (negative for a signal), and both its streams in the order they were written."""

    code: int
    text: str

    @property
    def ending(self) -> str:
        """The last lines that it printed, and what ended it where a signal did."""
        lines = [line.rstrip() for line in self.text.splitlines() if line.strip()][-_LAST_LINES:]
        if self.code < 0:
            lines.append(f"It was ended by {signal.Signals(-self.code).name}.")
        return "\n".join(lines)


def run(command: Sequence[str | Path], folder: Path, memory_bytes: int) -> Ran:
    """Run a tool in a folder and wait for it; the time it may take is the limit of the child that calls this.

    This process is held to the limit of memory as well: a child that runs a tool does nothing else.

    Args:
        command: the tool and its arguments.
        folder: where it works.
        memory_bytes: of address space that it may take; 0 for no limit.

    Raises:
        OSError: it cannot be started.
    """
    if memory_bytes:
        _limit_memory(memory_bytes)
    ended = subprocess.run(
        [os.fspath(part) for part in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return Ran(ended.returncode, ended.stdout.decode("utf-8", "replace"))


def _limit_memory(memory_bytes: int) -> None:
    _, hardest = resource.getrlimit(resource.RLIMIT_AS)
    allowed = memory_bytes if hardest == resource.RLIM_INFINITY else min(memory_bytes, hardest)
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit and refuses to set it
        resource.setrlimit(resource.RLIMIT_AS, (allowed, hardest))


def edgetpu() -> str | None:
    """The path of the Edge TPU compiler; None where it is not installed."""
    return shutil.which(EDGETPU)


def vela() -> str | None:
    """The version of Vela; None where it is not installed. It is not imported."""
    return host.versions([_VELA]).get(_VELA)
