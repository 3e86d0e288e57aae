"""What files of networks are made of, looked at before a framework reads them: all of it must lie within them.

An HDF5 file may say of a dataset that its bytes are those of another file on this machine, which HDF5 then reads
without a word. An archive may hold far more than its size tells.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from edgebuild.errors import StepError

WEIGHTS = "model.weights.h5"
CONFIG, METADATA = "config.json", "metadata.json"
_MOST_ENTRIES = 10_000
# Those of the largest networks that are published have some megabytes.
_MOST_CONFIG_BYTES = 256 * 2**20
# What HDF5 does itself (deflate, shuffle, fletcher32, szip, nbit, scale-offset), and h5py (lzf). For others it looks
# for libraries on this machine.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
_SAVE = "Save it again with model.save(FILE), or, if you trust its author, load it as it is with --allow-code."


def require_plain(file: Path) -> None:
    """Refuse an archive of Keras, or an HDF5 file, whose contents are not all its own.

    Args:
        file: a .keras file, else one of HDF5.

    Raises:
        StepError: names what lies elsewhere, or is too large.
    """
    problem = next(_of_archive(file) if file.suffix == ".keras" else _of_file(file), "")
    if problem:
        raise StepError(f"{file} {problem}", "All that a network is made of lies in its own file.", _SAVE)


def read(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of an archive that `require_plain` has let through, or that is allowed to be as it is."""
    with archive.open(name) as member:
        return member.read(_MOST_CONFIG_BYTES + 1)


def _of_archive(file: Path) -> Iterator[str]:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > _MOST_ENTRIES:
            yield f"holds {len(entries):,} files"
        for name in (CONFIG, METADATA):
            size = archive.getinfo(name).file_size
            if size > _MOST_CONFIG_BYTES:
                yield f"holds {size:,} bytes of {name}, more than any network needs"
        if WEIGHTS in archive.namelist():
            with archive.open(WEIGHTS) as member, h5py.File(member) as weights:
                yield from (f"in {WEIGHTS} {problem}" for problem in _of_group(weights))


def _of_file(file: Path) -> Iterator[str]:
    with h5py.File(file) as archive:
        yield from _of_group(archive)


def _of_group(root: Any) -> Iterator[str]:
    """What of a file of HDF5 lies elsewhere; each object is looked at once, since groups may hold one another."""
    seen: set[int] = set()
    pending = [root]
    while pending:
        group = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        for name in group:
            path = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield f"has a link at {path}"
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                pending.append(item)
            elif isinstance(item, h5py.Dataset):
                yield from (f"{problem} {path}" for problem in _of_dataset(item))


def _of_dataset(dataset: Any) -> Iterator[str]:
    if dataset.external:
        yield "takes from other files the bytes of"
    if dataset.is_virtual:
        yield "takes from other datasets what is in"
    made = dataset.id.get_create_plist()
    if not {made.get_filter(position)[0] for position in range(made.get_nfilters())} <= _FILTERS:
        yield "needs a library of this machine to read"
