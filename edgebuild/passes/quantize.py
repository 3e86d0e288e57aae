"""Post-training quantization by the TFLite converter, and its errors in one sentence each.

Its own text is MLIR, a compiler's language: locations nested in locations, operations with all their attributes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert

from edgebuild.actions.conversion import ARTIFACT, Converted, QuantizeJob
from edgebuild.child import Say, paced
from edgebuild.core.model import ModelSpec
from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.data.samples import Samples
from edgebuild.decode import require_known
from edgebuild.errors import EdgebuildError, StepError, UsageError
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import (
    ends,
    lstm_grids,
    moved,
    scales,
    softmaxes,
    sparsity,
    states,
    tight,
    whole_numbers,
)
from edgebuild.readback import layers_of

_DTYPES = {DType.FLOAT32: tf.float32, DType.INT8: tf.int8, DType.UINT8: tf.uint8, DType.INT16: tf.int16}
# What the converter leaves wrong in a file, in the order in which it is mended: states are cleared on their last grids.
MENDED = (
    scales.unshared,
    states.in_integers,
    lstm_grids.agreed,
    moved.requantized,
    states.cleared,
    softmaxes.with_coarser_inputs,
)
_INT16X8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
# "error: 'tf.Erf' op is neither a custom op nor a flex op", after a location that names the layer.
_UNKNOWN = re.compile(r"'(tf\.\w+)' op is neither")
# "error: 'tfl.concatenation' op failed to verify that values and output must have same element type".
_REFUSED = re.compile(r"error: .*?'(tf[l]?\.\w+)' op (.+)")
_LOCATION = re.compile(r'"([^"]+)"')
# "tensorflow/lite/kernels/elu.cc:12 type != 1 Node number 3 (ELU) failed to prepare."
_NODE = re.compile(r"Node number \d+ \((\w+)\) failed")
_MLIR = re.compile(r"\b(loc|callsite|fused)\(|<unknown>:|: note: |%\w+ = |\bmlir::|tensor<")
_LONGEST = 300


def run(job: QuantizeJob, say: Say) -> Converted:
    """Convert the frozen network.

    Raises:
        UsageError: the scheme needs calibration samples and there are none.
        StepError: the converter refused the network.
    """
    artifact = _converted(job, say)
    for mended in MENDED:
        artifact = mended(artifact)
    artifact = moved.slices_in_place_of(artifact, job.sliced)
    artifact = softmaxes.in_float(artifact) if job.quantize.float_answers else artifact
    if job.quantize.input not in (DType.FLOAT32, DType.UINT8):
        artifact = whole_numbers.narrowed(whole_numbers.quantized(artifact, narrow=True), _largest(job))
    else:
        artifact = whole_numbers.quantized(artifact, narrow=False)
    artifact = scales.bounded(sparsity.compact(artifact) if _is_sparse(job.quantize) else artifact)
    inputs, outputs = ([tensor.name for tensor in end] for end in (job.network.inputs, job.network.outputs))
    artifact = ends.ordered(tight.share(ends.names_shortened(artifact)), inputs, outputs)
    path = Path(job.out) / ARTIFACT
    path.write_bytes(artifact)
    return Converted(artifact=reader.read(path))


def _largest(job: QuantizeJob) -> int:
    """The size of the largest whole number of 64 bits that calibration samples hold; 0 where there are none."""
    wide = [place for place, spec in enumerate(job.network.inputs) if np.dtype(spec.dtype) == np.int64]
    if not wide or not job.calibration:
        return 0
    given = Samples(Path(job.calibration), job.preprocess).given
    return max(int(np.abs(np.asarray(given[place])).max(initial=0)) for place in wide)


def _converted(job: QuantizeJob, say: Say) -> bytes:
    """What the converter makes of the network; states that layers carry over stay in float."""
    converter = tf.lite.TFLiteConverter.from_saved_model(job.saved_model, signature_keys=["serving_default"])
    if job.quantize.scheme.needs_calibration:
        if not job.calibration:
            raise UsageError(
                f"{job.quantize.scheme} needs calibration samples, and there are none",
                "Activation ranges are chosen from representative samples.",
                "Give x_train or x_calibration"
                + (", or choose --quantize dynamic or float16." if job.quantize.float_fallback else "."),
            )
        samples = Samples(Path(job.calibration), job.preprocess)
        converter.representative_dataset = lambda: _representative(samples, job.network, paced(say))
    _configure(converter, job.quantize)
    try:
        artifact: bytes = _mixed(converter, job) if job.quantize.float_layers else converter.convert()
    except EdgebuildError:
        raise
    except Exception as error:  # the converter raises whatever its parts raise
        raise refusal(str(error), job.network.layers) from None
    return artifact


def _mixed(converter: Any, job: QuantizeJob) -> bytes:
    """Int8 with some layers left in float.

    The converter's second half takes a list of nodes to leave alone; by itself it is reached through the library's
    module only (tf.lite.experimental.QuantizationDebugger goes the same way).
    """
    converter._experimental_calibrate_only = True
    calibrated = converter.convert()
    require_known("passes.quantize.float_layers", job.quantize.float_layers, job.network.layers, "the network")
    artifact: bytes = convert.mlir_quantize(
        calibrated,
        input_data_type=_DTYPES[job.quantize.input],
        output_data_type=_DTYPES[job.quantize.output],
        denylisted_nodes=list(_nodes_of(job.quantize.float_layers, calibrated, job.network)),
    )
    return artifact


def _nodes_of(layers: Collection[str], calibrated: bytes, network: ModelSpec) -> Iterator[str]:
    """What the converter calls the operators of layers: the tensors that they write.

    An operator that writes an output is known by the name that the signature has for it, and called by another.
    """
    inspection = inspect(calibrated, "the calibrated network")
    written = [(graph, operation) for graph in inspection.graphs for operation in graph.operations]
    for operator, (graph, operation) in zip(reader.reduced(inspection).operators, written, strict=True):
        if set(layers).intersection(layers_of(operator.tensor, network.layers)):
            yield from (graph.tensors[index].name for index in operation.outputs if index >= 0)


def _configure(converter: Any, quantize: Quantize) -> None:
    scheme = quantize.scheme
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if _is_sparse(quantize) else []
    if scheme == Scheme.FLOAT32:
        return
    converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    if scheme == Scheme.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if scheme.needs_calibration:
        integer = _INT16X8 if scheme == Scheme.INT16X8 else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        fallback = [tf.lite.OpsSet.TFLITE_BUILTINS] if quantize.float_fallback else []
        converter.target_spec.supported_ops = [integer, *fallback]
        converter.inference_input_type = _DTYPES[quantize.input]
        converter.inference_output_type = _DTYPES[quantize.output]


def _is_sparse(quantize: Quantize) -> bool:
    """Whether the converter is to store zeros sparsely, where it can.

    With int16x8 it makes biases of int8 of it, which no kernel takes, and XNNPACK takes none of dynamic's; where layers
    are left to float it writes files that are damaged.
    """
    return quantize.sparse and not quantize.float_layers and quantize.scheme not in (Scheme.INT16X8, Scheme.DYNAMIC)


def _representative(samples: Samples, network: ModelSpec, tell: Say) -> Iterator[dict[str, Any]]:
    """Single samples by the names of the inputs: the order of a reloaded signature changes from process to process."""
    inputs = [spec.name for spec in network.inputs]
    dtypes = [np.dtype(spec.dtype) for spec in network.inputs]
    for done, arrays in enumerate(samples.batches(1, dtypes)):
        tell(f"calibrating: {done:,} of {len(samples):,} samples")
        yield dict(zip(inputs, arrays, strict=True))


def refusal(text: str, layers: Sequence[str]) -> StepError:
    """What the converter's error says.

    Args:
        text: of its exception.
        layers: the network's, by name.
    """
    unknown = _by_operation(_UNKNOWN, text, layers)
    if unknown:
        return StepError(
            f"the network has operations that TensorFlow Lite does not know: {'; '.join(_named(unknown))}",
            remedy="Replace the layers named by ones made of builtin operators.",
        )
    refused = _by_operation(_REFUSED, text, layers)
    if refused:
        match = _REFUSED.search(text)
        reason = "" if match is None or _MLIR.search(match[2]) else match[2].strip()[:_LONGEST]
        return StepError(f"the converter refused {'; '.join(_named(refused))}", reason, "Replace the layers named.")
    return StepError("the converter refused the network", " ".join(_plain(text))[:_LONGEST])


def _by_operation(pattern: re.Pattern[str], text: str, layers: Sequence[str]) -> dict[str, dict[str, None]]:
    """For each operation that a line of an error names, the layers that the line names."""
    found: dict[str, dict[str, None]] = {}
    for line in text.splitlines():
        if match := pattern.search(line):
            places = [layer for place in _LOCATION.findall(line) for layer in layers_of(place, layers)]
            found.setdefault(match[1], {}).update(dict.fromkeys(places))
    return found


def _named(found: dict[str, dict[str, None]]) -> list[str]:
    return [f"{op} (from {', '.join(layers)})" if layers else op for op, layers in found.items()]


def _plain(text: str) -> Iterator[str]:
    """The lines that people can read: the first, and the one that names an operator."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _MLIR.search(line)]
    yield from lines[:1]
    yield from (line for line in lines[1:] if _NODE.search(line))
