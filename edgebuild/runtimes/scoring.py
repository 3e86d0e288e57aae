"""The scoring of an artifact, whatever interpreter runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgebuild.actions.scores import Score, ScoreJob
from edgebuild.child import Say, paced
from edgebuild.data import scored
from edgebuild.data.given import Array
from edgebuild.data.samples import Samples
from edgebuild.data.scored import wanted
from edgebuild.metrics import further, require_output, score
from edgebuild.runtimes.interpreters import real, stored

_BATCH = 256

# Runs one sample: takes what each input stores, each [1, ...], and returns what the scored output then holds.
Invoke = Callable[[Sequence[Array]], Array]


def score_samples(job: ScoreJob, invoke: Invoke, say: Say) -> Score:
    """Feed every sample, one at a time as the device would, and score and keep the dequantized outputs.

    Raises:
        UsageError: the answers do not fit the outputs.
        StepError: the metric's function failed.
    """
    samples = Samples(Path(job.samples), job.preprocess, job.most)
    y = wanted(samples, job.metric)
    assert y is not None, "the engine asks only where there are answers"
    require_output(job.metric, len(job.spec.outputs))
    inputs = job.spec.inputs
    fed = [np.dtype(np.float32) if spec.scale else np.dtype(spec.dtype) for spec in inputs]
    rows: list[Array] = []
    tell = paced(say)
    for arrays in samples.batches(_BATCH, fed):
        fills = [stored(array, spec) for array, spec in zip(arrays, inputs, strict=True)]
        for row in range(len(fills[0])):
            rows.append(invoke([array[row : row + 1] for array in fills])[0])
            tell(f"{len(rows):,} of {len(samples):,} samples")
    answers = real(np.stack(rows), job.spec.outputs[job.metric.output])
    scored.keep_outputs(answers, Path(job.out))
    return Score(score=score(answers, y, job.metric), samples=len(rows), further=further(answers, y, job.metric))
