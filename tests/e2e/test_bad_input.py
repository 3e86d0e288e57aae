"""Bad input: one clear message, the right exit code, no traceback, and earlier artifacts as they were."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Edgebuild

from tests.conftest import PATIENCE_S


@pytest.fixture
def careful(edgebuild: Edgebuild) -> Iterator[Edgebuild]:
    """The command in a folder with an artifact from before, which must be the same afterwards."""
    place = edgebuild.folder / "dist" / "arm64"
    place.mkdir(parents=True)
    before = {"manifest.json": b"a manifest", "keras3.tflite": b"an artifact", "digits.tflite": b"another"}
    for name, data in before.items():
        (place / name).write_bytes(data)
    yield edgebuild
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def refused(edgebuild: Edgebuild, *arguments: object, code: int, says: list[str]) -> None:
    ran = edgebuild(*arguments)
    assert ran.code == code, ran.err
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    for words in says:
        assert words in ran.err


@pytest.mark.parametrize(
    ("network", "code", "says"),
    [
        ("nowhere.keras", 2, ["there is no model at", "Name a .keras or .h5 file"]),
        ("text.tflite", 2, ["text.tflite", "already"]),
        ("text.npz", 2, ["is no network that can be read"]),
        ("pictures", 2, ["is no SavedModel"]),
        ("text.keras", 4, ["text.keras is not a Keras file", "Save it again"]),
    ],
)
def test_a_network_that_cannot_be_read(
    careful: Edgebuild, networks: Path, network: str, code: int, says: list[str]
) -> None:
    refused(careful, networks / network, "-d", networks / "images.npz", "-t", "arm64", code=code, says=says)


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        ("nowhere.npz", 2, ["there is no data at"]),
        ("text.npz", 2, ["text.npz is not a .npz file"]),
        ("wide.npz", 2, ["samples have the shape 5", "the network's input image has 8x8x1"]),
    ],
)
def test_data_that_cannot_be_used(careful: Edgebuild, networks: Path, data: str, code: int, says: list[str]) -> None:
    refused(careful, networks / "keras3.keras", "-d", networks / data, "-t", "arm64", code=code, says=says)


def test_samples_that_cannot_be_used(careful: Edgebuild, networks: Path) -> None:
    shutil.copy(networks / "mine.py", careful.folder)
    says = ["train: sample 7 holds NaN or infinite values"]
    refused(careful, "mine:model", "-d", networks / "nan.npz", "-t", "arm64", code=2, says=says)


def test_a_function_that_gives_no_network(careful: Edgebuild, networks: Path) -> None:
    shutil.copy(networks / "mine.py", careful.folder)
    says = ["mine:raises failed", "not today"]
    refused(careful, "mine:raises", "-d", networks / "features.npz", "-t", "arm64", code=4, says=says)


# Each refused like those above, in one go: network, data, exit code, and what is said.
MORE = (
    ("text.h5", "images.npz", 4, ["text.h5 is not an HDF5 file", "Save it again"]),
    ("bare.h5", "images.npz", 4, ["holds weights only"]),
    ("code.keras", "images.npz", 4, ["Lambda layer twice", "--allow-code"]),
    ("keras3.keras", "objects.npz", 2, ["objects.npz", "pickle"]),
    ("keras3.keras", "ends.npz", 2, ["no input takes x_eval/ape", "The network's inputs: image"]),
    ("mine:model", "no_calibration.npz", 2, ["the calibration split is empty"]),
    ("mine:model", "mine:misnamed", 2, ['unknown arrays: trian; did you mean "train"?']),
    ("mine:model", "mine:model", 2, ["mine:model returned Functional"]),
    ("mine:nothing", "features.npz", 2, ["mine:nothing cannot be loaded"]),
    ("absent:model", "features.npz", 2, ["absent:model cannot be loaded"]),
    ("mine:arrays", "features.npz", 4, ["mine:arrays returned dict", "must return a Keras model"]),
)


@pytest.mark.slow
def test_whatever_cannot_be_used_is_refused_by_itself_among_others(careful: Edgebuild, networks: Path) -> None:
    shutil.copy(networks / "mine.py", careful.folder)

    def path(name: str) -> str:
        return name if ":" in name else str(networks / name)

    tables = {
        f"build{number}": f'targets = ["arm64"]\nmodel = "{path(model)}"\ndata = "{path(data)}"'
        for number, (model, data, _, _) in enumerate(MORE)
    }
    found = careful.each(tables)
    for (model, data, code, says), outcome in zip(MORE, found.values(), strict=True):
        (error,) = [each["error"] for each in outcome["errors"]]
        assert error["exit_code"] == code, (model, data, error)
        whole = " ".join(str(error[part]) for part in ("what", "why", "remedy"))
        assert [words for words in says if words not in whole] == [], (model, data, whole)
        assert not outcome["manifests"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-t", "arm46"], ['no target is called "arm46"; did you mean "arm64"?']),
        (["-t", "mine.toml"], ["no target profile mine.toml"]),
        ([], ["no target was named", "--target arm64"]),
        (["-t", "arm64", "-b", "size=60"], ["size: '60' has no unit", "300 KB"]),
        (["-t", "arm64", "-b", "sise=60KB"], ['did you mean "size"?']),
        (["-t", "arm64", "-b", "size"], ["--budget 'size' cannot be read"]),
        pytest.param(["-t", "arm64", "-b", "accuracy=0.9"], ["accuracy: '0.9' has no unit"], marks=pytest.mark.slow),
        (["-t", "arm64", "-m", "acuracy"], ['did you mean "accuracy"?']),
        (["-t", "arm64", "--bugdet", "size=1KB"], ["No such option", "--budget"]),
        (["-t", "arm64", "-q", "int4"], ["int4"]),
        (["-t", "arm64", "-d", "some.npz"], ["there is data at some.npz, but no model"]),
        (["-t", "arm64", "--name", "../x"], ["'../x' cannot be the name of an artifact"]),
        (["-t", "a/board.toml", "-t", "b/board.toml"], ["a/board.toml and b/board.toml are both called board"]),
        (["-t", "arm64", "-c", "nowhere.toml"], ["nowhere.toml does not exist"]),
        (["-t", "arm64", "--seed", "x"], ["--seed"]),
        (["chek", "dist"], ['did you mean "check"?']),
        (["check", "nowhere"], ["nothing to check at nowhere"]),
        (["targets", "arm46"], ['did you mean "arm64"?']),
    ],
)
def test_a_command_that_cannot_be_meant(careful: Edgebuild, arguments: list[str], says: list[str]) -> None:
    refused(careful, *arguments, code=2, says=says)


def test_all_mistakes_of_a_configuration_are_named_at_once(careful: Edgebuild) -> None:
    careful.config('[data]\nsed = 3\ncalibration_samples = "many"\n[limits]\nrun_time = 5\n[bilud]\n')

    ran = careful("-t", "arm64")

    assert ran.code == 2
    assert "edgebuild.toml: 4 mistakes" in ran.err
    assert 'data.sed is not a known key; did you mean "seed"? (edgebuild.toml)' in ran.err
    assert "data.calibration_samples: Expected `int`, got `str`" in ran.err
    assert "limits.run_time: 5 has no unit" in ran.err
    assert 'bilud is not a known key; did you mean "build"?' in ran.err


def test_settings_for_a_target_that_is_not_built_are_a_mistake(careful: Edgebuild) -> None:
    careful.config('[targets.arm46.budgets]\nsize = "1 KB"\n')

    ran = careful("-t", "arm64")

    assert ran.code == 2
    assert '[targets.arm46] is for no target that is known or built; did you mean "arm64"?' in ran.err


def test_a_configuration_without_a_network_does_not_build_the_example(careful: Edgebuild) -> None:
    careful.config('[budgets]\nsize = "60 KB"\n')

    ran = careful("-t", "arm64")

    assert ran.code == 2
    assert "there is edgebuild.toml, but no model" in ran.err


def test_without_data_int8_is_refused_before_anything_is_loaded(careful: Edgebuild, networks: Path) -> None:
    says = ["there are no data to calibrate with", "--quantize dynamic or float16"]
    refused(careful, networks / "text.keras", "-t", "arm64", code=2, says=says)


def test_a_folder_that_cannot_be_written_is_said_before_the_work(careful: Edgebuild) -> None:
    (careful.folder / "file").write_text("")

    ran = careful("-t", "arm64", "-o", "file/dist", "--seed", "99")

    assert ran.code == 4
    assert "file is not a folder" in ran.err
    assert "train" not in ran.err


@pytest.mark.slow
def test_an_artifact_that_cannot_be_replaced_leaves_the_earlier_one(edgebuild: Edgebuild) -> None:
    (edgebuild.folder / "dist/arm64/digits.tflite/in the way").mkdir(parents=True)

    ran = edgebuild("-t", "arm64")

    assert ran.code == 4
    assert "dist/arm64 cannot be written" in ran.err
    assert [path.name for path in (edgebuild.folder / "dist/arm64").iterdir()] == ["digits.tflite"]


@pytest.mark.slow
def test_a_full_disk_is_said_and_leaves_what_was_there(edgebuild: Edgebuild) -> None:
    edgebuild("-t", "arm64")
    script = """
