"""What only one process of this machine may use at a time: its timer, a board. Held by locked files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgebuild import hashing
from edgebuild.errors import UnavailableError

# How often it is looked whether what others hold is free.
LOOK_EVERY_S = 0.05
# No link is followed, and a pipe that another user put there is not waited for: nobody may ever write to it.
_OPENS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK

Say = Callable[[str], None]


def try_to_hold(names: tuple[str, ...]) -> contextlib.ExitStack | str:
    """Hold all of these until the stack is closed; or the name of one that another process or thread holds.

    Raises:
        UnavailableError: the file to lock cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        for name in names:
            descriptor = _open(name)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return name
        return stack.pop_all()


@contextlib.contextmanager
def held(names: tuple[str, ...], say: Say) -> Iterator[None]:
    """Hold all of these, whoever else of this machine wants them, as long as this lasts; `say` is told of a wait.

    Raises:
        UnavailableError: the file to lock cannot be opened.
    """
    told = False
    while isinstance(found := try_to_hold(names), str):
        if not told:
            say(waiting(found))
            told = True
        time.sleep(LOOK_EVERY_S)
    with found:
        yield


def waiting(name: str) -> str:
    """What is said where another holds something."""
    return f"wait for the {name}, which another call of edgebuild uses"


def _open(name: str) -> int:
    """A descriptor of the file for a name, which all users of the machine share; no link is followed to it."""
    path = Path(tempfile.gettempdir()) / f"edgebuild-{hashing.of_bytes(name.encode())[:16]}.lock"
    try:
        # Reading is enough for a lock; in folders that all may write to Linux refuses to create what another has made.
        return os.open(path, _OPENS)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        descriptor = os.open(path, _OPENS | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unusable(path, error) from None
    return descriptor


def _unusable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"measurements cannot be kept apart: {path} cannot be opened", str(error), "Remove it, or set TMPDIR."
    )
