"""The actions of a build: what a plan asks to be done with networks, data and artifacts."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from edgebuild.actions.compression import (
    LAYER_TIMES,
    LAYERS,
    PASSES,
    Compressed,
    CompressJob,
    Layers,
    LayersJob,
    LayerTimes,
    LayerTimesJob,
    LessonJob,
)
from edgebuild.actions.conversion import QUANTIZE, Converted, QuantizeJob
from edgebuild.actions.datasets import LINT, SPLIT, SYNTHESIZE, Linted, LintJob, SplitJob, Splits, SynthesizeJob
from edgebuild.actions.fidelity import LAYER_LOSS, OUTPUT_LOSS, LayerLossJob, OutputLossJob
from edgebuild.actions.networks import (
    CALL,
    CARRY,
    FREEZE,
    GRAPH,
    Called,
    CallJob,
    Carried,
    CarryJob,
    FreezeJob,
    Frozen,
)
from edgebuild.actions.scores import BASELINE, SCORE, TFLM_SCORE, Baseline, BaselineJob, Score, ScoreJob
from edgebuild.core.action import Action, Ref
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.layers import LayerShape
from edgebuild.core.losses import LayerLosses, OutputLoss
from edgebuild.core.passes import (
    Change,
    Channels,
    Recurrent,
)
from edgebuild.core.plan import Plan, Source
from edgebuild.core.settings import MetricKind
from edgebuild.execution.session import Session
from edgebuild.layer_costs import LatencyTable
from edgebuild.pipeline.artifacts import Built, Data, Network, Part, Reference
from edgebuild.report import wording

J = TypeVar("J", bound=FreezeJob)

# Of the score, where neither a pass nor a budget says how much it may fall.
_MAX_DROP = 0.01


def freeze(plan: Plan, model: Source, session: Session) -> Action[Frozen]:
    """Load the user's network and fix its shapes."""
    return FREEZE.action(_loading(FreezeJob, plan, model, session), title=f"load {plan.name} and fix its shapes")


def carry(plan: Plan, model: Source, session: Session) -> Action[Carried]:
    """Load the user's network with its layers."""
    return CARRY.action(_loading(CarryJob, plan, model, session), title=f"load {plan.name} with its layers")


def call(plan: Plan, model: Source, session: Session) -> Action[Called]:
    """Call the user's function for the network."""
    return CALL.action(_loading(CallJob, plan, model, session))


def _loading(settings: type[J], plan: Plan, model: Source, session: Session) -> J:
    return settings(
        kind=model.kind,
        path=given(model, session),
        input_shape=plan.input_shape,
        input_shapes=plan.input_shapes,
        data_shapes=plan.data.shapes if plan.data else {},
        signature=plan.signature,
        allow_code=plan.allow_code,
        recurrent=plan.quantize.recurrent,
    )


def given(source: Source, session: Session) -> str:
    """What a user gave, as settings name it: a function by its name, everything else by what it is."""
    return source.path if source.kind == "callable" else str(session.give(source))


def freeze_changed(plan: Plan, network: Ref) -> Action[Frozen]:
    """Fix the shapes of a network that passes have changed."""
    job = FreezeJob(
        kind=GRAPH,
        path=str(network),
        input_shape=(),
        signature="",
        allow_code=False,
        recurrent=plan.quantize.recurrent,
    )
    return FREEZE.action(job, of=plan.target, title=f"fix the shapes of the compressed {plan.name}")


def split(plan: Plan, data: Source, network: Network, session: Session) -> Action[Splits]:
    """Read the data and divide them."""
    inputs = network.frozen.network.inputs
    return SPLIT.action(SplitJob(kind=data.kind, path=given(data, session), inputs=inputs, split=plan.split))


def synthesize(plan: Plan, network: Ref) -> Action[Splits]:
    """Make up calibration samples."""
    return SYNTHESIZE.action(
        SynthesizeJob(
            network=str(network), samples=plan.synthetic_samples, preprocess=plan.preprocess, seed=plan.split.seed
        )
    )


