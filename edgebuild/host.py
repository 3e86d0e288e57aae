"""What this machine is, for figures that depend on it."""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")


def describe() -> str:
    """The machine in a line: architecture, processor, cores."""
    return f"{platform.machine()}, {_processor()}, {os.cpu_count()} cores"


def identity() -> str:
    """What tells this machine from others of its kind, for figures kept from one build to the next."""
    return f"{platform.node()}: {describe()}"


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of installed packages; one that is absent is left out."""
    where = tuple(sys.path)
    found = ((package, _version(package, where)) for package in packages)
    return {package: known for package, known in found if known is not None}


@functools.cache  # to read one takes a millisecond, and each action asks for several
def _version(package: str, _where: tuple[str, ...]) -> str | None:
    """The version of a package that is looked up on the path as it is now."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"
