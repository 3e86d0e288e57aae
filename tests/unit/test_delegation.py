from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from making import IDENTITY, metric, tensor
from operator_chains import BUILTIN, Step, chain

from edgebuild.actions.fidelity import Outputs, OutputsJob, ParityJob
from edgebuild.actions.runtimes import DelegationJob
from edgebuild.core.device import Mapping, OutputParity, Parity, Place
from edgebuild.core.layers import LayerKind, LayerShape
from edgebuild.core.measurement import Mode
from edgebuild.core.metric import Task
from edgebuild.core.model import ArtifactSpec
from edgebuild.core.target import Kernels
from edgebuild.data import samples
from edgebuild.data.given import Array, Examples
from edgebuild.errors import StepError
from edgebuild.flatbuffer.reader import read
from edgebuild.flatbuffer.rewriting.timed_parts import artifact_of_layer
from edgebuild.process import Child, Limits
from edgebuild.runtimes.delegation import Node, replaced
from edgebuild.runtimes.interpreters import load
from edgebuild.runtimes.parity import parity as compare_runs
from tests.conftest import PATIENCE_S

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=2 * 10**9)
BOTH = (Kernels.XNNPACK, Kernels.REFERENCE)


def _network(path: Path, *codes: int) -> Path:
    """Operators in a row on a float tensor; CUMSUM is along its second axis."""
    steps = [Step(code, (1, 8), (1,) if code == BUILTIN.CUMSUM else ()) for code in codes]
    return chain(path, (1, 8), steps)


def _delegation(path: Path, folder: Path) -> Mapping:
    with Child("edgebuild.execution.serving", "the interpreter", folder / "log") as child:
        answer = child.call("delegation", DelegationJob(artifact=str(path)), LIMITS, lambda text: None)
    return msgspec.json.decode(answer, type=Mapping)


def test_an_operator_that_xnnpack_does_not_take_is_read_from_the_runtime(tmp_path: Path) -> None:
    codes = (BUILTIN.NEG, BUILTIN.ABS, BUILTIN.CUMSUM, BUILTIN.NEG)
    mapping = _delegation(_network(tmp_path / "net.tflite", *codes), tmp_path)
    assert mapping.places == (
        Place(operator="NEG", count=2, is_mapped=True, tensors=("made0", "made3")),
        Place(operator="ABS", count=1, is_mapped=True, tensors=("made1",)),
        Place(operator="CUMSUM", count=1, is_mapped=False, tensors=("made2",)),
    )
    assert (mapping.accelerator, mapping.mode, mapping.partitions) == ("xnnpack", Mode.MEASURED, 2)
    assert mapping.source.startswith("LiteRT ")


def test_a_network_without_an_operator_for_xnnpack_is_left_whole(tmp_path: Path) -> None:
    mapping = _delegation(_network(tmp_path / "net.tflite", BUILTIN.CUMSUM), tmp_path)
    assert (mapping.mapped, mapping.operators, mapping.partitions) == (0, 1, 0)


def test_the_operators_that_xnnpack_leaves_of_real_networks_are_named(assets: Path, tmp_path: Path) -> None:
    mapping = _delegation(assets / "edgetpu" / "deeplabv3_mnv2_dm05_pascal_quant.tflite", tmp_path)
    assert [(place.operator, place.count) for place in mapping.left] == [("AVERAGE_POOL_2D", 1), ("ARG_MAX", 1)]
    assert (mapping.operators, mapping.partitions) == (72, 2)


def test_a_file_that_the_runtime_refuses_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"0000TFL3")
    with pytest.raises(StepError, match=r"does not run net\.tflite"):
        _delegation(tmp_path / "net.tflite", tmp_path)


def test_what_lies_between_a_delegates_ends_was_replaced_and_a_branch_around_it_was_not() -> None:
    operators = [
        Node("CONV", (0, 10), (1,)),
        Node("POOL", (1,), (2,)),
        Node("ADD", (1, 2), (3,)),
        Node("SOFTMAX", (3,), (4,)),
        Node("CONV", (1, 11), (5,)),
    ]
    first, second = Node("DELEGATE", (0, 10, 11), (1, 5)), Node("DELEGATE", (1, 2), (3,))
    assert replaced(operators, [first, second]) == {0, 2, 4}
    assert replaced(operators, []) == frozenset()


def _run(path: Path, spec: ArtifactSpec, split: Path, kernels: Kernels, folder: Path, **more: Any) -> Path:
    """The folder where a run of its own child kept its outputs."""
    out = folder / str(kernels)
    out.mkdir()
    job = OutputsJob(
        artifact=str(path), spec=spec, kernels=kernels, samples=str(split), preprocess=IDENTITY, out=str(out), **more
    )
    with Child("edgebuild.execution.serving", "the interpreter", folder / "log") as child:
        ran = msgspec.json.decode(child.call("outputs", job, LIMITS, lambda text: None), type=Outputs)
    assert ran.samples == len(np.load(out / "output000.npy"))
    return out


def _compare(job: ParityJob, folder: Path) -> Parity:
    with Child("edgebuild.execution.serving", "the interpreter", folder / "log") as child:
        return msgspec.json.decode(child.call("parity", job, LIMITS, lambda text: None), type=Parity)


def _parity(path: Path, x: Array, folder: Path, **more: Any) -> Parity:
    """Both families on the same samples, each in a child of its own."""
    split, spec = folder / "split", read(path)
    samples.save(Examples((x,)), split)
    first, second = (_run(path, spec, split, kernels, folder, **more) for kernels in BOTH)
    return _compare(ParityJob(spec=spec, kernels=BOTH, outputs=(str(first), str(second))), folder)


