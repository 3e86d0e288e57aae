"""Files and folders as bytes, for machines that share no disk: a tar archive, the same for the same names and contents.

Neither owners, rights nor times are kept. What is unpacked can leave nothing outside the folder that it is unpacked to.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from edgebuild import hashing
from edgebuild.errors import StepError

# What is sent at once: several times this is held in memory, however large a file is.
CHUNK_BYTES = 32 * 2**20
_READ_BYTES = 2**20


def pack(path: Path, take: Callable[[bytes], object], name: str = "") -> None:
    """Pack a file or a folder, links read through.

    Args:
        path: a file, or a folder with all that is in it, empty folders too.
        take: is given the archive in chunks, in order.
        name: what it is called in the archive; empty for a folder whose files have their names in it.

    Raises:
        OSError: it cannot be read.
    """
    stream = cast(IO[bytes], _Writer(take))
    with tarfile.open(fileobj=stream, mode="w|", bufsize=CHUNK_BYTES, format=tarfile.PAX_FORMAT) as archive:
        if path.is_file():
            _add(archive, name or path.name, path)
            return
        if name:
            _add(archive, name, path)
        for found in sorted(_below(path)):
            _add(archive, str(PurePosixPath(name, found.relative_to(path).as_posix())), found)


def packed(path: Path, name: str = "") -> list[bytes]:
    """All chunks at once, as `pack` has them."""
    chunks: list[bytes] = []
    pack(path, chunks.append, name)
    return chunks


def unpack(chunks: Iterable[bytes], folder: Path) -> None:
    """Unpack an archive into a folder that is there and holds none of its names.

    Raises:
        StepError: a name leads out of the folder, or is of neither a file nor a folder.
        OSError: it cannot be written.
    """
    stream = cast(IO[bytes], _Reader(iter(chunks)))
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_READ_BYTES) as archive:
            for member in archive:
                _extract(archive, member, folder)
    except tarfile.TarError as error:
        raise StepError("what came from another machine is damaged", str(error)) from None


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
        raise StepError("what came from another machine is refused", f"{member.name!r} may lead out of its folder.")
    place = folder / name
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None, "a regular file has contents"
    # Never over what is there, nor through a link.
    with content, place.open("xb") as file:
        shutil.copyfileobj(content, file)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)
    if path.is_dir():
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)
        return
    with path.open("rb") as file:
        member.size = os.fstat(file.fileno()).st_size
        archive.addfile(member, file)


def _below(root: Path) -> Iterator[Path]:
    """Everything in a folder, also behind links to folders; no loop twice."""
    for folder, folders, files in hashing.walk(root):
        yield from (Path(folder, name) for name in folders)
        yield from (Path(folder, name) for name in files if Path(folder, name).is_file())


class _Writer(io.RawIOBase):
    """Takes an archive as it is written."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        super().__init__()
        self._take = take

    def write(self, data: object, /) -> int:
        chunk = bytes(data)  # type: ignore[call-overload]  # bytes as tarfile gives them
        self._take(chunk)
        return len(chunk)


class _Reader(io.RawIOBase):
    """Gives an archive from its chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._left = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        taken = self._left if size < 0 else self._left[:size]
        self._left = self._left[len(taken) :]
        return bytes(taken)
