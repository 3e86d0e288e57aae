"""Settings and fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# What is measured here is no part of anyone's history, nor estimated by anyone's calibrations.
os.environ["EDGEBUILD_HISTORY"] = "off"
os.environ["EDGEBUILD_CALIBRATIONS"] = os.devnull

settings.register_profile("edgebuild", deadline=None, derandomize=True, database=None)
settings.load_profile("edgebuild")


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real models, named by EDGEBUILD_ASSETS."""
    folder = Path(os.environ.get("EDGEBUILD_ASSETS") or ROOT.parent / "shared" / "assets")
    if not folder.is_dir():
        pytest.skip(f"there are no real models at {folder}: set EDGEBUILD_ASSETS to their folder")
    return folder
