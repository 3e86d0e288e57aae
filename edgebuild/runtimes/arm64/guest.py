"""The program inside the emulated arm64: imports LiteRT once, and forks a fresh process for each artifact.

Emulated, the imports take some seconds; a fork takes none, and all forks start from the same state. Each of them is
`places.runner`, and counts instructions where that reads a clock. This program knows nothing of edgebuild and keeps to
Python 3.9: it is run by the Python of the emulated system.

Run as `guest.py SOCKET COUNTS`: the descriptor of a socket, and the file that QEMU's plugin writes counts to. On the
socket it first sends {"ready": true} or {"missing": text}. Then it takes, and answers in turn:

    {"start": number} with three descriptors (requests, answers, messages) -> {"started": process}
    {"end": process}                                                     -> {"ended": exit code, negative for a signal}

and ends with its input.
"""

from __future__ import annotations

import gc
import importlib
import json
import mmap
import os
import signal
import socket
import sys
from typing import Any

# As in count.c: a seek to there writes the count of this thread into a slot of COUNTS. The null device takes any.
_MARK = 0x65646765000000
_SLOTS = 512
_SLOT_BYTES = 8
# Python 3.11 and newer change code that has run for a while into faster code; after so many rounds it stays as it is.
_ROUNDS = 64
_MOST_BYTES = 1 << 12


class Counter:
    """Instructions that this thread executes between two marks.

    Args:
        counts: the file that the plugin writes to.
    """

    def __init__(self, counts: str) -> None:
        with open(counts, "r+b") as file:  # noqa: PTH123 - a Path would only be imported for it
            self._counts = memoryview(mmap.mmap(file.fileno(), _SLOTS * _SLOT_BYTES)).cast("Q")
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._own = 0
        self.use(0)
        for _ in range(_ROUNDS):
            start = self.start()
            own = self.end() - start
        # What lies between two marks with nothing between them.
        self._own = own

    def use(self, number: int) -> None:
        """Count in slots that no other process uses, those of this number."""
        self._slots = 2 * number, 2 * number + 1
        self._places = tuple(_MARK + _SLOT_BYTES * slot for slot in self._slots)

    def start(self) -> int:
        """Mark the start. Its count is read at the end: a number in between would now and then cost more memory."""
        os.lseek(self._null, self._places[0], os.SEEK_SET)
        return 0

    def end(self) -> int:
        """Mark the end, and tell the instructions since the start, less what the marks take themselves."""
        os.lseek(self._null, self._places[1], os.SEEK_SET)
        return self._counts[self._slots[1]] - self._counts[self._slots[0]] - self._own


def main() -> None:
    """Serve until the socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        runner: Any = importlib.import_module("runner")
        importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        _send(control, {"missing": str(error)})
        return
    counter = Counter(sys.argv[2])
    runner.mark_start, runner.mark_end = counter.start, counter.end
    # What is alive now stays so: collecting it again in each process would only copy memory.
    gc.collect()
    gc.freeze()
    _send(control, {"ready": True})
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, 3)
        if not message:
            os._exit(0)  # emulated, Python takes a second to tidy up
        ((name, value),) = json.loads(message).items()
        if name == "start":
            process = os.fork()
            if process == 0:
                control.close()
                counter.use(value)
                _become(runner, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            _send(control, {"started": process})
        else:
            _, status = os.waitpid(value, 0)
            _send(control, {"ended": os.waitstatus_to_exitcode(status)})


def _become(runner: Any, descriptors: list[int]) -> None:
    """Answer as `runner` does over the given descriptors; never returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    try:
        runner.main()
    finally:
        os._exit(0)


def _send(control: socket.socket, message: dict[str, object]) -> None:
    control.sendall(json.dumps(message).encode())


if __name__ == "__main__":
    main()
