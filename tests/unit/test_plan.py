from __future__ import annotations

from typing import Any

import pytest
from making import ACCURACY, DATA, MODEL, settings

from edgebuild import targets
from edgebuild.core.metric import Metric
from edgebuild.core.passes import Channels, DType, Equalize, Quantize, Recurrent, Scheme
from edgebuild.core.plan import Source
from edgebuild.core.target import Target
from edgebuild.errors import UsageError
from edgebuild.layering import Layer
from edgebuild.plan import default_name, plan
from edgebuild.report import wording


def _target(name: str, **over: Any) -> Target:
    return targets.load(name, ACCURACY, [Layer("test", over)]).target


def _scheme(name: str) -> dict[str, Any]:
    return {"passes": {"quantize": {"scheme": name}}}


@pytest.mark.parametrize(
    ("kind", "path", "name"),
    [
        ("file", "nets/kws.keras", "kws"),
        ("file", "nets/kws.v2.h5", "kws.v2"),
        ("file", "kws/model.keras", "kws"),
        ("file", "model.keras", "model"),
        ("folder", "kws/saved_model", "kws"),
        ("folder", "saved_model", "saved_model"),
        ("folder", "../saved_model", "saved_model"),
        ("folder", "kws", "kws"),
        ("callable", "nets.small:make_net", "make_net"),
        ("example", "scikit-learn digits", "digits"),
    ],
)
def test_an_artifact_is_called_like_its_network(kind: str, path: str, name: str) -> None:
    assert default_name(Source(kind=kind, path=path, sha256="")) == name


def test_a_name_that_was_given_wins() -> None:
    assert plan(_target("mcu"), settings(model={"name": "mine"}), MODEL, DATA).name == "mine"


def test_the_quantization_is_the_profiles_with_its_types() -> None:
    made = plan(_target("mcu"), settings(), MODEL, DATA)
    assert made.quantize == Quantize(
        scheme=Scheme.INT8,
        input=DType.INT8,
        output=DType.INT8,
        float_fallback=False,
        sparse=False,
        recurrent=Recurrent.FUSED,
    )


@pytest.mark.parametrize(
    ("name", "over", "recurrent"),
    [
        ("arm64", {}, Recurrent.FUSED),
        ("mcu", {}, Recurrent.FUSED),
        ("arm64", _scheme("dynamic"), Recurrent.FUSED),
        ("arm64", _scheme("float16"), Recurrent.FUSED),
        ("mcu", _scheme("int16x8"), Recurrent.AUTO),
        ("edgetpu", {}, Recurrent.AUTO),
        ("mcu", {"operators": {"allowed": ["CONV_2D", "QUANTIZE", "SUB"]}}, Recurrent.AUTO),
        ("mcu", {"passes": {"quantize": {"recurrent": "unrolled"}}}, Recurrent.UNROLLED),
    ],
)
def test_lstms_become_one_operator_where_its_kernels_run(name: str, over: dict[str, Any], recurrent: Recurrent) -> None:
    assert plan(_target(name, **over), settings(), MODEL, DATA).quantize.recurrent == recurrent


def test_an_operator_that_no_kernel_runs_is_refused_and_the_remedies_work() -> None:
    fused = {"passes": {"quantize": {"recurrent": "fused", "scheme": "int16x8"}}}
    with pytest.raises(UsageError, match="not for int16x8") as refused:
        plan(_target("arm64", **fused), settings(), MODEL, DATA)
    assert refused.value.remedy is not None
    assert '"auto"' in refused.value.remedy
    for changed, recurrent in (({"recurrent": "auto"}, Recurrent.AUTO), ({"scheme": "int8"}, Recurrent.FUSED)):
        passes = {"quantize": {**fused["passes"]["quantize"], **changed}}
        assert plan(_target("arm64", passes=passes), settings(), MODEL, DATA).quantize.recurrent == recurrent


@pytest.mark.parametrize(("name", "fallback"), [("arm64", True), ("mcu", False), ("edgetpu", False)])
def test_float_fallback_is_for_targets_that_run_float(name: str, fallback: bool) -> None:
    assert plan(_target(name), settings(), MODEL, DATA).quantize.float_fallback is fallback


REFINED = ["equalize", "calibrate", "quantize"]


def _kinds(name: str, *, compress: bool = True, refine: bool = True, **over: Any) -> list[str]:
    wanted = settings(build={"compress": compress, "refine": refine})
    return [wording.kind(step) for step in plan(_target(name, **over), wanted, MODEL, DATA).passes]


def test_profiles_choose_what_is_done() -> None:
    assert _kinds("arm64") == ["channels", "prune", *REFINED]
    assert _kinds("edgetpu") == _kinds("mcu") == ["channels", *REFINED]


def test_passes_are_done_in_their_order_and_not_in_that_of_the_file() -> None:
    asked = {"qat": {}, "cluster": {}, "prune": {}, "student": {"width": "50 %"}}
    assert _kinds("mcu", passes=asked) == ["student", "channels", "prune", "cluster", "qat", "quantize"]


def test_compression_can_be_left_out() -> None:
    assert _kinds("arm64", compress=False) == REFINED
    assert _kinds("arm64", passes={"channels": "off"}) == ["prune", *REFINED]


def test_int8_can_be_left_to_the_converter() -> None:
    assert _kinds("mcu", compress=False, refine=False) == ["quantize"]
    assert _kinds("mcu", compress=False, passes={"equalize": "off"}) == ["calibrate", "quantize"]


@pytest.mark.parametrize("scheme", ["dynamic", "float16"])
def test_other_schemes_have_no_grids_to_refine(scheme: str) -> None:
    assert _kinds("arm64", compress=False, passes={"quantize": {"scheme": scheme}}) == ["quantize"]