def baseline(plan: Plan, network: Network, part: Part, labels: tuple[str, ...]) -> Action[Baseline]:
    """Settle the metric by labels, the classes' names if there are, and score the float network."""
    job = BaselineJob(
        saved_model=str(network.ref),
        network=network.frozen.network,
        batched=network.frozen.batched,
        evaluation=str(part.ref),
        preprocess=plan.preprocess,
        metric=plan.metric,
        most=part.most,
        labels=labels,
    )
    return BASELINE.action(job, title=f"score the float network on {part.samples:,} samples")


def lint(
    plan: Plan, network: Network, data: Data, baseline: Baseline | None, *, calibrates: bool, is_int8: bool
) -> Action[Linted]:
    """Look for faults in the data, and in what the float network scores on them.

    `calibrates` is whether ranges are chosen with them, `is_int8` whether any are of 8 bits.
    """
    parts = [data.calibration] if calibrates else []
    parts += [part for part in (data.evaluation, data.learning) if part.ref.identity]
    job = LintJob(
        saved_model=str(network.ref),
        network=network.frozen.network,
        batched=network.frozen.batched,
        data={part.split: str(part.ref) for part in parts},
        preprocess=plan.preprocess,
        metric=plan.metric,
        labels=data.splits.labels,
        baseline=baseline if plan.metric.name == MetricKind.ACCURACY else None,
        is_int8=is_int8,
    )
    return LINT.action(job)


def layers(plan: Plan, settings: Channels, network: Ref) -> Action[Layers]:
    """List the layers whose times are to be measured, at the channel counts that they may get."""
    return LAYERS.action(LayersJob(network=str(network), multiple=settings.multiple), of=plan.target)


def layer_times(plan: Plan, shapes: tuple[LayerShape, ...]) -> Action[LayerTimes]:
    """Time single layers on this machine, on the kernels that compute like the target's."""
    job = LayerTimesJob(layers=shapes, kernels=plan.runtime.kernels, threads=plan.bench.threads)
    return LAYER_TIMES.action(job, of=plan.target)


def change(
    plan: Plan, settings: Change, network: Ref, original: Ref, data: Data | None, latencies: LatencyTable | None
) -> Action[Compressed]:
    """Do one pass before quantization; with samples to learn from the network is trained as well."""
    learns = data if settings.learns and data is not None and data.learns else None
    observes = settings.observes and data is not None and data.calibrates
    job = CompressJob(
        settings=settings,
        network=str(network),
        original=str(original),
        lesson=_lesson(plan, learns, _max_drop(settings, plan)) if learns else None,
        calibration=str(data.calibration.ref) if observes and data is not None else "",
        preprocess=plan.preprocess,
        latencies=latencies,
        float_layers=plan.quantize.float_layers if settings.leaves_layers else (),
        seed=plan.split.seed,
        recurrent=plan.quantize.recurrent,
    )
    return PASSES[settings.tag].action(job, of=plan.target, title=wording.step(settings))


def _max_drop(settings: Change, plan: Plan) -> float:
    """How much of the score a pass may cost: what it says, else as much as the release may."""
    own = getattr(settings, "max_drop", None)
    limits = [
        budget.limit
        for budget in plan.budgets
        if budget.subject == Subject.ACCURACY_DROP and budget.unit in (Unit.SHARE, Unit.RELATIVE)
    ]
    return min(limits, default=_MAX_DROP) if own is None else float(own)


def _lesson(plan: Plan, data: Data, max_drop: float) -> LessonJob:
    return LessonJob(
        data=str(data.for_training),
        given_samples=data.splits.given_samples,
        validation_samples=data.splits.validation_samples,
        preprocess=plan.preprocess,
        metric=plan.metric,
        train=plan.train,
        distill=plan.distill,
        seed=plan.split.seed,
        time_s=_pass_time_s(plan),
        allow_code=plan.allow_code,
        unseen=data.unseen,
        learns_from=plan.learns_from,
        max_drop=max_drop,
    )