def _compared(spec: ArtifactSpec, first: Array, second: Array, folder: Path) -> Parity:
    """Two runs of which the test makes up what they wrote."""
    for name, values in (("first", first), ("second", second)):
        (folder / name).mkdir()
        np.save(folder / name / "output000.npy", values)
    outputs = (str(folder / "first"), str(folder / "second"))
    return _compare(ParityJob(spec=spec, kernels=BOTH, outputs=outputs), folder)


def _spec(**fields: Any) -> ArtifactSpec:
    output = tensor("scores", (1, 3), **fields)
    return ArtifactSpec(inputs=(), outputs=(output,), operators=(), signatures=(), activations_bytes=0)


def test_parity_counts_samples_whose_yes_or_no_differs_not_their_last_digits(tmp_path: Path) -> None:
    first = np.array([[10, 90, 80], [10, 90, 80], [10, 90, 80]], np.int8)
    second = first + np.array([[1, -1, 1], [0, 0, -60], [0, -15, 0]], np.int8)
    for name, values in (("first", first), ("second", second)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "output000.npy", values)
    several = metric("accuracy", task=Task.LABELS, threshold=0.5)
    job = ParityJob(
        spec=_spec(dtype="int8", scale=0.01, zero_point=0),
        kernels=BOTH,
        outputs=(str(tmp_path / "first"), str(tmp_path / "second")),
        metric=several,
    )
    assert compare_runs(job, lambda text: None).differing_answers == 1


def test_parity_is_what_running_both_kernel_families_by_hand_gives(tmp_path: Path) -> None:
    layer = LayerShape(kind=LayerKind.FULLY_CONNECTED, in_channels=64, out_channels=10)
    path = tmp_path / "layer.tflite"
    path.write_bytes(artifact_of_layer(layer, seed=5))
    x = np.random.default_rng(6).uniform(-2.5, 2.5, (200, 64)).astype(np.float32)
    stored = [_by_hand(path, kernels, x) for kernels in BOTH]
    parity = _parity(path, x, tmp_path)
    steps = np.abs(stored[0].astype(int) - stored[1].astype(int))
    (output,) = parity.outputs
    assert parity.kernels == ("xnnpack", "reference")
    assert parity.samples == 200
    assert output.largest_steps == steps.max()
    assert output.differing_values == pytest.approx((steps > 0).mean())
    assert parity.differing_answers == (stored[0].argmax(-1) != stored[1].argmax(-1)).sum()


def _by_hand(path: Path, kernels: Kernels, x: Array) -> Array:
    interpreter = load(str(path), "the layer", kernels, threads=1)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = source["quantization"]
    rows = []
    for row in x:
        quotient = row / np.float32(scale)
        rounded = np.trunc(quotient + np.copysign(np.float32(0.5), quotient)) + zero_point
        interpreter.set_tensor(source["index"], np.clip(rounded, -128, 127).astype(np.int8)[np.newaxis])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target["index"])[0])
    return np.stack(rows)


def test_kernels_that_quantize_in_other_ways_are_seen_to_differ(assets: Path, tmp_path: Path) -> None:
    """The published file holds int8 weights for float data, which XNNPACK and the reference kernels compute unlike."""
    x = np.load(assets / "kws" / "kws.npz")["x_eval"]
    parity = _parity(assets / "kws" / "reference_float32.tflite", x, tmp_path, most_samples=40)
    (output,) = parity.outputs
    assert parity.samples == 40
    assert output.largest_steps is None
    assert output.largest_difference is not None
    assert output.largest_difference > 1e-3


def test_differences_are_told_in_steps_of_the_grid_and_in_real_values(tmp_path: Path) -> None:
    first = np.array([[-128, 5, 5], [1, 2, 3], [9, 0, 0], [0, 0, 7]], np.int8)
    second = np.array([[-128, 5, 6], [1, 2, 3], [9, 0, 0], [0, 8, 7]], np.int8)
    parity = _compared(_spec(dtype="int8", scale=0.25, zero_point=3), first, second, tmp_path)
    assert parity.differing_answers == 2
    assert parity.outputs == (
        OutputParity(name="scores", largest_steps=8, largest_difference=2.0, differing_values=2 / 12),
    )


def test_equal_runs_have_no_differences_also_where_both_hold_no_number(tmp_path: Path) -> None:
    values = np.array([[0.5, np.nan, np.inf]], np.float32)
    parity = _compared(_spec(), values, values.copy(), tmp_path)
    assert parity.differing_answers == 0
    assert parity.outputs[0].largest_difference == parity.outputs[0].differing_values == 0.0


def test_a_value_that_is_finite_on_one_side_alone_has_no_difference_in_numbers(tmp_path: Path) -> None:
    first, second = (np.array([[0.5, last, 1.0]], np.float32) for last in (0.25, np.nan))
    (output,) = _compared(_spec(), first, second, tmp_path).outputs
    assert output.largest_difference is None
    assert output.differing_values == pytest.approx(1 / 3)


def test_an_answer_of_one_value_differs_where_the_value_does(tmp_path: Path) -> None:
    first, second = np.array([[1.0], [2.0]], np.float32), np.array([[1.0], [2.5]], np.float32)
    assert _compared(_spec(), first, second, tmp_path).differing_answers == 1


def test_runs_of_other_samples_are_not_compared(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="cannot be compared"):
        _compared(_spec(), np.zeros((2, 3), np.float32), np.zeros((3, 3), np.float32), tmp_path)
