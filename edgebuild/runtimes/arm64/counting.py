"""The plugin of QEMU that counts instructions, built where it is needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgebuild import hashing
from edgebuild.errors import StepError, UnavailableError
from edgebuild.runtimes.arm64 import emulator

_SOURCE = Path(__file__).with_name("count.c")
_COMPILERS = ("cc", "gcc", "clang")
# QEMU 9 refuses plugins that know less than version 2 of its interface, and older ones any that know more than theirs.
_SECOND_VERSION_FROM = 9


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


def plugin(qemu_version: str) -> Path:
    """The plugin for a QEMU, built the first time; two that build it at once do no harm.

    Raises:
        UnavailableError: there is no C compiler.
        StepError: it refused the source.
    """
    api = _api(qemu_version)
    key = hashing.of_data([hashing.of_file(_SOURCE), api, qemu_version])
    built = emulator.folder() / "plugins" / f"{key}.so"
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
