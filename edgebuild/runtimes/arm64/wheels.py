"""The guest's wheels: LiteRT as it is here, built for arm64, and numpy, from the index that pip is configured for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from edgebuild import hashing, host
from edgebuild.errors import StepError, UnavailableError

# The oldest glibc that wheels for arm64 name.
_OLDEST_GLIBC = 17
_LAST_LINES = 4


def download(wanted: Sequence[str], python: str, glibc: str, folder: Path) -> dict[str, str]:
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


def unpack(folder: Path, packages: Path) -> None:
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
