"""The content-addressed store: what an action made, kept under the hash of everything that decides its result.

An entry is a folder of read-only files with a record. It is made in a temporary place and published by one rename, so
that a reader sees all of it or nothing, and a build that is killed leaves nothing half done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgebuild import documents, hashing
from edgebuild.documents import DocumentError

_RECORD = "record.json"
_ALWAYS_CHECKED_BYTES = 64_000_000


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    result: msgspec.Raw
    time_s: float = 0.0
    sizes_bytes: dict[str, int]
    sha256: dict[str, str]


class Entry(NamedTuple):
    """A published entry.

    Attributes:
        path: its folder.
        result: of its action, as JSON.
        time_s: how long that took; 0 where it is not known.
        sha256: the digests of its files, by their paths in the folder.
    """

    path: Path
    result: bytes
    time_s: float = 0.0
    sha256: dict[str, str] = {}


class Store:
    """A store under one folder; several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries = root / "entries"
        self._temporary = root / "tmp"
        self._locks = root / "locks"

    def get(self, key: str) -> Entry | None:
        """The entry of a key; None where there is none, or where files of it were lost."""
        path = self._place(key)
        try:
            record = documents.json(documents.read(path / _RECORD), _Record)
            if _is_intact(path, record):
                return Entry(path, bytes(record.result), record.time_s, record.sha256)
        except (OSError, DocumentError):
            pass
        return None

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A new folder to make an entry in; it is gone afterwards unless it was published."""
        self._temporary.mkdir(parents=True, exist_ok=True)
        self._sweep()
        path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._temporary))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, key: str, made: Path, result: bytes, *, replace: bool = False, time_s: float = 0.0) -> Entry:
        """Move what was made to its place; what is there already stays, unless `replace`. The caller holds the key."""
        files = sorted(path for path in made.rglob("*") if path.is_file())
        names = {path.relative_to(made).as_posix(): path for path in files}
        record = _Record(
            result=msgspec.Raw(result),
            time_s=round(time_s, 3),
            sizes_bytes={name: path.stat().st_size for name, path in names.items()},
            sha256={name: hashing.of_file(path) for name, path in names.items()},
        )
        for path in files:
            path.chmod(0o444)
        (made / _RECORD).write_bytes(msgspec.json.encode(record))
        place = self._place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        kept = None if replace else self.get(key)
        if kept is not None:
            return kept
        shutil.rmtree(place, ignore_errors=True)  # an old or a damaged entry
        made.rename(place)
        return Entry(place, result, time_s, record.sha256)

    @contextlib.contextmanager
    def lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the key against other processes; `waiting` is called once where another holds it."""
        self._locks.mkdir(parents=True, exist_ok=True)
        path = self._locks / key
        descriptor = _locked(path, waiting)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def folder(self, key: str) -> Path:
        """The folder of a published entry."""
        return self._place(key)

    def _place(self, key: str) -> Path:
        return self._entries / key[:2] / key

    def _sweep(self) -> None:
        """Remove what builds left behind that were killed; their process numbers tell."""
        for path in self._temporary.iterdir():
            number = path.name.partition("-")[0]
            if number.isdecimal() and not _is_running(int(number)):
                shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def _is_intact(path: Path, record: _Record) -> bool:
    """Whether all files are there, and those are unchanged that can be read in no time; raises OSError."""
    if any((path / name).stat().st_size != size for name, size in record.sizes_bytes.items()):
        return False
    small = [name for name, size in record.sizes_bytes.items() if size <= _ALWAYS_CHECKED_BYTES]
    return all(hashing.of_file(path / name) == record.sha256[name] for name in small)


def _locked(path: Path, waiting: Callable[[], None]) -> int:
    """A descriptor that holds the lock file. Its holder removes the file, so look again whether it is still there."""
    told = False
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                waiting()
                told = True
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        os.close(descriptor)
