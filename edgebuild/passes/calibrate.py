"""Int8 grids chosen on calibration samples, before the converter would."""

from __future__ import annotations

from pathlib import Path

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import Calibrate
from edgebuild.passes import observing
from edgebuild.passes.calibration import calibrating
from edgebuild.passes.graph import files
from edgebuild.passes.result import with_ranges


def run(job: CompressJob, say: Say) -> Compressed:
    """Choose ranges, round weights, correct biases, and write the network with its ranges as a SavedModel.

    Raises:
        UsageError: there are no calibration samples.
        StepError: the network cannot be run layer by layer.
    """
    assert isinstance(job.settings, Calibrate), "the engine sends each pass to its own module"
    settings, graph = job.settings, files.load(Path(job.network))
    say("choosing int8 grids")
    done = calibrating.calibrate(
        graph,
        observing.samples(job),
        settings=settings,
        seed=job.seed,
        floating=job.float_layers,
    )
    return with_ranges(done.network, graph, job, done.notes)
