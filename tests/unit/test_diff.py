from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ai_edge_litert import schema_py_generated as schema
from making import FIGURES, figure, manifest
from tflite_networks import Network

from edgebuild.cli import run
from edgebuild.core.difference import Difference
from edgebuild.core.manifest import Manifest
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.gating.differences import Side, between
from edgebuild.pipeline.figures import describe

BUILTIN, TYPE = schema.BuiltinOperator, schema.TensorType


def _chain(*steps: tuple[str, int], units: int = 4, names: bool = True, version: int = 1) -> bytes:
    """Operators one behind the other, each called by its step; a FULLY_CONNECTED has weights of its own."""
    network = Network()
    first = last = network.tensor("x", [1, units])
    for name, code in steps:
        inputs = [last]
        if code == BUILTIN.FULLY_CONNECTED:
            weights = [units, units]
            inputs.append(network.tensor(f"{name}/w", weights, TYPE.INT8, constant=True, data=[1] * units * units))
        last = network.tensor(name if names else "", [1, units])
        network.operator(code, inputs, [last], version=version)
    return network.packed([first], [last])


def _between(before: bytes, after: bytes, *manifests: Manifest) -> Difference:
    of_before, of_after = manifests or (None, None)
    return between(Side("a", inspect(before, "a"), of_before), Side("b", inspect(after, "b"), of_after))


A, B, C = ("a", BUILTIN.FULLY_CONNECTED), ("b", BUILTIN.RELU), ("c", BUILTIN.SOFTMAX)


def test_a_file_does_not_differ_from_itself() -> None:
    found = _between(_chain(A, B, C), _chain(A, B, C))
    assert (found.layers, found.same_layers, found.operators) == ((), 3, ())
    assert not any(change.by for change in (*found.totals, *found.sections))


def test_operators_are_matched_by_name_wherever_they_stand() -> None:
    found = _between(_chain(A, B, C), _chain(("new", BUILTIN.TANH), A, C))
    told = [(layer.name, layer.operator, layer.before, layer.after) for layer in found.layers]
    assert told == [("new", "TANH", -1, 0), ("b", "RELU", 1, -1)]
    assert found.same_layers == 2
    assert {(change.name, change.by) for change in found.operators} == {("TANH", 1), ("RELU", -1)}


def test_a_layer_that_grew_says_by_how_many_bytes_and_macs() -> None:
    found = _between(_chain(A, C, units=4), _chain(A, C, units=8))
    dense = found.layers[0]
    assert (dense.constants_bytes.before, dense.constants_bytes.after) == (16, 64)
    assert (dense.macs.before, dense.macs.after) == (16, 64)
    assert dense.changes == ("shape 1x4 -> 1x8",)
    totals = {change.name: (change.before, change.after) for change in found.totals}
    assert totals["macs"] == (16, 64)
    assert totals["activations_bytes"] == (32, 64)


def test_where_names_were_stripped_operators_are_matched_by_their_order() -> None:
    found = _between(_chain(A, B, C), _chain(A, C, names=False))
    assert [(layer.name, layer.operator, layer.after) for layer in found.layers] == [("b", "RELU", -1)]
    assert found.same_layers == 2
    assert "matched by their order" in found.notes[0]


def test_another_version_and_type_are_changes() -> None:
    (change,) = _between(_chain(B), _chain(B, version=2)).layers
    assert change.changes == ("version 1 -> 2",)


def _figures(before: Manifest, after: Manifest) -> dict[str, Any]:
    return {str(item.subject): item for item in _between(_chain(A), _chain(A), before, after).figures}


def test_latencies_are_two_measurements_and_said_so() -> None:
    slower = [figure("latency", 0.0003, where="host", machine="x86_64, Some Processor, 2 cores", kernels="reference")]
    found = _figures(manifest(), manifest(measurements=tuple(slower)))["latency"]
    assert (found.before, found.after, found.mode) == (0.000215, 0.0003, "measured")
    assert "not in turns" in found.note
    moved = manifest(measurements=(figure("latency", 0.0003, where="host", machine="other", kernels="reference"),))
    assert "different machines" in _figures(manifest(), moved)["latency"].note


def test_accuracies_on_other_data_are_not_comparable() -> None:
    before = manifest()
    assert _figures(before, before)["accuracy"].note == ""
    assert before.inputs.data is not None
    data = msgspec.structs.replace(before.inputs.data, evaluation_sha256="99" * 32)
    after = manifest(inputs=msgspec.structs.replace(before.inputs, data=data))
    assert "different evaluation data" in _figures(before, after)["accuracy"].note


def _publish(folder: Path, target: str, data: bytes) -> Path:
    made = manifest(target=target, artifact=describe("kws.tflite", data), measurements=FIGURES)
    (folder / target).mkdir(parents=True)
    (folder / target / "kws.tflite").write_bytes(data)
    (folder / target / "manifest.json").write_bytes(msgspec.json.encode(made))
    return folder


