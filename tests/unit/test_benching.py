"""Artifacts timed by themselves: found, looked through, and run in a child that may end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sessions
from damages import copies
from making import SETTINGS, budget, manifest

from edgebuild.core.budget import Subject
from edgebuild.core.manifest import Manifest
from edgebuild.core.settings import LimitSettings
from edgebuild.core.target import Kernels
from edgebuild.errors import StepError, UsageError
from edgebuild.execution.session import Session
from edgebuild.pipeline import benching, check
from edgebuild.pipeline.demands import Runnable
from edgebuild.pipeline.figures import describe, of_file

SHORT = msgspec.structs.replace(SETTINGS.bench, runs=10, time=0.2, workers=1)
LIMITS = LimitSettings(step_time=60, step_memory=10**9, run_time=60, run_memory=10**9)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with sessions.opened(tmp_path) as opened:
        yield opened


def _published(data: bytes, folder: Path, name: str = "net.tflite") -> Manifest:
    """A manifest as a build leaves it, with the artifact beside it."""
    artifact = describe(name, data)
    made = manifest((budget("size", 10**9),), artifact=artifact, measurements=of_file(artifact))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(made))
    return made


def _demands(made: Manifest) -> check.Demands:
    return check.Demands(lambda _: made.plan.budgets)


def test_a_file_is_timed_and_its_memory_weighed(assets: Path, session: Session) -> None:
    found = benching.find(assets / "kws" / "reference_int8.tflite", None)
    assert [known.item.kernels for known in found] == [Kernels.XNNPACK]
    (result,) = benching.bench(found, SHORT, lambda _: (), session, operators=False)
    figures = {measurement.subject: measurement for measurement in result.measurements}
    samples = figures[Subject.LATENCY].samples
    assert 0 < len(samples) <= 10
    assert 0 < min(samples) <= figures[Subject.LATENCY].value <= max(samples)
    assert figures[Subject.PEAK_MEMORY].value > 0


def test_what_was_built_is_found_by_folder_manifest_and_file_with_its_targets_kernels(
    assets: Path, tmp_path: Path
) -> None:
    data = (assets / "tflm" / "hello_world_int8.tflite").read_bytes()
    _published(data, tmp_path / "dist" / "mcu")
    artifact = tmp_path / "dist" / "mcu" / "net.tflite"
    for place in (tmp_path / "dist", artifact.parent, artifact.parent / "manifest.json", artifact):
        assert [known.item for known in benching.find(place, None)] == [Runnable(artifact, Kernels.REFERENCE)]
    assert benching.find(artifact, Kernels.BUILTIN)[0].item.kernels == Kernels.BUILTIN


def test_a_place_without_artifacts_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to check at"):
        benching.find(tmp_path / "none", None)
    with pytest.raises(OSError, match="No such file"):
        benching.find(tmp_path / "none.tflite", None)


@pytest.mark.slow
def test_no_damaged_copy_of_what_was_built_passes_check_or_is_run(assets: Path, tmp_path: Path) -> None:
    files = [path for path in sorted(assets.rglob("*.tflite")) if path.stat().st_size < 60_000]
    originals = {path.name: path.read_bytes() for path in files}
    passed = []
    for number, (name, damaged) in enumerate(copies(files, 1000, seed=5)):
        original = originals[name.split("-", 2)[2]]
        made = _published(original, tmp_path / "mcu")
        (tmp_path / "mcu" / "net.tflite").write_bytes(damaged)
        (checked,) = check.check([tmp_path / "mcu" / "manifest.json"], _demands(made))
        if damaged == original:
            continue
        if checked.error is None:
            passed.append(f"{number} {name}: check")
        with pytest.raises(StepError):
            benching.find(tmp_path / "mcu" / "net.tflite", None)
    assert passed == []


@pytest.mark.slow
def test_damaged_files_of_which_nothing_is_known_end_as_errors_or_figures(
    assets: Path, tmp_path: Path, session: Session
) -> None:
    small = [path for path in sorted(assets.rglob("*.tflite")) if path.stat().st_size < 60_000]
    timed = failed = hung = 0
    for name, damaged in copies(small, 75, seed=6):
        path = tmp_path / "copy.tflite"
        path.write_bytes(damaged)
        try:
            known = benching.find(path, Kernels.REFERENCE)
            (result,) = benching.bench(known, SHORT, lambda _: (), session, operators=False)
            timed += 1
            assert all(measurement.value >= 0 for measurement in result.measurements), name
        except StepError as error:
            hung += "it was not done after" in error.what
            failed += 1
    assert timed > 0
    assert failed > 0
    assert hung == 0
