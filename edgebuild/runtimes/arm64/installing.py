"""Installs the emulation of arm64 in the user's cache, without root: QEMU, an arm64 Python and LiteRT's wheel.

It is made in a folder beside its place and moved there when it is whole and was tried, so that an interrupted
installation leaves nothing behind that looks like one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgebuild import hashing, host
from edgebuild.errors import StepError, UnavailableError
from edgebuild.runtimes.arm64 import apt, emulator, launching
from edgebuild.runtimes.arm64.emulator import LITERT, Installed
from edgebuild.units import format_bytes

# What is downloaded, and what it comes to unpacked with room for both; measured on Debian 12.
_NEEDED_BYTES = 500_000_000
_GUEST = "arm64"
_PYTHON = re.compile(r"\b(python(3\.\d+))-minimal\b")
_GLIBC = re.compile(r"\d+\.\d+")
# Beside Python: what LiteRT and numpy load.
_LIBRARIES = ("libc6", "libstdc++6", "libgcc-s1", "zlib1g")
# Not needed to run anything.
_WASTE = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian")
_TRIED_ON = "cortex-a72"
_TEMPORARY = "making-"

Say = Callable[[str], None]
# The oldest glibc that wheels for arm64 name.
_OLDEST_GLIBC = 17
_LAST_LINES = 4


class _Guest(NamedTuple):
    """What was unpacked for the guest: its Python's version, and the digests of the archives."""

    python: str
    sha256: dict[str, str]


def install(say: Say) -> Installed:
    """Install the emulation, unless it is there; progress goes to `say`.

    Raises:
        UnavailableError: a tool is missing; one sentence and the remedy.
        StepError: something could not be downloaded, is not what its index says, or does not run.
    """
    folder = emulator.folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, say):
        litert = _own_litert()
        found = emulator.read(emulator.installed_folder())
        if found is not None and found.litert == litert:
            say(f"the emulation of arm64 is there: {emulator.installed_folder()}")
            return found
        _require(folder)
        with _temporary(folder) as made:
            record = _make(made, litert, say)
            say("try it")
            _try(made, record)
            _publish(made)
    say(f"installed in {emulator.installed_folder()}: {format_bytes(record.size_bytes)}")
    return record


def _require(folder: Path) -> None:
    """See that all tools and the space are here, before minutes go into downloads."""
    apt.require_tools()
    emulator.require_compiler()
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise StepError(
            f"there are {format_bytes(free)} free in {folder}, {format_bytes(_NEEDED_BYTES)} are needed",
            remedy=f"Make room, or name another folder in {emulator.FOLDER_VARIABLE}.",
        )


def _own_litert() -> str:
    version = host.versions([LITERT]).get(LITERT)
    if version is None:
        raise UnavailableError(f"{LITERT} is not installed here", remedy=f"Install it: pip install {LITERT}")
    return version


def _make(made: Path, litert: str, say: Say) -> Installed:
    downloads = made / "downloads"
    downloads.mkdir()
    sha256: dict[str, str] = {}
    if not os.environ.get(emulator.QEMU_VARIABLE):
        say("download QEMU")
        sha256 |= _host(made, downloads)
    guest = _guest(made, downloads, litert, say)
    sha256 |= guest.sha256
    shutil.rmtree(downloads)
    for root in (made / "host", made / "root"):
        for waste in _WASTE:
            shutil.rmtree(root / waste, ignore_errors=True)
    qemu = "host/usr/bin/qemu-aarch64"
    record = Installed(
        format=emulator.FORMAT,
        qemu=qemu if (made / qemu).is_file() else "",
        libraries=_library_folders(made),
        python=f"/usr/bin/python{guest.python}",
        litert=litert,
        size_bytes=_size_bytes(made),
        sha256=sha256,
    )
    emulator.write(made, record)
    return record


def _host(made: Path, downloads: Path) -> dict[str, str]:
    """QEMU and the libraries that this system lacks for it; of its emulations only that of arm64 is kept."""
    system = apt.Apt(downloads / "host", apt.own_architecture(), onto_system=True)
    system.update()
    wanted = system.closure(["qemu-user"])
    folder = downloads / "host-archives"
    folder.mkdir()
    sha256 = system.download(wanted, folder)
    root = made / "host"
    root.mkdir()
    apt.unpack((folder / package.file for package in wanted), root)
    for program in (root / "usr/bin").iterdir():
        if program.name != "qemu-aarch64":
            program.unlink()
    return sha256


