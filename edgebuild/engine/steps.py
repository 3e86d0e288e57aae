"""The steps of a build: for each, what decides its result, and the job that makes it."""

from __future__ import annotations

from pathlib import Path

from edgebuild import hashing, host
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.layers import LayerShape
from edgebuild.core.passes import Calibrate, Change, Channels, Compression, QuantizeAware, Refinement
from edgebuild.core.plan import Plan, Source
from edgebuild.core.settings import MetricKind
from edgebuild.engine.material import Built, Changeable, Data, Network, Part
from edgebuild.engine.session import Step
from edgebuild.layer_costs import LatencyTable
from edgebuild.passes import jobs
from edgebuild.report import wording
from edgebuild.runtimes.jobs import LayerTimesJob, ScoreJob

# It says nothing itself.
_CRASHED = "TensorFlow's converter ended without a word. --quantize dynamic or float16 takes another way through it."


# Trials, rounds and a last training that was not enough may take this many times what a pass was given.
_TRAININGS = 2
# Of the score, where neither a pass nor a budget says how much it may fall.
_MAX_DROP = 0.01


def example(seed: int) -> Step:
    """Train the embedded example."""
    return Step("example", "train the example", seed, lambda out: jobs.ExampleJob(out=str(out), seed=seed))


def freeze(plan: Plan, model: Source, path: str) -> Step:
    """Load the network at a path and fix its shapes."""
    return _load(plan, model, path, "freeze", f"load {plan.name} and fix its shapes", jobs.FreezeJob)


def carry(plan: Plan, model: Source, path: str) -> Step:
    """Load the network at a path with its layers."""
    return _load(plan, model, path, "carry", f"load {plan.name} with its layers", jobs.CarryJob)


def _load(plan: Plan, model: Source, path: str, name: str, title: str, job: type[jobs.FreezeJob]) -> Step:
    """A step on the user's network; a function is called each time, since nothing tells its result."""
    shapes = plan.data.shapes if plan.data else {}
    given = (plan.input_shape, plan.input_shapes, shapes, plan.signature, plan.allow_code, plan.quantize.recurrent)
    return Step(
        name,
        title,
        None if model.kind == "callable" else [model.sha256, model.kind, *given],
        lambda out: job(
            kind=model.kind,
            path=path,
            input_shape=plan.input_shape,
            input_shapes=plan.input_shapes,
            data_shapes=shapes,
            signature=plan.signature,
            allow_code=plan.allow_code,
            out=str(out),
            recurrent=plan.quantize.recurrent,
        ),
    )


def layers(plan: Plan, settings: Channels, network: Changeable) -> Step:
    """List the layers whose times are to be measured, at the channel counts that they may get."""
    return Step(
        "layers",
        f"{plan.target}: list the layers to time",
        [network.identity, settings.multiple],
        lambda _: jobs.LayersJob(network=str(network.path), multiple=settings.multiple),
    )


def layer_times(plan: Plan, shapes: tuple[LayerShape, ...]) -> Step:
    """Time single layers on this machine, on the kernels that compute like the target's."""
    kernels, threads = plan.runtime.kernels, plan.bench.threads
    return Step(
        "layer-times",
        f"{plan.target}: time {len(shapes):,} single layers on this machine",
        [shapes, kernels, threads, host.identity()],
        lambda _: LayerTimesJob(layers=shapes, kernels=kernels, threads=threads),
    )


def synthesize(plan: Plan, network: Changeable) -> Step:
    """Make up calibration samples."""
    how = [plan.synthetic_samples, plan.preprocess, plan.split.seed]
    return Step(
        "synthesize",
        f"make up {plan.synthetic_samples} inputs that batch norms find usual",
        [network.identity, how],
        lambda out: jobs.SynthesizeJob(
            network=str(network.path),
            samples=plan.synthetic_samples,
            preprocess=plan.preprocess,
            seed=plan.split.seed,
            out=str(out),
        ),
    )


