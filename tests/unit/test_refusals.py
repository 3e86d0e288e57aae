"""The converter's errors as one sentence: no MLIR in it, the layers by name."""

from __future__ import annotations

from edgebuild.passes.quantize import refusal

LAYERS = ("category_encoding", "concatenate", "dense", "erf")
_AT = (
    'loc(callsite(fused["ConcatV2:", "layer/concatenate/concat@__inference_call_14315"] at callsite(fused["Stateful'
    'PartitionedCall:", "StatefulPartitionedCall@__inference_signature_wrapper_14380"] at fused["StatefulPartitioned'
    'Call:", "StatefulPartitionedCall"])))'
)


def test_an_operation_that_its_verifier_refuses_is_named_with_its_layer() -> None:
    error = refusal(
        f"<unknown>:0: error: {_AT}: 'tfl.concatenation' op failed to verify that values and output must have same "
        f"element type\n<unknown>:0: note: {_AT}: called from",
        LAYERS,
    )
    assert error.what == "the converter refused tfl.concatenation (from concatenate)"
    assert error.why == "failed to verify that values and output must have same element type"
    assert error.remedy == "Replace the layers named."


def test_a_text_of_which_nothing_is_known_shows_no_mlir() -> None:
    text = "Could not translate MLIR to FlatBuffer.\n%3 = tensor<1x4xf32> loc(unknown)\n<unknown>:0: note: called from"
    error = refusal(text, LAYERS)
    assert (error.what, error.why) == ("the converter refused the network", "Could not translate MLIR to FlatBuffer.")


def test_a_kernel_that_fails_in_calibration_is_named() -> None:
    error = refusal("x/concatenation.cc:159 4 != 3\nNode number 5 (CONCATENATION) failed to prepare.", LAYERS)
    assert error.why.endswith("Node number 5 (CONCATENATION) failed to prepare.")
