from __future__ import annotations

from typing import Any

import msgspec
import pytest
from making import INT8, artifact, network, operator, plan, tensor

from edgebuild.core.model import UNKNOWN_RUNTIME, version_key
from edgebuild.core.passes import DType
from edgebuild.core.target import Kernels, Operators, Runtime
from edgebuild.errors import StepError
from edgebuild.readback import in_order, layers_of, mismatches, require_fit

LITERT = Runtime(name="litert", version="2.5.0", kernels=Kernels.REFERENCE)


def _problems(plan_fields: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    return list(mismatches(artifact(**fields), network(), plan(**(plan_fields or {}))))


def test_an_artifact_that_keeps_its_plan_has_no_mismatch() -> None:
    assert _problems() == []
    require_fit(artifact(), network(), plan())


def test_a_float_operator_is_named_with_its_layers() -> None:
    operators = (
        operator("CONV_2D", "net/conv/Conv2D", dtypes=("float32",)),
        operator("CONV_2D", "net/dense/x", dtypes=("int8", "float32")),
    )
    assert _problems(operators=operators) == ["CONV_2D computes in float (from conv, dense)"]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_each_float_type_is_float(dtype: str) -> None:
    assert len(_problems(operators=(operator("CONV_2D", "conv", dtypes=(dtype,)),))) == 1


def test_conversions_around_a_float_operator_are_not_its_culprits() -> None:
    operators = (
        operator("DEQUANTIZE", "conv", dtypes=("int8", "float32")),
        operator("SOFTMAX", "net/dense/Softmax", dtypes=("float32",)),
        operator("QUANTIZE", "net/dense/Softmax", dtypes=("float32", "int8")),
    )
    allowed = Operators(float=False, allowed=None)
    assert _problems({"operators": allowed}, operators=operators) == ["SOFTMAX computes in float (from dense)"]


def test_conversions_to_float_alone_are_named() -> None:
    operators = (operator("DEQUANTIZE", "net/dense/MatMul", dtypes=("int8", "float32")),)
    allowed = Operators(float=False, allowed=None)
    assert _problems({"operators": allowed}, operators=operators) == ["DEQUANTIZE computes in float (from dense)"]


def test_float_is_fine_where_the_target_runs_it() -> None:
    operators = (operator("CONV_2D", "conv", dtypes=("float32",)),)
    assert _problems({"operators": Operators(float=True)}, operators=operators) == []


def test_an_operator_that_is_not_allowed_is_named_with_its_layers() -> None:
    operators = (operator("CONV_2D", "conv"), operator("TOPK_V2", "net/dense/TopK"))
    assert _problems(operators=operators) == ["TOPK_V2 is not among the operators of mcu (from dense)"]


@pytest.mark.parametrize("name", ["CUSTOM:TopK", "FLEX:Erf"])
def test_an_operator_that_is_not_builtin_fits_no_target(name: str) -> None:
    problem = f"{name} is not a builtin operator (from dense)"
    for operators in (Operators(float=False, allowed=("CONV_2D",)), Operators(float=True)):
        assert _problems({"operators": operators}, operators=(operator(name, "net/dense/x"),)) == [problem]


def test_an_operator_of_no_known_layer_is_named_by_its_tensor() -> None:
    (problem,) = _problems(operators=(operator("GELU", "unknown/path;other"),))
    assert problem == "GELU is not among the operators of mcu (from unknown/path)"


def test_a_shape_known_only_as_it_runs_is_a_mismatch() -> None:
    operators = (operator("CONV_2D", "conv", dynamic=True),)
    assert _problems(operators=operators) == ["CONV_2D has a shape that is known only as it runs (from conv)"]


def test_an_operator_too_new_for_the_runtime_is_named_with_both_versions() -> None:
    operators = (operator("CONV_2D", "conv", version=6, runtime="2.9.0"),)
    (problem,) = _problems({"runtime": LITERT}, operators=operators)
    assert problem == "CONV_2D version 6 needs the runtime 2.9.0, the target has 2.5.0 (from conv)"


def test_operators_too_new_are_said_once_for_each_version_with_the_runtime_that_takes_them_all() -> None:
    found = [
        ("CONV_2D", "conv", "2.9.0"),
        ("CONV_2D", "other", "2.9.0"),
        ("TANH", "log", "2.15.0"),
        ("ADD", "", "2.15.0"),
    ]
    operators = tuple(operator(name, tensor, version=6, runtime=runtime) for name, tensor, runtime in found)
    every = Operators(float=True, allowed=None)
    assert _problems({"runtime": LITERT, "operators": every}, operators=operators) == [
        "CONV_2D version 6 needs the runtime 2.9.0, the target has 2.5.0 (from conv, other)",
        "TANH version 6 needs the runtime 2.15.0, the target has 2.5.0 (from log)",
        "ADD version 6 needs the runtime 2.15.0, the target has 2.5.0",
    ]


@pytest.mark.parametrize("runtime", ["2.5.0", "2.4.9", "1.14.0", ""])
def test_an_operator_as_old_as_the_runtime_fits(runtime: str) -> None:
    assert _problems({"runtime": LITERT}, operators=(operator("CONV_2D", "conv", runtime=runtime),)) == []


def test_versions_compare_as_numbers() -> None:
    assert version_key("2.10.0") > version_key("2.9.0") > version_key("1.15.0")


def test_a_version_written_short_equals_the_one_written_out() -> None:
    short = msgspec.structs.replace(LITERT, version="2.14")
    assert _problems({"runtime": short}, operators=(operator("CONV_2D", "conv", runtime="2.14.0"),)) == []


def test_a_target_without_a_runtime_version_takes_any() -> None:
    assert _problems(operators=(operator("CONV_2D", "conv", runtime="99.0.0"),)) == []


def test_a_wrong_type_at_either_end_is_named() -> None:
    problems = _problems(
        inputs=(tensor("image", (1, 8, 8, 1), "float32"),), outputs=(tensor("scores", (1, 10), "uint8"),)
    )
    assert problems == ["input image is float32, not int8", "output scores is uint8, not int8"]


def test_whole_numbers_of_64_bits_may_be_kept_in_32_where_both_ends_are_integers() -> None:
    given = network(inputs=(tensor("tokens", (1, 16), "int64"),))
    made = artifact(inputs=(tensor("tokens", (1, 16), "int32"),))
    assert list(mismatches(made, given, plan())) == []
    quantized = plan(passes=(msgspec.structs.replace(INT8, input=DType.FLOAT32),))
    (problem,) = mismatches(made, given, quantized)
    assert problem == "input tokens is int32, not int64"


def test_an_input_of_whole_numbers_keeps_its_type() -> None:
    tokens = network(inputs=(tensor("tokens", (1, 16), "int32"),))
    kept = artifact(inputs=(tensor("tokens", (1, 16), "int32"),))
    changed = artifact(inputs=(tensor("tokens", (1, 16), "int8"),))
    assert list(mismatches(kept, tokens, plan())) == []
    assert list(mismatches(changed, tokens, plan())) == ["input tokens is int8, not int32"]


@pytest.mark.parametrize("shape", [(-1, 8, 8, 1), (2, 8, 8, 1), (1, -1, 8, 1)])
def test_an_open_shape_or_another_batch_is_named(shape: tuple[int, ...]) -> None:
    (problem,) = _problems(inputs=(tensor("image", shape, "int8"),))
    assert problem == f"input image has the shape {list(shape)}: not static with a batch of 1"


@pytest.mark.parametrize("shape", [(1, 8, 9, 1), (1, 64), (1, 8, 8, 1, 1)])
def test_another_shape_is_named_with_that_of_the_network(shape: tuple[int, ...]) -> None:
    (problem,) = _problems(inputs=(tensor("image", shape, "int8"),))
    assert problem == f"input image has the shape {list(shape)}, the network [1, 8, 8, 1]"


def test_another_number_of_outputs_is_named() -> None:
    assert _problems(outputs=()) == ["the artifact has 0 outputs, the network 1"]


def test_all_mismatches_are_told_at_once() -> None:
    wrong = artifact(outputs=(), operators=(operator("GELU", "net/conv/Gelu"), operator("ERF", "net/dense/Erf")))
    with pytest.raises(StepError, match="the converted kws does not fit mcu") as caught:
        require_fit(wrong, network(), plan())
    assert len(caught.value.why.splitlines()) == 3
    assert "edgebuild targets NAME lists its operators" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "layers", "found"),
    [
        ("net/conv/Conv2D", ["conv", "bn"], ("conv",)),
        ("net/conv/Conv2D;net/bn/FusedBatchNormV3;net/relu/Relu", ["relu", "conv", "bn"], ("conv", "bn", "relu")),
        ("net/conv/Relu;net/conv/BiasAdd;net/conv/Conv2D", ["conv"], ("conv",)),
        ("net/conv2d_1/Conv2D", ["conv2d"], ("conv2d",)),
        ("net/conv2d_1/Conv2D", ["conv2d", "conv2d_1"], ("conv2d_1",)),
        ("net/block/conv/Conv2D", ["block/conv", "block"], ("block/conv",)),
        ("net/block/conv_1/Conv2D", ["block/conv"], ("block/conv",)),
        ("layer/conv/mid/Conv2D", ["mid", "conv"], ("conv",)),
        ("layer/head/conv/MatMul;layer/conv/Conv2D", ["conv", "head/conv"], ("head/conv", "conv")),
        ("layer/range_3/conv/FakeQuant", ["conv"], ()),
        ("head_conv", ["conv", "head/conv"], ("head/conv",)),
        ("conv", ["conv"], ("conv",)),
        ("net/convolution/Conv2D", ["conv"], ()),
        ("StatefulPartitionedCall:0", ["conv"], ()),
        ("", ["conv"], ()),
    ],
)
def test_layers_are_found_in_the_names_of_tensors(name: str, layers: list[str], found: tuple[str, ...]) -> None:
    assert layers_of(name, layers) == found


