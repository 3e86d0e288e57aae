"""What the end-to-end tests share: the command as a process, one store, and small real networks of every kind."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
VERBS = ("bench", "calibrate", "check", "diff", "doctor", "history", "inspect", "targets")
ROOT = HERE.parents[1]
ASSETS = Path(os.environ.get("EDGEBUILD_ASSETS") or ROOT.parent / "shared" / "assets")


# No build of a small network takes so long on any machine: it hangs.
ENDLESS_S = 3600.0


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


# One process, and whatever it knows then is enough.
QUICK = ["--set", "bench.workers=1", "--set", "bench.precision=100 %", "--set", "bench.time=2s"]


class Edgebuild:
    """The command in a folder of its own, with the session's store.

    It leaves quantization to the converter alone and measures for a moment, which takes seconds, where nothing else is
    set.
    """

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder = folder
        self.store = store
        self.compresses = False
        self.refines = False
        self.repairs = False
        self.measures = False

    def _arguments(self, given: tuple[object, ...]) -> list[str]:
        arguments = [str(argument) for argument in given]
        builds = not arguments or arguments[0] not in VERBS
        wanted = {"compress": self.compresses, "refine": self.refines, "repair": self.repairs}
        if builds and not self.measures:
            arguments += QUICK
        return [*arguments, *(f"--no-{name}" for name, on in wanted.items() if builds and not on)]

    def each(self, builds: Mapping[str, str], **environment: str) -> dict[str, Any]:
        """Build many in one go, by name what stands in their tables; what came of each, as JSON tells it."""
        tables = [f'[[build]]\nname = "{name}"\n{more}\n' for name, more in builds.items()]
        self.config("\n".join(tables))
        ran = self("build-all", "--json", **environment)
        assert ran.out, ran.err
        found = ran.json["builds"]
        assert len(found) == len(builds)
        return dict(zip(builds, found, strict=True))

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGEBUILD_")}
        apart = {"EDGEBUILD_HISTORY": "off", "EDGEBUILD_CALIBRATIONS": os.devnull}
        return {**kept, **apart, "EDGEBUILD_STORE": str(self.store), **more}

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "edgebuild", *self._arguments(arguments)],
            cwd=self.folder,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: object, **environment: str) -> Ran:
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=ENDLESS_S)
        ran = Ran(process.returncode, out, err)
        assert "Traceback" not in ran.out + ran.err
        return ran

    def on_terminal(self, *arguments: object, **environment: str) -> Ran:
        """Run with both streams on one terminal; what it shows is in `out`."""
        reader, terminal = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "edgebuild", *self._arguments(arguments)],
            cwd=self.folder,
            env=self.environment(TERM="xterm", **environment),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        ) as process:
            os.close(terminal)
            shown = b""
            try:
                while chunk := os.read(reader, 4096):
                    shown += chunk
            except OSError:
                pass  # the terminal closes with its process
        os.close(reader)
        return Ran(process.returncode, shown.decode(), "")

    def in_python(self, script: str) -> Ran:
        """Run a script that uses edgebuild as a library."""
        ran = subprocess.run(
            [sys.executable, "-c", script],
            cwd=self.folder,
            env=self.environment(TF_CPP_MIN_LOG_LEVEL="3"),
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def manifest(self, target: str, out: str = "dist") -> Any:
        made = json.loads((self.folder / out / target / "manifest.json").read_text())
        for note in made["notes"]:
            about, _, said = note.partition(": ")
            assert not said.startswith(f"{about}: "), note  # who it is about, once
        return made

    def config(self, text: str) -> None:
        (self.folder / "edgebuild.toml").write_text(text)


@pytest.fixture
def edgebuild(tmp_path: Path, shared: Path) -> Edgebuild:
    folder = tmp_path / "project"
    folder.mkdir()
    return Edgebuild(folder, shared / "store")


@pytest.fixture(scope="session")
def networks(shared: Path) -> Path:
    """A folder with the networks and data that networks.py makes, made once for all workers.

    In EDGEBUILD_TEST_NETWORKS where that is set: several runs on one commit then train them once.
    """
    import fcntl

    named = os.environ.get("EDGEBUILD_TEST_NETWORKS")
    folder = Path(named) if named else shared / "networks"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            subprocess.run(
                [sys.executable, HERE / "networks.py", folder], check=True, capture_output=True, timeout=ENDLESS_S
            )
            (folder / "done").touch()
    return folder


@pytest.fixture(scope="session")
def kws() -> Path:
    folder = ASSETS / "kws"
    if not (folder / "kws.npz").is_file():
        pytest.skip(f"the keyword-spotting network is not at {folder} (EDGEBUILD_ASSETS names the assets)")
    return folder