mount -t tmpfs -o size=64k none "$1" && mkdir -p "$1/arm64" && echo old > "$1/arm64/manifest.json" || exit 99
head -c 50000 /dev/zero > "$1/filler"
"$2" -m edgebuild -t arm64 --no-compress --no-refine --out "$1"; code=$?
echo "code $code; files: $(ls -A "$1/arm64"); old: $(cat "$1/arm64/manifest.json")"
"""
    small = edgebuild.folder / "small"
    small.mkdir()
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(small), sys.executable],
        cwd=edgebuild.folder,
        env=edgebuild.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == 99 or "unshare" in ran.stderr:
        pytest.skip(f"a small file system cannot be mounted here: {ran.stderr.strip()}")

    assert "code 4; files: manifest.json; old: old" in ran.stdout
    assert "No space left on device" in ran.stderr
    assert "Make room" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_running_and_nothing_half_done(
    careful: Edgebuild, tmp_path: Path, number: signal.Signals
) -> None:
    import psutil

    store = tmp_path / "store"
    process = careful.start("-t", "arm64", EDGEBUILD_STORE=str(store))
    children: list[psutil.Process] = []
    # Into the work of the child, which has hardly loaded TensorFlow by then.
    while process.poll() is None and sum(sum(child.cpu_times()[:2]) for child in children) < 0.5:
        time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)

    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive
    assert list((store / "tmp").iterdir()) == []


def test_a_child_that_takes_too_long_or_too_much_is_ended_with_the_cause(careful: Edgebuild, networks: Path) -> None:
    network, data = networks / "keras3.keras", networks / "images.npz"
    careful.config('[limits]\nstep_time = "50 ms"\n')
    slow = careful(network, "-d", data, "-t", "arm64", EDGEBUILD_STORE=str(careful.folder / "s1"))
    careful.config('[limits]\nstep_memory = "50 MB"\n')
    large = careful(network, "-d", data, "-t", "arm64", EDGEBUILD_STORE=str(careful.folder / "s2"))

    assert slow.code == 4
    assert "was not done after 50 ms" in slow.err
    assert large.code == 4
    assert "more than its 50.0 MB" in large.err
    assert "[limits]" in large.err
