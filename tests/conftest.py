"""Settings and fixtures shared by all tests."""

from __future__ import annotations

import compileall
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
# How long tests wait, at most, for what is sure to come: only a machine on which it never comes waits so long.
PATIENCE_S = 300.0

# What is measured here is no part of anyone's history, nor estimated by anyone's calibrations.
os.environ["EDGEBUILD_HISTORY"] = "off"
os.environ["EDGEBUILD_CALIBRATIONS"] = os.devnull
# Nor is what a machine sets for its own terminals and repositories any part of what is tested.
for _own in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
    os.environ.pop(_own, None)
# A shell lets what it starts in the background ignore interrupts, and children inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    with contextlib.suppress(ValueError):  # elsewhere than in the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package once where Python is told to write no bytecode, as an installation has it compiled.

    Else each of the many processes that tests start would compile all that it imports.
    """
    if sys.dont_write_bytecode and not hasattr(config, "workerinput"):
        compileall.compile_dir(ROOT / "edgebuild", quiet=1)


settings.register_profile("edgebuild", deadline=None, derandomize=True, database=None)
settings.load_profile("edgebuild")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models, named by EDGEBUILD_ASSETS."""
    folder = Path(os.environ.get("EDGEBUILD_ASSETS") or ROOT.parent / "shared" / "assets")
    if not folder.is_dir():
        pytest.skip(f"there are no real models at {folder}: set EDGEBUILD_ASSETS to their folder")
    return folder
