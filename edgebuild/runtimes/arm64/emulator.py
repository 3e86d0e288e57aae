"""The emulator that there is, installed or named by the user, and its plugin that counts instructions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import platformdirs

from edgebuild import documents, hashing, host
from edgebuild.errors import StepError, UnavailableError

# Where edgebuild installs; and a qemu-aarch64 and an arm64 root of the user's own, for systems without APT.
FOLDER_VARIABLE = "EDGEBUILD_ARM64"
QEMU_VARIABLE = "EDGEBUILD_QEMU_AARCH64"
ROOT_VARIABLE = "EDGEBUILD_ARM64_ROOT"
LITERT = "ai-edge-litert"
INSTALL = "edgebuild doctor --install arm64"
# Inside the guest: where the wheels are unpacked.
PACKAGES = "/opt/edgebuild"
FORMAT = 1
_RECORD = "installed.json"
_INSTALLED = "installed"
_PYTHON = re.compile(r"python3\.\d+")
_QEMU_VERSION = re.compile(r"version (\d+(?:\.\d+)*)")
_SOURCE = Path(__file__).with_name("count.c")
_COMPILERS = ("cc", "gcc", "clang")
# QEMU 9 refuses plugins that know less than version 2 of its interface, and older ones any that know more than theirs.
_SECOND_VERSION_FROM = 9


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What was installed.

    Attributes:
        format: of this record and of the folder beside it.
        qemu: the emulator, relative to the folder; empty where the user names one.
        libraries: folders of libraries that it needs and the host lacks, relative to the folder.
        python: the guest's interpreter, absolute in the guest.
        litert: the version of LiteRT's wheel.
        size_bytes: of all files.
        sha256: of each archive that was unpacked, as its index states it too.
    """

    format: int
    qemu: str
    libraries: tuple[str, ...]
    python: str
    litert: str
    size_bytes: int
    sha256: dict[str, str]


class Emulator(NamedTuple):
    """What an artifact is run with.

    Attributes:
        qemu: QEMU's user-mode emulation of arm64.
        version: of QEMU.
        libraries: folders where its loader looks first.
        root: the guest's root.
        python: the guest's interpreter, absolute in the guest.
        packages: where the guest keeps the wheels; empty for where its Python looks by itself.
    """

    qemu: Path
    version: str
    libraries: tuple[Path, ...]
    root: Path
    python: str
    packages: str

    @property
    def environment(self) -> dict[str, str]:
        """What QEMU's own process needs; nothing else of the host's environment reaches it or the guest."""
        return {"LD_LIBRARY_PATH": ":".join(map(str, self.libraries))} if self.libraries else {}


