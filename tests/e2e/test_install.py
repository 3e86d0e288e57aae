"""Both kinds of install find the target profiles, wherever the command is started."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from conftest import ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
LOCALLY = ["--no-build-isolation", "--no-index"]


def copy_of_the_project(folder: Path) -> Path:
    """What git would check out, so that a build leaves nothing in the real tree."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def profiles_seen_by(packages: Path, cwd: Path) -> tuple[str, list[str]]:
    """Where edgebuild is imported from, and the profiles that it lists."""
    script = (
        "import edgebuild, sys; print(edgebuild.__file__, flush=True);"
        "from edgebuild.cli import run; sys.exit(run(['targets']))"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    place, *lines = ran.stdout.splitlines()
    return place, [line.split()[0] for line in lines]


def test_a_wheel_carries_the_profiles(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path / "project")
    packages = tmp_path / "packages"

    subprocess.run([*PIP, *LOCALLY, "--target", packages, project], check=True)
    place, profiles = profiles_seen_by(packages, tmp_path)

    assert Path(place) == packages / "edgebuild" / "__init__.py"
    assert profiles == sorted(path.stem for path in (ROOT / "targets").glob("*.toml"))
    assert len(profiles) >= 9


def test_an_editable_install_sees_the_profiles_of_the_checkout(tmp_path: Path) -> None:
    project = copy_of_the_project(tmp_path / "project")
    wheels = tmp_path / "wheels"
    packages = tmp_path / "packages"

    # The wheel of an editable install holds a path to the checkout; unpacked here, it leaves this environment alone.
    build = "from hatchling.build import build_editable as b; import sys; b(sys.argv[1])"
    wheels.mkdir()
    subprocess.run([sys.executable, "-c", build, wheels], cwd=project, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (pointer,) = packages.glob("*.pth")
    (project / "targets" / "brand-new.toml").write_text('extends = "mcu"\ndescription = "new"\n')
    place, profiles = profiles_seen_by(Path(pointer.read_text().strip()), tmp_path)

    assert Path(place) == project / "edgebuild" / "__init__.py"
    assert "brand-new" in profiles