def test_permuted_outputs_are_put_in_the_order_of_the_network() -> None:
    boxes, scores = tensor("boxes", (1, 4), index=7), tensor("scores", (1, 2), index=5)
    asked = network(outputs=(tensor("scores", (1, 2)), tensor("boxes", (1, 4))))
    for found in ((boxes, scores), (scores, boxes)):
        assert in_order(artifact(outputs=found), asked).outputs == (scores, boxes)


def test_permuted_inputs_are_put_in_the_order_of_the_network() -> None:
    left, right = tensor("left", (1, 4), index=7), tensor("right", (1, 2), index=5)
    asked = network(inputs=(tensor("right", (1, 2)), tensor("left", (1, 4))))
    assert in_order(artifact(inputs=(left, right)), asked).inputs == (right, left)


@pytest.mark.parametrize("names", [("a", "c"), ("a", "a"), ("a",)])
def test_outputs_whose_names_were_lost_stay_as_they_are(names: tuple[str, ...]) -> None:
    found = tuple(tensor(name, (1, 4), index=position) for position, name in enumerate(names))
    asked = network(outputs=(tensor("b", (1, 4)), tensor("a", (1, 4))))
    assert in_order(artifact(outputs=found), asked).outputs == found


def test_a_version_newer_than_any_that_is_known_does_not_count_as_old() -> None:
    spec = artifact(operators=(operator("CONV_2D", version=99, runtime=UNKNOWN_RUNTIME),))
    (problem,) = mismatches(spec, network(), plan(runtime=LITERT))
    assert "CONV_2D version 99 is newer than any runtime that is known, the target has 2.5.0" in problem


def test_an_end_that_is_integer_in_the_network_stays_so() -> None:
    given = tensor("image", dtype="uint8", shape=(1, 4))
    spec = msgspec.structs.replace(artifact(), inputs=(given,))
    whole = msgspec.structs.replace(network(), inputs=(msgspec.structs.replace(given, shape=(-1, 4)),))
    assert not [problem for problem in mismatches(spec, whole, plan()) if "image" in problem]