def folder() -> Path:
    """Where edgebuild installs."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).absolute() if named else platformdirs.user_cache_path("edgebuild", appauthor=False) / "arm64"


def installed_folder() -> Path:
    """Where an installation lies once it is whole."""
    return folder() / _INSTALLED


def read(made: Path) -> Installed | None:
    """The record of an installation; None where there is none, or one that this edgebuild does not read."""
    try:
        found = msgspec.json.decode((made / _RECORD).read_bytes(), type=Installed)
    except (OSError, msgspec.MsgspecError):
        return None
    is_whole = found.format == FORMAT and (made / "root" / found.python.lstrip("/")).exists()
    return found if is_whole and (made / found.qemu).exists() else None


def write(made: Path, record: Installed) -> None:
    """Write the record, which makes the folder an installation."""
    (made / _RECORD).write_bytes(documents.as_json(record))


def find() -> Emulator:
    """The emulator that is to be used.

    Raises:
        UnavailableError: there is none, or not all of it; one sentence and the remedy.
    """
    made = installed_folder()
    record = read(made)
    if record is not None and not os.environ.get(ROOT_VARIABLE):
        _require_same(record)
    return assemble(made, record)


def assemble(made: Path, record: Installed | None) -> Emulator:
    """The emulator of an installation, with what the user names in its place.

    Raises:
        UnavailableError: a part is neither installed nor named, or QEMU does not run here.
    """
    qemu, root = os.environ.get(QEMU_VARIABLE), os.environ.get(ROOT_VARIABLE)
    if record is None and not (qemu and root):
        raise UnavailableError("the emulation of arm64 is not installed", remedy=f"Install it: {INSTALL}")
    named = Emulator(Path(), "", (), Path(), "", "")
    if qemu or record is None or not record.qemu:
        named = named._replace(qemu=_named(QEMU_VARIABLE, qemu))
    else:
        libraries = tuple(made / library for library in record.libraries)
        named = named._replace(qemu=made / record.qemu, libraries=libraries)
    if root or record is None:
        path = _named(ROOT_VARIABLE, root)
        named = named._replace(root=path, python=_python(path))
    else:
        named = named._replace(root=made / "root", python=record.python, packages=PACKAGES)
    return named._replace(version=_version(named))


def _version(emulator: Emulator) -> str:
    """The version of QEMU, as it says itself."""
    try:
        ran = subprocess.run(
            [emulator.qemu, "--version"], env=emulator.environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise UnavailableError(f"{emulator.qemu} cannot be run", error.strerror or str(error), _again()) from None
    found = _QEMU_VERSION.search(ran.stdout)
    if found is None:
        raise UnavailableError(f"{emulator.qemu} is no QEMU that runs here", ran.stderr.strip(), _again())
    return found[1]


def state() -> str:
    """What decides the results of the emulation, as a digest; empty where there is none."""
    try:
        found = find()
    except UnavailableError:
        return ""
    record = read(installed_folder())
    return hashing.of_data([found.version, str(found.qemu), str(found.root), record.sha256 if record else {}])


def _require_same(record: Installed) -> None:
    """Parity is of one version: an installation made beside another LiteRT is out of date."""
    here = host.versions([LITERT]).get(LITERT)
    if record.litert != here:
        raise UnavailableError(
            f"the emulation of arm64 was installed with {LITERT} {record.litert}, here is {here or 'none'}",
            remedy=f"Install it again: {INSTALL}",
        )


def _named(variable: str, value: str | None) -> Path:
    path = Path(value or "").absolute()
    if not value or not path.exists():
        raise UnavailableError(f"{variable} names nothing that is there: {value or 'it is not set'}", remedy=_again())
    return path


def _python(root: Path) -> str:
    # Containers of Python keep theirs beside the system's.
    folders = [root / "usr/local/bin", root / "usr/bin"]
    found = [path for folder in folders for path in sorted(folder.glob("python3.*")) if _PYTHON.fullmatch(path.name)]
    if not found:
        raise UnavailableError(
            f"{root} has no python3.* in usr/bin or usr/local/bin",
            remedy=f"{ROOT_VARIABLE} names the root of an arm64 Linux with Python, numpy and {LITERT}.",
        )
    return f"/{found[0].relative_to(root)}"


def _again() -> str:
    return f"Install it ({INSTALL}), or name a dynamic qemu-aarch64 in {QEMU_VARIABLE} and a root in {ROOT_VARIABLE}."


def require_compiler() -> str:
    """The path of a C compiler.

    Raises:
        UnavailableError: there is none.
    """
    found = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if found is None:
        raise UnavailableError(
            "there is no C compiler to build the instruction counter with",
            remedy="Install one: sudo apt-get install gcc libc6-dev",
        )
    return found


def counting_plugin(qemu_version: str) -> Path:
    """The plugin for a QEMU, built the first time; two that build it at once do no harm.

    Raises:
        UnavailableError: there is no C compiler.
        StepError: it refused the source.
    """
    api = _api(qemu_version)
    key = hashing.of_data([hashing.of_file(_SOURCE), api, qemu_version])
    built = folder() / "plugins" / f"{key}.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        _build(built, api)
    return built


def _api(qemu_version: str) -> int:
    return 2 if int(qemu_version.partition(".")[0]) >= _SECOND_VERSION_FROM else 1


def _build(built: Path, api: int) -> None:
    found = require_compiler()
    with tempfile.TemporaryDirectory(prefix=".", dir=built.parent) as folder:
        made = Path(folder) / built.name
        options = ["-std=c11", "-O2", "-shared", "-fPIC", "-D_GNU_SOURCE", f"-DAPI_VERSION={api}"]
        command = [found, *options, "-o", os.fspath(made), os.fspath(_SOURCE)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            lines = ran.stderr.strip().splitlines()[:4]
            raise StepError("the instruction counter was not built", "\n".join(lines), f"See whether {found} works.")
        made.rename(built)
