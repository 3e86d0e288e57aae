"""What a build lost, measured: its answers and its layers held against the float network's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgebuild import hashing, host, readback
from edgebuild.core.losses import OUTPUTS, LayerLosses, Losses, OutputLoss
from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.core.plan import Plan
from edgebuild.engine import fallback, steps
from edgebuild.engine.fallback import UNMEASURED
from edgebuild.engine.material import Built, Data, Network, Part, Reference
from edgebuild.engine.session import Made, Session, Step
from edgebuild.passes import jobs
from edgebuild.runtimes.jobs import LayerLossJob, OutputLossJob

_LAYERS_ON = 32  # samples
_FLOAT = Quantize(scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)


class Kept(NamedTuple):
    """The folders in which both scorings left their outputs."""

    baseline: Path
    artifact: Path


class Lost(NamedTuple):
    """What was lost, and why something could not be compared."""

    losses: Losses | None
    notes: tuple[str, ...]


def reference(plan: Plan, network: Network, session: Session) -> Reference:
    """A network as a float32 .tflite file, to hold an artifact's layers against.

    Args:
        plan: of the artifact.
        network: the float network whose layers the artifact has: after all that changes its structure or the scale of
            its channels, before all that puts nodes into it that quantize.
        session: where steps are done or found.

    Raises:
        StepError: the converter refused it.
    """
    step = steps.quantize(msgspec.structs.replace(plan, passes=(_FLOAT,)), network, None)
    made = session.transform(step._replace(title=f"{plan.target}: convert to float32, to compare layers"))
    spec = readback.in_order(made.read(jobs.Converted).artifact, network.frozen.network)
    return Reference(made.path / jobs.ARTIFACT, spec, network.frozen.network.layers)


def measure(built: Built, data: Data, kept: Kept | None, session: Session) -> Lost:
    """Compare outputs and layers, as far as there is what that needs.

    Args:
        built: the artifact.
        data: divided data.
        kept: the outputs of both networks; None where nothing was scored.
        session: where steps are done or found.

    Returns:
        What was lost; what cannot be compared is noted, since the artifact is none the worse for it.
    """
    wanted: dict[str, Step] = {}
    if kept is not None:
        title = "hold its answers against the float network's"
        wanted["outputs"] = output_loss(built.plan, kept, data.evaluation, title)
    part = _looked_at(data)
    if built.reference is not None and part is not None:
        wanted["layers"] = layer_loss(built, built.reference, part)
    made, notes = _done(wanted, session)
    if not made:
        return Lost(None, notes)
    output, layers = made.get("outputs"), made.get("layers")
    losses = Losses(
        output=output.read(OutputLoss) if output else None,
        layers=layers.read(LayerLosses) if layers else None,
    )
    return Lost(losses, notes)


def output_loss(plan: Plan, kept: Kept, part: Part, title: str) -> Step:
    """Hold an artifact's outputs against those of a baseline, both for the same samples."""
    return Step(
        "output-loss",
        f"{plan.target}: {title}",
        [[hashing.of_file(folder / OUTPUTS) for folder in kept], part.sha256, part.most, plan.metric],
        lambda _: OutputLossJob(
            baseline=str(kept.baseline),
            artifact=str(kept.artifact),
            samples=str(part.path),
            most=part.most,
            preprocess=plan.preprocess,
            metric=plan.metric,
        ),
    )


def layer_loss(built: Built, reference: Reference, part: Part, of: str = "its layers") -> Step:
    """Hold what an artifact's operators write against the float network; large networks take fewer samples."""
    plan, split = built.plan, part.path.name
    files = [hashing.of_file(built.path), hashing.of_file(reference.path)]
    seen = [split, part.sha256, part.most, plan.metric.output]
    return Step(
        "layer-loss",
        f"{plan.target}: hold {of} against the float network's",
        [files, reference.layers, plan.runtime.kernels, seen, plan.preprocess, host.identity()],
        lambda _: LayerLossJob(
            artifact=str(built.path),
            spec=built.spec,
            reference=str(reference.path),
            reference_spec=reference.spec,
            layers=reference.layers,
            kernels=plan.runtime.kernels,
            samples=str(part.path),
            split=split,
            preprocess=plan.preprocess,
            output=plan.metric.output,
            most_samples=part.most,
        ),
    )


def _looked_at(data: Data) -> Part | None:
    """The samples for layers: what is repaired by them must not have seen what it is scored on."""
    if data.calibrates:
        return data.calibration.limited(_LAYERS_ON)
    return data.evaluation.limited(_LAYERS_ON) if data.splits.evaluation_samples else None


def _done(wanted: Mapping[str, Step], session: Session) -> tuple[dict[str, Made], tuple[str, ...]]:
    """What of it could be done, by what it compares, and notes on the rest."""
    try:
        return dict(zip(wanted, session.run(list(wanted.values())), strict=True)), ()
    except UNMEASURED:
        pass  # which of them it was, and what the others say, shows one by one
    made: dict[str, Made] = {}
    notes: list[str] = []
    for what, step in wanted.items():
        try:
            (made[what],) = session.run([step])
        except UNMEASURED as error:
            # A file may run as it is and yet not with all its tensors kept: the artifact is none the worse.
            notes.append(f"{what} were not compared with the float network's: {fallback.reason(error)}")
    return made, tuple(notes)
