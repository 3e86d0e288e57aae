"""The standard error as a source: TFLM says its reasons and its figures there and nowhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

_STDERR = 2


class Said:
    """What was written to the standard error while it was kept."""

    text = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Its lines without empty ones."""
        return tuple(line.strip() for line in self.text.splitlines() if line.strip())


@contextlib.contextmanager
def heard() -> Iterator[Said]:
    """Keep what is written to the file descriptor of the standard error; it is there once the block has ended."""
    said = Said()
    sys.stderr.flush()
    before = os.dup(_STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STDERR)
        try:
            yield said
        finally:
            os.dup2(before, _STDERR)
            os.close(before)
            file.seek(0)
            said.text = file.read().decode(errors="replace")
