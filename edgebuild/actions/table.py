"""All kinds of actions, by name."""

from __future__ import annotations

from typing import Any

from edgebuild.actions import compression, conversion, datasets, fidelity, measuring, networks, runtimes, scores
from edgebuild.core.action import Kind

_ALL: tuple[Kind[Any, Any], ...] = (
    networks.EXAMPLE,
    networks.FREEZE,
    networks.CARRY,
    networks.CALL,
    networks.IMPORT,
    datasets.SPLIT,
    datasets.SYNTHESIZE,
    datasets.LINT,
    *compression.PASSES.values(),
    compression.LAYERS,
    compression.LAYER_TIMES,
    conversion.QUANTIZE,
    conversion.LEAN,
    conversion.METADATA,
    conversion.FIRMWARE,
    scores.BASELINE,
    scores.SCORE,
    scores.TFLM_SCORE,
    scores.SCORE_AT,
    fidelity.OUTPUT_LOSS,
    fidelity.LAYER_LOSS,
    fidelity.OUTPUTS,
    fidelity.OUTPUTS_AT,
    fidelity.PARITY,
    runtimes.RUNS,
    runtimes.TFLM_RUNS,
    runtimes.TFLM_KERNELS,
    runtimes.TFLM_ARENA,
    runtimes.TFLM_SAMPLE,
    runtimes.DELEGATION,
    runtimes.EDGETPU,
    runtimes.EDGETPU_RULES,
    runtimes.ETHOS_U,
    runtimes.COMPILE,
    measuring.MEASURE,
    measuring.OPERATOR_TIMES,
)
KINDS: dict[str, Kind[Any, Any]] = {kind.name: kind for kind in _ALL}
