"""The worker's end of `edgebuild.execution.cluster`: does actions that come as JSON, with inputs that come as bytes.

All workers of a machine that serve one session share a folder, where each input is unpacked once. Each worker process
keeps its children from one action to the next.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from edgebuild import hashing, host
from edgebuild.core.action import Action, Kind, Ref
from edgebuild.core.settings import LimitSettings
from edgebuild.errors import BY_EXIT_CODE, EdgebuildError, StepError
from edgebuild.execution import code, keys, packing
from edgebuild.execution.children import Children
from edgebuild.execution.executor import Work
from edgebuild.process import ChildBugError, ChildDiedError, ChildSlowError

_PREFIX = "edgebuild-node-"
_LOCK = "lock"
# Ray sets it by the cores that it gives a worker, and kernels may sum in another order then.
_THREADS = "OMP_NUM_THREADS"

# Inputs by their references: the chunks of each, as whatever `Fetch` takes.
Inputs = Mapping[str, Iterable[Any]]
Fetch = Callable[[Any], bytes]
Say = Callable[[int, str], object]


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """An action for another machine.

    Attributes:
        number: that the session knows it by.
        session: a random name of it.
        kind: of the action.
        settings: its settings, with files as references.
        kinds: the module whose KINDS has the kind.
        table: the module whose JOBS children do.
        limits: what an action may take.
        made_of: what decides its result beside settings and inputs, see `made_of`.
        threads: of OpenMP, as the session's own environment says; None where that is silent.
    """

    number: int
    session: str
    kind: str
    settings: msgspec.Raw
    kinds: str
    table: str
    limits: LimitSettings
    made_of: dict[str, str]
    threads: str | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of it: a result, or an error by its kind.

    Attributes:
        result: as JSON.
        failure: the exit code of an EdgebuildError, with what, why and remedy.
        died: whether the child's process ended, and that is the failure.
        slow: whether it was ended since it took too long.
        bug: the traceback of what nothing expects.
        differs: what the worker has otherwise than the session: (name, the session's, the worker's), empty for none.
        worker: the machine and the process.
    """

    result: msgspec.Raw = msgspec.Raw()
    failure: tuple[int, str, str, str] | None = None
    died: bool = False
    slow: bool = False
    bug: str | None = None
    differs: tuple[tuple[str, str, str], ...] = ()
    worker: str = ""


@functools.cache
def made_of(kind: Kind[Any, Any]) -> dict[str, str]:
    """Versions and code that decide what an action of a kind makes, and how it is sent; by names for people."""
    modules = (*keys.modules(kind), __name__)
    return {**host.versions(("edgebuild", *kind.packages)), "the code of edgebuild": code.digest(*modules)}


def reply(error: Exception) -> Reply:
    """An error as a reply."""
    if isinstance(error, ChildBugError):
        return Reply(bug=str(error))
    if not isinstance(error, EdgebuildError):
        error = StepError("a worker of the cluster could not read or write a file", str(error), _ROOM)
    died, slow = isinstance(error, ChildDiedError), isinstance(error, ChildSlowError)
    return Reply(failure=(int(error.exit_code), error.what, error.why, error.remedy), died=died, slow=slow)


_ROOM = "Check space and rights in the folder for temporary files of its machine, or set TMPDIR there."


def error_of(failed: Reply) -> Exception | None:
    """The error in a reply, of its own kind."""
    if failed.bug is not None:
        return ChildBugError(failed.bug)
    if failed.failure is None:
        return None
    exit_code, *words = failed.failure
    if failed.slow or failed.died:
        return (ChildSlowError if failed.slow else ChildDiedError)(*words)
    return BY_EXIT_CODE.get(exit_code, StepError)(*words)