def test_the_command_compares_two_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tflite").write_bytes(_chain(A, B, C))
    (tmp_path / "b.tflite").write_bytes(_chain(A, C))
    assert run(["diff", str(tmp_path / "a.tflite"), str(tmp_path / "b.tflite")]) == 0
    shown = capsys.readouterr().out
    assert "removed  1  RELU b" in shown
    assert "layers: 2 as before, 1 not" in shown


def test_the_command_compares_the_targets_that_two_folders_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in ("mcu", "arm64"):
        _publish(tmp_path / "old", target, _chain(A, B, C))
    for target in ("mcu", "arm64", "edgetpu"):
        _publish(tmp_path / "new", target, _chain(A, C))
    assert run(["diff", str(tmp_path / "old"), str(tmp_path / "new"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(item["after"]).parent.name for item in found] == ["arm64", "mcu"]
    assert {figure["subject"] for figure in found[0]["figures"]} >= {"accuracy", "latency"}


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a tagged release of two targets, and a later build of one of them in the working folder."""
    folder = tmp_path / "project"
    for target in ("mcu", "arm64"):
        _publish(folder / "dist", target, _chain(A, B, C))
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "one")
    _git(folder, "tag", "v1.0")
    shutil.rmtree(folder / "dist")
    _publish(folder / "dist", "arm64", _chain(A, C))
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", "two")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("v1.0", "dist", ("v1.0:dist/arm64/kws.tflite", "dist/arm64/kws.tflite")),
        ("git:v1.0", "dist/arm64", ("v1.0:dist/arm64/kws.tflite", "dist/arm64/kws.tflite")),
        ("HEAD~1", "dist/arm64/kws.tflite", ("HEAD~1:dist/arm64/kws.tflite", "dist/arm64/kws.tflite")),
        ("v1.0", "HEAD", ("v1.0:dist/arm64/kws.tflite", "HEAD:dist/arm64/kws.tflite")),
        ("v1.0:dist/mcu", "dist/arm64", ("v1.0:dist/mcu/kws.tflite", "dist/arm64/kws.tflite")),
    ],
)
def test_a_git_ref_is_a_side_like_any_other(
    repository: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, named: tuple[str, str]
) -> None:
    assert run(["diff", before, after, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["before"], found["after"]) == named
    assert [layer["name"] for layer in found["layers"]] == ["b"]
    assert {figure["subject"] for figure in found["figures"]} >= {"accuracy", "latency"}


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("v9", "git knows no commit v9"),
        ("v1.0:nowhere", "holds no manifest.json at nowhere"),
        ("v1.0:no.tflite", "v1.0:no.tflite is not there"),
    ],
)
def test_a_ref_that_holds_nothing_is_wrong_usage(
    repository: Path, capsys: pytest.CaptureFixture[str], before: str, told: str
) -> None:
    assert run(["diff", before, "dist"]) == 2
    assert told in capsys.readouterr().err


def test_a_file_that_is_missing_is_no_ref(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diff", "none.tflite", "dist"]) == 4
    assert "none.tflite" in capsys.readouterr().err


def test_what_a_shallow_checkout_lacks_is_said_with_the_remedy(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shallow = tmp_path / "shallow"
    _git(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), str(shallow))
    monkeypatch.chdir(shallow)
    assert run(["diff", "v1.0", "dist"]) == 2
    assert "git fetch --unshallow --tags" in capsys.readouterr().err
    _git(shallow, "fetch", "-q", "--unshallow", "--tags")
    assert run(["diff", "v1.0", "dist"]) == 0


def test_a_file_is_compared_with_what_its_own_manifest_recorded(tmp_path: Path) -> None:
    """A manifest that lies beside another file says nothing of it."""
    from edgebuild.pipeline.baselines import compare

    old, new = (_publish(tmp_path / name, "mcu", _chain(A)) / "mcu" / "kws.tflite" for name in ("old", "new"))
    assert compare(old, new)[0].figures
    new.write_bytes(_chain(A, B))
    assert compare(old, new)[0].figures == ()


def test_folders_without_a_common_target_are_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for target in ("mcu", "arm64"):
        _publish(tmp_path / "old", target, _chain(A))
    for target in ("edgetpu", "ethos-u55-128"):
        _publish(tmp_path / "new", target, _chain(A))
    assert run(["diff", str(tmp_path / "old"), str(tmp_path / "new")]) == 2
    assert "no target in common" in capsys.readouterr().err


def test_a_damaged_file_ends_the_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tflite").write_bytes(_chain(A))
    (tmp_path / "b.tflite").write_bytes(_chain(A)[:-40])
    assert run(["diff", str(tmp_path / "a.tflite"), str(tmp_path / "b.tflite")]) == 4
    assert "b.tflite is damaged" in capsys.readouterr().err
