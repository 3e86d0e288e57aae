"""Quantization-aware training; without train data only the choice of ranges that keeps clusters in the artifact."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgebuild.actions.compression import Compressed, CompressJob
from edgebuild.child import Say
from edgebuild.core.passes import QuantizeAware
from edgebuild.decode import require_known
from edgebuild.passes import lessons, observing
from edgebuild.passes.graph import building, files, folding
from edgebuild.passes.loading import from_keras_model
from edgebuild.passes.optimization import quantization_aware
from edgebuild.passes.result import with_ranges


def run(job: CompressJob, say: Say) -> Compressed:
    """Train with fake quantization and write the network, ranges and all, as a SavedModel for the converter.

    Raises:
        UsageError: a teacher does not fit.
        StepError: nothing in the network can be quantized this way, or the train data are too few.
    """
    assert isinstance(job.settings, QuantizeAware), "the engine sends each pass to its own module"
    settings = job.settings
    graph, rewritten = folding.for_quantization_aware_training(files.load(Path(job.network)))
    model = building.build(graph)
    require_known("passes.qat.exclude", settings.exclude, graph.layers, "the network")
    outside = quantization_aware.left_out(model, settings)
    said = [
        *(f"{note.layer}: {note.text}" for note in rewritten),
        *([f"not quantized in training: {', '.join(outside)}"] if outside else []),
    ]
    if job.lesson is None or settings.only_ranges:
        say("choosing ranges")
        trained = quantization_aware.calibrated(model, settings, observing.batches(job, graph))
    else:
        slower = msgspec.structs.replace(
            job.lesson.train, learning_rate=settings.learning_rate * job.lesson.train.learning_rate
        )
        lesson = msgspec.structs.replace(job.lesson, train=slower)
        trainer = lessons.trainer(lesson, files.load(Path(job.original)), say)
        trained = quantization_aware.train(model, settings, trainer, observing.batches(job, graph))
        said += trainer.notes
    return with_ranges(from_keras_model(trained), graph, job, said)
