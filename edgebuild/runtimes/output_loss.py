"""What the scored output lost: the artifact's answers held against the float network's."""

from __future__ import annotations

from pathlib import Path

from edgebuild.actions.fidelity import OutputLossJob
from edgebuild.child import Say
from edgebuild.core.losses import OutputLoss
from edgebuild.data import scored
from edgebuild.data.samples import Samples
from edgebuild.data.scored import wanted
from edgebuild.runtimes.fidelity import answers


def output_loss(job: OutputLossJob, _say: Say) -> OutputLoss:
    """Compare the outputs that both scorings kept."""
    samples = Samples(Path(job.samples), job.preprocess, job.most)
    y = wanted(samples, job.metric)
    assert y is not None, "the engine asks only where there are answers"
    exact, given = scored.kept_outputs(Path(job.baseline)), scored.kept_outputs(Path(job.artifact))
    return answers.compare(exact, given, y, job.metric)