def _pass_time_s(plan: Plan) -> float:
    """The time for training is shared out evenly among the passes that learn."""
    learning = [step for step in plan.compressions if step.trains]
    return plan.train.time / max(1, len(learning))


def quantize(
    plan: Plan, network: Network, data: Data | None, title: str = "", *, ships: bool = True
) -> Action[Converted]:
    """Convert to the plan's scheme, for the target to run; what is only compared with is the same for all targets."""
    calibrates = plan.quantize.scheme.needs_calibration and data is not None and data.calibrates
    job = QuantizeJob(
        saved_model=str(network.ref),
        calibration=str(data.calibration.ref) if calibrates and data is not None else "",
        preprocess=plan.preprocess,
        # Recurrent layers are as the frozen network has them, whatever is planned.
        quantize=replace(plan.quantize, recurrent=Recurrent.AUTO),
        network=network.frozen.network,
        sliced=plan.operators.sliced() if ships else (),
    )
    return QUANTIZE.action(job, of=plan.target, title=title or f"convert to {wording.ends(plan.quantize)}")


def score(built: Built, part: Part, *, on_tflm: bool = False, what: str = "", resets: bool = False) -> Action[Score]:
    """Score an artifact on the kernels that compute like its target's.

    Args:
        built: the artifact.
        part: the samples.
        on_tflm: whether TensorFlow Lite Micro runs it rather than LiteRT.
        what: is scored, in the title, where that is not what the target gets.
        resets: whether its state is reset before each sample, which is not how an interpreter runs by itself.
    """
    plan = built.plan
    kernels = "TensorFlow Lite Micro's" if on_tflm else plan.runtime.kernels
    on = f"score {what} on {part.samples:,} train samples" if what else f"score {part.samples:,} samples"
    kind = TFLM_SCORE if on_tflm else SCORE
    title = f"{on} on {kernels} kernels{', state reset before each' if resets else ''}"
    return kind.action(score_job(built, part, resets=resets), of=plan.target, title=title)


def score_job(built: Built, part: Part, *, resets: bool = False) -> ScoreJob:
    """How an artifact is scored on samples, on the kernels that compute like its target's."""
    plan = built.plan
    return ScoreJob(
        artifact=str(built.ref),
        spec=built.spec,
        kernels=plan.runtime.kernels,
        samples=str(part.ref),
        most=part.most,
        preprocess=plan.preprocess,
        metric=plan.metric,
        resets=resets,
    )


def output_loss(plan: Plan, baseline: Ref, artifact: Ref, part: Part, title: str = "") -> Action[OutputLoss]:
    """Compare the outputs that two scorings of the same samples kept."""
    job = OutputLossJob(
        baseline=str(baseline),
        artifact=str(artifact),
        samples=str(part.ref),
        most=part.most,
        preprocess=plan.preprocess,
        metric=plan.metric,
    )
    return OUTPUT_LOSS.action(job, of=plan.target, title=title)


def layer_loss(built: Built, reference: Reference, part: Part, of: str = "its layers") -> Action[LayerLosses]:
    """Compare what an artifact's operators write with the float network; large networks take fewer samples."""
    plan = built.plan
    job = LayerLossJob(
        artifact=str(built.ref),
        spec=built.spec,
        reference=str(reference.ref),
        reference_spec=reference.spec,
        layers=reference.layers,
        kernels=plan.runtime.kernels,
        samples=str(part.ref),
        split=part.split,
        preprocess=plan.preprocess,
        output=plan.metric.output,
        most_samples=part.most,
    )
    return LAYER_LOSS.action(job, of=plan.target, title=f"hold {of} against the float network's")