def perform(data: bytes, inputs: Inputs, fetch: Fetch, say: Say) -> tuple[bytes, list[bytes]]:
    """Do an action.

    Args:
        data: the errand as JSON.
        inputs: all that the action reads.
        fetch: gets one chunk of an input.
        say: takes the errand's number and what there is to tell of progress.

    Returns:
        The reply as JSON, and the packed folder of the files that the action left.
    """
    errand = msgspec.json.decode(data, type=Errand)
    kind: Kind[Any, Any] = import_module(errand.kinds).KINDS[errand.kind]
    worker = f"{os.uname().nodename}, process {os.getpid()}"
    differs = differences(errand.made_of, made_of(kind))
    if differs:
        return msgspec.json.encode(Reply(differs=differs, worker=worker)), []
    _set(_THREADS, errand.threads)
    try:
        result, chunks = _desk(errand).perform(errand, kind, inputs, fetch, say)
    except (EdgebuildError, ChildBugError, OSError) as error:
        return msgspec.json.encode(msgspec.structs.replace(reply(error), worker=worker)), []
    return msgspec.json.encode(Reply(result=msgspec.Raw(result), worker=worker)), chunks


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    """What two sides have otherwise: its name, and what each has; empty where one lacks it."""
    names = dict.fromkeys((*wanted, *found))
    both = ((name, wanted.get(name, ""), found.get(name, "")) for name in names)
    return tuple(item for item in both if item[1] != item[2])


class Desk:
    """What a worker process has for one session: a folder that it shares with others of its machine, and children."""

    def __init__(self, session: str, limits: LimitSettings, table: str) -> None:
        self.session = session
        sweep()
        self._folder, self._lock = _shared_folder(session)
        self._own = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._folder))
        self._children = Children(self._own, limits, (), table)

    def perform(
        self,
        errand: Errand,
        kind: Kind[Any, Any],
        inputs: Inputs,
        fetch: Fetch,
        say: Say,
    ) -> tuple[bytes, list[bytes]]:
        """Do an action, and return its result with what it left; raises as Children do."""
        settings = msgspec.json.decode(errand.settings, type=kind.settings)
        action: Action[Any] = Action(kind=errand.kind, settings=settings)
        places = {ref: self._place(ref, inputs[str(ref)], fetch) for ref in action.inputs()}
        out = Path(tempfile.mkdtemp(prefix="out", dir=self._own))

        def tell(text: str) -> None:
            say(errand.number, text)

        try:
            work = Work(action, kind, out, places.__getitem__, tell)
            return self._children.perform(work), packing.packed(out)
        finally:
            shutil.rmtree(out, ignore_errors=True)

    def close(self) -> None:
        """End the children; the last of a machine removes the folder."""
        self._children.close()
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)
        _remove_unless_used(self._folder)

    def _place(self, ref: Ref, chunks: Iterable[Any], fetch: Fetch) -> Path:
        """Where an input lies on this machine, unpacked by whoever needs it first."""
        place = self._folder / hashing.of_bytes(str(ref).encode())
        if not place.exists():
            with _locked(place.with_suffix(".lock")):
                if not place.exists():
                    self._unpack(place, chunks, fetch)
        (found,) = place.iterdir()
        return found

    def _unpack(self, place: Path, chunks: Iterable[Any], fetch: Fetch) -> None:
        made = Path(tempfile.mkdtemp(prefix="in", dir=self._own))
        packing.unpack(map(fetch, chunks), made)
        for path in made.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        made.rename(place)


_desks: list[Desk] = []  # of this process: one, or none yet


def _desk(errand: Errand) -> Desk:
    if _desks and _desks[0].session != errand.session:
        leave()
    if not _desks:
        _desks.append(Desk(errand.session, errand.limits, errand.table))
        atexit.register(leave)
    return _desks[0]


def leave() -> None:
    """End what this process has for a session."""
    while _desks:
        _desks.pop().close()


def _shared_folder(session: str) -> tuple[Path, int]:
    """The folder of a session on this machine, and a descriptor that says that it is in use as long as it is open."""
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{session}"
    while True:
        # Its name is random: nobody else can have made it before.
        folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(lock, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(lock).st_ino == (folder / _LOCK).stat().st_ino:
                    return folder, lock
            os.close(lock)  # it was swept meanwhile


def sweep() -> None:
    """Remove what workers left that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                _remove_unless_used(folder)


def _remove_unless_used(folder: Path) -> None:
    with contextlib.suppress(OSError):
        lock = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


class Ears:
    """An actor that takes what workers tell of their progress until the session asks for it."""

    def __init__(self) -> None:
        self._said: list[tuple[int, str]] = []
        self._is_new = asyncio.Event()

    async def say(self, number: int, text: str) -> None:
        """Take what is told of an errand."""
        self._said.append((number, text))
        self._is_new.set()

    async def heard(self) -> list[tuple[int, str]]:
        """All that was said since the last call; waits for something."""
        await self._is_new.wait()
        said, self._said = self._said, []
        self._is_new.clear()
        return said