def change(
    plan: Plan,
    settings: Change,
    network: Changeable,
    original: Changeable,
    data: Data | None,
    latencies: LatencyTable | None,
) -> Step:
    """Do one pass before quantization; with samples to learn from the network is trained as well.

    It is done by each build anew where a function has a say whose source is not known.
    """
    learns = data if isinstance(settings, Compression) and data is not None and data.learns else None
    max_drop = _max_drop(settings, plan)
    lesson = _lesson(plan, learns, max_drop) if learns else None
    learnt = (
        [
            learns.splits.learning_sha256,
            learns.splits.validation_sha256,
            learns.unseen,
            max_drop,
            _lesson_settings(plan),
        ]
        if learns
        else None
    )
    observes = isinstance(settings, QuantizeAware | Refinement) and data is not None and data.calibrates
    calibrates = data if observes else None
    seen = [calibrates.splits.calibration_sha256, plan.preprocess, plan.split.seed] if calibrates else None
    floating = plan.quantize.float_layers if isinstance(settings, Calibrate) else ()
    return Step(
        wording.kind(settings),
        f"{plan.target}: {wording.step(settings)}",
        [settings, network.identity, original.identity, learnt, seen, latencies, floating, plan.quantize.recurrent],
        lambda out: jobs.CompressJob(
            settings=settings,
            network=str(network.path),
            original=str(original.path),
            lesson=lesson,
            calibration=str(calibrates.path / jobs.CALIBRATION) if calibrates else "",
            preprocess=plan.preprocess,
            latencies=latencies,
            float_layers=floating,
            seed=plan.split.seed,
            out=str(out),
            recurrent=plan.quantize.recurrent,
        ),
        is_known=not learns or all(source.sha256 for source in plan.learns_from),
        extra_s=_TRAININGS * lesson.time_s if lesson is not None else 0.0,
        if_it_crashes="Training ended without a word: memory may have run out ([train] batch_size = 16 takes less).",
    )


def _max_drop(settings: Change, plan: Plan) -> float:
    """How much of the score a pass may cost: what it says, else as much as the release may."""
    own = getattr(settings, "max_drop", None)
    limits = [
        budget.limit
        for budget in plan.budgets
        if budget.subject == Subject.ACCURACY_DROP and budget.unit in (Unit.SHARE, Unit.RELATIVE)
    ]
    return min(limits, default=_MAX_DROP) if own is None else float(own)


def freeze_changed(plan: Plan, network: Changeable) -> Step:
    """Fix the shapes of a network that passes have changed."""
    return Step(
        "freeze",
        f"{plan.target}: fix the shapes of the compressed {plan.name}",
        [network.identity, "changed", plan.quantize.recurrent],
        lambda out: jobs.FreezeJob(
            kind=jobs.GRAPH,
            path=str(network.path),
            input_shape=(),
            signature="",
            allow_code=False,
            out=str(out),
            recurrent=plan.quantize.recurrent,
        ),
    )


def split(plan: Plan, data: Source, path: str, network: Network) -> Step:
    """Read the data at a path and divide them; a function is called each time."""
    inputs = network.frozen.network.inputs
    return Step(
        "split",
        "read the data and divide them",
        None if data.kind == "callable" else [data.sha256, data.kind, inputs, plan.split],
        lambda out: jobs.SplitJob(kind=data.kind, path=path, inputs=inputs, split=plan.split, out=str(out)),
    )


def baseline(plan: Plan, network: Network, part: Part, labels: tuple[str, ...]) -> Step:
    """Settle the metric by labels, the classes' names if there are, and score the float network.

    A metric's function is called each time.
    """
    return Step(
        "baseline",
        f"score the float network on {part.samples:,} samples",
        None if plan.metric.is_callable else [network.identity, _scoring(plan, part), labels],
        lambda out: jobs.BaselineJob(
            saved_model=str(network.path),
            network=network.frozen.network,
            batched=network.frozen.batched,
            evaluation=str(part.path),
            preprocess=plan.preprocess,
            metric=plan.metric,
            out=str(out),
            most=part.most,
            labels=labels,
        ),
    )


