"""The score of the float network, which every artifact is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgebuild.child import Say, paced
from edgebuild.data import outputs
from edgebuild.data.samples import Samples
from edgebuild.errors import StepError
from edgebuild.metrics import require_output, score
from edgebuild.passes.jobs import Baseline, BaselineJob

_BATCH = 64


def run(job: BaselineJob, say: Say) -> Baseline:
    """Run the evaluation split through TensorFlow, score the outputs and keep them.

    Raises:
        UsageError: the answers do not fit the outputs.
        StepError: the network fails on a sample, or the metric's function failed.
    """
    module: Any = tf.saved_model.load(job.saved_model)
    samples = Samples(Path(job.evaluation), job.preprocess)
    assert samples.y is not None, "the engine asks only where there are answers"
    require_output(job.metric, len(job.network.outputs))
    # By name: the mapping that a reloaded network returns has another order in each process.
    output = job.network.outputs[job.metric.output].name
    batch = _BATCH if job.batched else 1
    dtypes = [np.dtype(spec.dtype) for spec in job.network.inputs]
    rows = []
    tell = paced(say)
    for done, arrays in enumerate(samples.batches(batch, dtypes)):
        try:
            results = module.network(*[tf.constant(array) for array in arrays])
        except tf.errors.OpError as error:
            last = min((done + 1) * batch, len(samples)) - 1
            raise StepError(
                f"the network fails on evaluation samples {done * batch} to {last}", error.message.splitlines()[0]
            ) from None
        rows.append(results[output].numpy())
        tell(f"{done * batch:,} of {len(samples):,} samples")
    found = np.concatenate(rows)
    outputs.keep(found, Path(job.out))
    return Baseline(score=score(found, np.asarray(samples.y), job.metric), samples=len(samples))
