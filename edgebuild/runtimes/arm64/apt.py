"""Debian packages without root: found, downloaded and unpacked by APT's own tools, with a state of its own.

Sources, keyrings, proxies and the like are the system's; what is known of its installed packages only where it is asked
for. APT checks the signatures of the indexes, and each archive against them; that is done here once more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from edgebuild import hashing
from edgebuild.errors import StepError, UnavailableError

# A file of package sources in place of the system's, for systems whose own have no arm64 (Ubuntu keeps it elsewhere).
SOURCES_VARIABLE = "EDGEBUILD_APT_SOURCES"
_TOOLS = ("apt-get", "apt-cache", "apt-config", "dpkg", "dpkg-deb")
_SYSTEM_STATUS = "/var/lib/dpkg/status"
# Of the system's configuration: where it keeps its state, what it does to it, and for which machine.
_SYSTEMS_OWN = re.compile(r"(Dir::(State|Cache)|APT::(Update|Architectures?|Get)|DPkg)\b", re.IGNORECASE)
_URI = re.compile(r"^'[^']*' (?P<file>\S+\.deb) (?P<size>\d+)")
_LAST_LINES = 4


class Package(NamedTuple):
    """A version of a package: what names it, the file it is downloaded to, and the bytes of that."""

    name: str
    version: str
    architecture: str
    file: str
    size_bytes: int

    @property
    def spec(self) -> str:
        """As APT takes it; a package for all architectures has none of its own."""
        of = "" if self.architecture == "all" else f":{self.architecture}"
        return f"{self.name}{of}={self.version}"


class Apt:
    """APT for one architecture, with its state in a folder.

    Args:
        folder: where its state is kept.
        architecture: as dpkg calls it.
        onto_system: whether what the system has installed counts as there.
    """

    def __init__(self, folder: Path, architecture: str, *, onto_system: bool) -> None:
        self._architecture = architecture
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        self._configuration = folder / "apt.conf"
        self._configuration.write_text(self._settings(folder, onto_system=onto_system))
        self._unreached: list[str] = []

    def _settings(self, folder: Path, *, onto_system: bool) -> str:
        settings = {
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": _SYSTEM_STATUS if onto_system else folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::main": os.devnull,
            "Dir::Etc::parts": os.devnull,
            "APT::Architecture": self._architecture,
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
        }
        named = os.environ.get(SOURCES_VARIABLE)
        if named:
            settings |= {"Dir::Etc::sourcelist": Path(named).absolute(), "Dir::Etc::sourceparts": os.devnull}
        lines = [*without_state(_run(["apt-config", "dump"]).stdout)]
        lines += [f'{key} "{value}";' for key, value in settings.items()]
        lines.append(f'APT::Architectures {{ "{self._architecture}"; }};')
        return "\n".join(lines) + "\n"

    def update(self) -> None:
        """Fetch the indexes; sources that cannot be reached, or have nothing for the architecture, are passed over."""
        try:
            self._unreached = _complaints(self._call("apt-get", "update", "-q").stderr)
        except StepError as error:
            self._unreached = error.why.splitlines()

    def closure(self, names: Sequence[str]) -> list[Package]:
        """The packages that are missing for these to be installed, with these, and no recommended ones.

        Raises:
            StepError: one of them is not in the indexes.
        """
        asked = ["install", "-qq", "--reinstall", "--no-install-recommends", "--print-uris", *names]
        try:
            return packages(self._call("apt-get", *asked).stdout)
        except StepError as error:
            raise StepError(
                f"the package sources of this system have no {', '.join(names)} for {self._architecture}",
                "\n".join([*self._unreached, error.why]),
                f"Check the network and the sources; {SOURCES_VARIABLE} names a file of others (Ubuntu: its ports).",
            ) from None

    def depends(self, name: str) -> str:
        """What a package depends on, as APT prints it."""
        return self._call("apt-cache", "depends", name).stdout

    def download(self, wanted: Sequence[Package], folder: Path) -> dict[str, str]:
        """Download packages into a folder and check them; their SHA-256 by file.

        Raises:
            StepError: one was not downloaded, or is not what the signed index says.
        """
        self._call("apt-get", "download", "-qq", *(package.spec for package in wanted), folder=folder)
        shown = self._call("apt-cache", "show", *(package.spec for package in wanted)).stdout
        digests = stated(shown)
        for package in wanted:
            verify(folder / package.file, digests.get(package[:3], ""))
        return {package.file: digests[package[:3]] for package in wanted}

    def _call(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return _run(command, {"APT_CONFIG": os.fspath(self._configuration)}, folder)


def require_tools() -> None:
    """See that APT's tools are here.

    Raises:
        UnavailableError: this is no Debian or Ubuntu.
    """
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise UnavailableError(
            f"there is no {missing[0]} here: the emulation of arm64 installs itself on Debian and Ubuntu alone",
            remedy="Elsewhere name a dynamic qemu-aarch64 in EDGEBUILD_QEMU_AARCH64, and in EDGEBUILD_ARM64_ROOT the "
            "root of an arm64 Linux with Python, numpy and ai-edge-litert.",
        )


def own_architecture() -> str:
    """This machine's, as dpkg calls it."""
    return _run(["dpkg", "--print-architecture"]).stdout.strip()


def unpack(archives: Iterable[Path], root: Path) -> None:
    """Unpack packages under a folder; none of their scripts is run."""
    for archive in archives:
        _run(["dpkg-deb", "-x", os.fspath(archive), os.fspath(root)])


def without_state(dump: str) -> Iterator[str]:
    """The lines of `apt-config dump` that hold for any state: proxies, sources, keyrings, methods."""
    return (line for line in dump.splitlines() if line and not _SYSTEMS_OWN.match(line))


def packages(printed: str) -> list[Package]:
    """What `apt-get install --print-uris` would download."""
    found = []
    for match in filter(None, map(_URI.match, printed.splitlines())):
        name, version, architecture = unquote(match["file"].removesuffix(".deb")).split("_")
        found.append(Package(name, version, architecture, match["file"], int(match["size"])))
    return found


def stated(shown: str) -> dict[tuple[str, ...], str]:
    """The SHA-256 of each package that `apt-cache show` printed, by name, version and architecture."""
    digests: dict[tuple[str, ...], str] = {}
    for stanza in shown.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if re.match(r"[\w-]+: ", line))
        if "SHA256" in fields:
            digests[fields["Package"], fields["Version"], fields["Architecture"]] = fields["SHA256"]
    return digests


def verify(file: Path, sha256: str) -> None:
    """See that a downloaded file is what its index says.

    Raises:
        StepError: it is missing, or another; it is deleted then.
    """
    if not file.is_file():
        raise StepError(f"{file.name} was not downloaded", remedy="Check the network and try again.")
    found = hashing.of_file(file)
    if found != sha256:
        file.unlink()
        raise StepError(
            f"{file.name} is not what its index says",
            f"Its SHA-256 is {found}, that of the index is {sha256 or 'not stated'}.",
            "Try again; if it stays so, the mirror is broken or not to be trusted.",
        )


def _run(
    command: Sequence[str], environment: dict[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "LC_ALL": "C", **(environment or {})}
    ran = subprocess.run(command, env=given, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise StepError(f"{' '.join(command[:2])} failed", "\n".join(_complaints(ran.stderr)))
    return ran


def _complaints(messages: str) -> list[str]:
    lines = [line for line in messages.splitlines() if line.startswith(("E:", "W:", "dpkg"))]
    # As root it says of each file that it did not become another user for it.
    return [line for line in lines if "unsandboxed" not in line][-_LAST_LINES:]
