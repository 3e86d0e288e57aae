"""Packages of strangers, installed for a test as pip would leave them."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "plugins" / "edge_stranger"
OFFERS = {
    "metrics": {"worst-class": "edge_stranger.offers:WORST_CLASS", "misses": "edge_stranger.offers:MISSES"},
    "passes": {name: f"edge_stranger.offers:{name.upper()}" for name in ("coarse", "fades", "cut")},
    "devices": {"board": "edge_stranger.offers:BOARD"},
    "importers": {"layers": "edge_stranger.offers:READER"},
    "compilers": {"sxc": "edge_stranger.offers:SX"},
    "reports": {"lines": "edge_stranger.offers:LINES"},
}


def distribution(folder: Path, name: str, groups: Mapping[str, Mapping[str, str]], version: str = "1.2") -> None:
    """What pip leaves of a package beside its modules."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = (
        line
        for group, points in groups.items()
        for line in (f"[edgebuild.{group}]", *(f"{point} = {value}" for point, value in points.items()))
    )
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def installed(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """The stranger's package, in a folder where this process and those that it starts look modules up."""
    shutil.copytree(PACKAGE, folder / "edge_stranger", ignore=shutil.ignore_patterns("__pycache__"))
    distribution(folder, "edge-stranger", OFFERS)
    on_path(folder, patch)
    return folder


def on_path(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let modules be looked up in a folder, and forget what was imported of the packages in it."""
    patch.syspath_prepend(folder)
    patch.setenv("PYTHONPATH", str(folder))
    tops = {item.stem for item in folder.iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        patch.delitem(sys.modules, name)
    importlib.invalidate_caches()