def lint(
    plan: Plan, network: Network, data: Data, baseline: jobs.Baseline | None, *, calibrates: bool, is_int8: bool
) -> Step:
    """Look for faults in the data, and in what the float network scores on them.

    `calibrates` is whether ranges are chosen with them, `is_int8` whether any are of 8 bits.
    """
    accuracy = baseline if plan.metric.name == MetricKind.ACCURACY else None
    known = {
        jobs.CALIBRATION: data.splits.calibration_sha256 if calibrates else "",
        jobs.EVALUATION: data.splits.evaluation_sha256,
        jobs.LEARNING: data.splits.learning_sha256,
    }
    used = {split: digest for split, digest in known.items() if digest}
    return Step(
        "lint",
        "look for faults in the data",
        [network.identity, used, plan.preprocess, plan.metric, data.splits.labels, accuracy, is_int8],
        lambda _: jobs.LintJob(
            saved_model=str(network.path),
            network=network.frozen.network,
            batched=network.frozen.batched,
            data=str(data.path),
            splits=tuple(used),
            preprocess=plan.preprocess,
            metric=plan.metric,
            labels=data.splits.labels,
            baseline=accuracy,
            is_int8=is_int8,
        ),
    )


def quantize(plan: Plan, network: Network, data: Data | None) -> Step:
    """Convert to the plan's scheme."""
    calibrates = plan.quantize.scheme.needs_calibration and data is not None and data.calibrates
    calibration = data if calibrates else None
    sliced = plan.operators.sliced()
    return Step(
        "quantize",
        f"convert to {wording.ends(plan.quantize)}",
        [
            network.identity,
            plan.quantize,
            [calibration.splits.calibration_sha256, plan.preprocess] if calibration else None,
            sliced,
        ],
        lambda out: jobs.QuantizeJob(
            saved_model=str(network.path),
            calibration=str(calibration.path / jobs.CALIBRATION) if calibration else "",
            preprocess=plan.preprocess,
            quantize=plan.quantize,
            network=network.frozen.network,
            out=str(out),
            sliced=sliced,
        ),
        if_it_crashes=_CRASHED,
    )


def score(
    built: Built, part: Part, *, again: bool = False, tflm: str = "", what: str = "", resets: bool = False
) -> Step:
    """Score an artifact on the kernels that compute like its target's; a metric's function is called each time.

    Args:
        built: the artifact.
        part: the samples.
        again: whether to do it even where its result is kept.
        tflm: the version of TensorFlow Lite Micro that runs it, empty where LiteRT does.
        what: is scored, in the step's title, where that is not what the target gets.
        resets: whether its state is reset before each sample, which is not how an interpreter runs by itself.
    """
    plan = built.plan
    kernels = "TensorFlow Lite Micro's" if tflm else plan.runtime.kernels
    on = f"score {what} on {part.samples:,} train samples" if what else f"score {part.samples:,} samples"
    return Step(
        "tflm-score" if tflm else "score",
        f"{plan.target}: {on} on {kernels} kernels{', state reset before each' if resets else ''}",
        None
        if plan.metric.is_callable
        else [hashing.of_file(built.path), kernels, tflm, _scoring(plan, part), host.identity(), resets],
        lambda out: score_job(built, part, out, resets=resets),
        again=again,
    )


def score_job(built: Built, part: Part, out: Path, *, resets: bool = False) -> ScoreJob:
    """The job that scores an artifact on samples, on the kernels that compute like its target's."""
    plan = built.plan
    return ScoreJob(
        artifact=str(built.path),
        spec=built.spec,
        kernels=plan.runtime.kernels,
        samples=str(part.path),
        most=part.most,
        preprocess=plan.preprocess,
        metric=plan.metric,
        out=str(out),
        resets=resets,
    )


def _lesson(plan: Plan, data: Data, max_drop: float) -> jobs.LessonJob:
    return jobs.LessonJob(
        data=str(data.path),
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
        max_drop=max_drop,
    )


def _lesson_settings(plan: Plan) -> list[object]:
    """What a training depends on beside the network and the samples."""
    own = [plan.preprocess, plan.metric, plan.train, plan.distill, plan.split.seed, _pass_time_s(plan)]
    return [*own, [source.sha256 for source in plan.learns_from]]


def _pass_time_s(plan: Plan) -> float:
    """The time for training is shared out evenly among the passes that learn."""
    learning = [step for step in plan.compressions if not (isinstance(step, QuantizeAware) and step.only_ranges)]
    return plan.train.time / max(1, len(learning))


def _scoring(plan: Plan, part: Part) -> list[object]:
    """What a score depends on beside the network."""
    return [part.sha256, part.most, plan.preprocess, plan.metric]