def _guest(made: Path, downloads: Path, litert: str, say: Say) -> _Guest:
    """An arm64 Python with its libraries, LiteRT and numpy."""
    say("download Python for arm64")
    foreign = apt.Apt(downloads / "guest", _GUEST, onto_system=False)
    foreign.update()
    named = _PYTHON.search(foreign.depends("python3-minimal"))
    if named is None:
        raise StepError("the package sources do not say which Python 3 they have for arm64")
    name, version = named[1], named[2]
    wanted = foreign.closure([f"{name}-minimal", f"lib{name}-stdlib", *_LIBRARIES])
    folder = downloads / "guest-archives"
    folder.mkdir()
    sha256 = foreign.download(wanted, folder)
    root = made / "root"
    root.mkdir()
    apt.unpack((folder / package.file for package in wanted), root)
    say(f"download LiteRT {litert} for arm64")
    glibc = next((match[0] for one in wanted if one.name == "libc6" and (match := _GLIBC.match(one.version))), "")
    whl = downloads / "wheels"
    whl.mkdir()
    sha256 |= _download_wheels([f"{LITERT}=={litert}", "numpy"], version, glibc, whl)
    _unpack_wheels(whl, root / emulator.PACKAGES.lstrip("/"))
    return _Guest(version, sha256)


def _library_folders(made: Path) -> tuple[str, ...]:
    found = {path.parent.relative_to(made).as_posix() for path in (made / "host").rglob("*.so.*")}
    return tuple(sorted(found))


def _size_bytes(made: Path) -> int:
    return sum(path.lstat().st_size for path in made.rglob("*") if path.is_file() and not path.is_symlink())


def _try(made: Path, record: Installed) -> None:
    """Start the emulated system, which imports LiteRT and counts; Python keeps what it compiled for the next start."""
    tried = emulator.assemble(made, record)
    with tempfile.TemporaryDirectory(prefix="edgebuild-") as folder:
        launching.Guest(tried, _TRIED_ON, Path(folder), keeps_compiled=True).close()


def _publish(made: Path) -> None:
    place = emulator.installed_folder()
    # An installation of another LiteRT, or one that was damaged; who runs it now keeps its files until it ends.
    old = made.with_name(f"{made.name}-old")
    with contextlib.suppress(FileNotFoundError):
        place.rename(old)
    made.rename(place)
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Hold the folder against another installation; the lock goes with the process."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("wait for another installation")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A folder that is gone afterwards unless it was published; so are those that killed installations left."""
    for left in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder))
    made.chmod(0o755)  # a folder that EDGEBUILD_ARM64 names may be shared
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _download_wheels(wanted: Sequence[str], python: str, glibc: str, folder: Path) -> dict[str, str]:
    """Download wheels that an arm64 Linux takes; pip checks what the index states. Their SHA-256 by file.

    Args:
        wanted: as pip takes them: "numpy", "ai-edge-litert==2.3.0". What they depend on is not fetched.
        python: the guest's version: "3.11".
        glibc: the guest's: "2.36".
        folder: where they go.

    Raises:
        UnavailableError: there is no pip.
        StepError: there are none for that Python, or the index cannot be reached.
    """
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--implementation", "cp"]
    options += ["--python-version", python, "--abi", f"cp{python.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
    for platform in platforms(glibc):
        options += ["--platform", platform]
    command = [*_pip(), "download", *options, "--dest", str(folder), *wanted]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        lines = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
        raise StepError(
            f"there are no wheels of {' and '.join(wanted)} for Python {python} on arm64",
            "\n".join(lines[-_LAST_LINES:]),
            "Check the network and pip's index.",
        )
    return {path.name: hashing.of_file(path) for path in sorted(folder.glob("*.whl"))}


def platforms(glibc: str) -> list[str]:
    """The platforms of wheels that a Linux with this glibc takes, the newest first."""
    match = re.match(r"2\.(\d+)", glibc)
    newest = int(match[1]) if match else _OLDEST_GLIBC
    return [f"manylinux_2_{minor}_aarch64" for minor in range(newest, _OLDEST_GLIBC - 1, -1)] + ["any"]


def _unpack_wheels(folder: Path, packages: Path) -> None:
    """Unpack the wheels of a folder as an installer would that has no scripts to write."""
    packages.mkdir(parents=True)
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)


def _pip() -> list[str]:
    # By its metadata: to look for the module imports what setuptools puts before it, which warns beside TensorFlow.
    if host.versions(["pip"]):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip") or shutil.which("pip3")
    if found is None:
        raise UnavailableError(
            "there is no pip to fetch LiteRT for arm64 with", remedy=f"Install it: {sys.executable} -m ensurepip"
        )
    return [found]