def test_channels_are_made_alike_for_int16_and_for_training_too() -> None:
    assert _kinds("arm64", compress=False, **_scheme("int16x8")) == ["equalize", "quantize"]
    aware = {"channels": "off", "qat": {}}
    assert _kinds("mcu", passes=aware) == ["equalize", "qat", "quantize"]
    assert _kinds("mcu", refine=False, passes=aware) == ["qat", "quantize"]
    made = plan(_target("mcu", passes=aware), settings(build={"compress": True}), MODEL, DATA)
    # What the training quantizes together must not be folded before it.
    assert [step.fold for step in made.refinements if isinstance(step, Equalize)] == [False]


def test_layers_stay_in_float_only_where_the_target_runs_float() -> None:
    kept = {"quantize": {"float_layers": ["conv1"]}}
    made = plan(_target("arm64", passes=kept), settings(), MODEL, DATA)
    assert made.quantize.float_layers == ("conv1",)
    with pytest.raises(UsageError, match="mcu runs no operators in float"):
        plan(_target("mcu", passes=kept), settings(), MODEL, DATA)
    with pytest.raises(UsageError, match="is for int8, not for float16"):
        plan(_target("arm64", passes={"quantize": {"scheme": "float16", **kept["quantize"]}}), settings(), MODEL, DATA)
    for trained in ({"qat": {}}, {"cluster": {}}):
        with pytest.raises(UsageError, match="arm64 trains or clusters for int8"):
            plan(_target("arm64", passes={**kept, **trained}), settings(), MODEL, DATA)


@pytest.mark.parametrize(
    ("name", "over", "floats"),
    [
        ("arm64", {}, True),
        ("arm64", {"passes": {"quantize": {"float_answers": False}}}, False),
        ("arm64", {"io": {"output": "int8"}}, False),
        ("arm64", _scheme("int16x8"), False),
        ("arm64", _scheme("dynamic"), False),
        ("mcu", {}, False),
        ("mcu", {"io": {"output": "float32"}}, False),
    ],
)
def test_answers_are_in_float_where_the_target_runs_float_and_they_leave_in_it(
    name: str, over: dict[str, Any], floats: bool
) -> None:
    assert plan(_target(name, **over), settings(), MODEL, DATA).quantize.float_answers is floats


def test_a_target_without_int16_refuses_it() -> None:
    with pytest.raises(UsageError, match="activations of int16"):
        plan(_target("edgetpu", passes={"quantize": {"scheme": "int16x8"}}), settings(), MODEL, DATA)


def test_calibration_inputs_are_made_up_only_on_demand_and_for_lack_of_data() -> None:
    wanted = settings(data={"synthesize": True, "calibration_samples": 40})
    assert plan(_target("mcu"), wanted, MODEL, None).synthetic_samples == 40
    assert plan(_target("mcu"), wanted, MODEL, DATA).synthetic_samples == 0
    with pytest.raises(UsageError, match="no data to calibrate with"):
        plan(_target("mcu"), settings(), MODEL, None)


@pytest.mark.parametrize(("name", "multiple"), [("arm64", 8), ("edgetpu", 4), ("mcu", 4)])
def test_channel_counts_are_kept_at_the_targets_multiples(name: str, multiple: int) -> None:
    channels = plan(_target(name), settings(), MODEL, DATA).passes[0]
    assert isinstance(channels, Channels)
    assert channels.multiple == multiple


@pytest.mark.parametrize(("name", "sparse"), [("arm64", True), ("mcu", False)])
def test_the_sparse_encoding_is_for_runtimes_that_read_it(name: str, sparse: bool) -> None:
    made = plan(_target(name, passes={"prune": {"sparsity": "80 %"}}), settings(), MODEL, DATA)
    assert made.quantize.sparse is sparse


def test_the_sparse_encoding_is_for_what_was_pruned() -> None:
    assert plan(_target("arm64", passes={"prune": "off"}), settings(), MODEL, DATA).quantize.sparse is False


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_calibration_without_data_is_refused_before_anything_is_built(scheme: str) -> None:
    with pytest.raises(UsageError, match=f"mcu quantizes to {scheme}, and there are no data"):
        plan(_target("mcu", **_scheme(scheme)), settings(), MODEL, None)


@pytest.mark.parametrize("scheme", ["dynamic", "float16", "float32"])
def test_what_needs_no_calibration_needs_no_data(scheme: str) -> None:
    assert plan(_target("arm64", **_scheme(scheme)), settings(), MODEL, None).data is None


def test_the_plan_holds_all_that_decides_the_result() -> None:
    target = _target("mcu")
    asked = settings(
        model={"input_shape": [49, 10, 1], "allow_code": True},
        data={"seed": 7, "calibration_samples": 50, "evaluation_share": "10 %"},
        preprocess={"mean": 3.0},
        metric={"name": "mae"},
        bench={"runs": 9},
    )
    made = plan(target, asked, MODEL, DATA)
    assert (made.target, made.model, made.data) == ("mcu", MODEL, DATA)
    assert (made.input_shape, made.allow_code) == ((49, 10, 1), True)
    assert (made.split.seed, made.split.calibration_samples, made.split.evaluation_share) == (7, 50, 0.1)
    assert (made.preprocess, made.metric, made.bench) == (asked.preprocess, Metric.asked(asked.metric), asked.bench)
    assert (made.budgets, made.runtime, made.operators) == (target.budgets, target.runtime, target.operators)


def test_planning_twice_gives_the_same_plan() -> None:
    assert plan(_target("mcu"), settings(), MODEL, DATA) == plan(_target("mcu"), settings(), MODEL, DATA)
