"""Prepare: what all targets of a build share. The network loaded and frozen, the data divided, the baseline scored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from edgebuild import hashing, targets
from edgebuild.actions import compression, datasets, networks, scores
from edgebuild.actions.networks import IMPORT, NETWORK, SAVED_MODEL, Called, Carried, ImportJob
from edgebuild.core.action import Ref
from edgebuild.core.budget import Subject, Unit
from edgebuild.core.finding import Code, Finding, Gravity
from edgebuild.core.metric import Metric
from edgebuild.core.model import ModelSpec
from edgebuild.core.passes import Recurrent, Scheme
from edgebuild.core.plan import Plan, Source
from edgebuild.core.plugin import Plugin
from edgebuild.core.progress import Listener
from edgebuild.core.settings import INPUT, InputKind, MetricKind
from edgebuild.emit.metadata.describing import takes_image
from edgebuild.errors import StepError, UsageError
from edgebuild.execution.session import Done, Session
from edgebuild.gating import budgets, judgeable
from edgebuild.pipeline import asking
from edgebuild.pipeline.artifacts import Data, Network
from edgebuild.units import format_share

# Scores of values, which a reconstruction has.
_ERRORS = (MetricKind.MSE, MetricKind.MAE, MetricKind.RMSE, MetricKind.R2)
_SETTLED_ON = 1000  # samples, where none are scored
# Scores in which one sample counts for 1 / samples.
_COUNTED = (MetricKind.ACCURACY, MetricKind.TOP_K)


class Shared(NamedTuple):
    """What all targets of a build share.

    Attributes:
        loaded: the network as its user gave it, or the example.
        source: where the data come from; None where none were given.
        data: divided, or made up; None for none.
        baseline: the float network's score; None where there is nothing to score on.
        metric: as the labels settled it; None where there are none.
        outputs: the folder of its predictions, likewise.
        findings: the faults of the data.
    """

    loaded: Loaded
    source: Source | None
    data: Data | None
    baseline: scores.Baseline | None
    metric: Metric | None = None
    outputs: Ref | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def network(self) -> Network:
        """The network, frozen."""
        return self.loaded.network


def prepare(plans: Sequence[Plan], session: Session, listener: Listener) -> Shared:
    """Do all that is done once, whatever the targets.

    Raises:
        EdgebuildError: a step failed.
    """
    shared = _prepared(plans[0], session)
    plans = [settled(plan, shared) for plan in plans]
    said = _require_scores(plans, shared)
    for note in (*shared.network.frozen.notes, *(shared.data.splits.notes if shared.data else ()), *said):
        listener.noted(note)
    return _linted(plans, shared, session, listener)


def _require_scores(plans: Sequence[Plan], shared: Shared) -> tuple[str, ...]:
    """What there is to say of limits on scores that will be inconclusive; raises UsageError for those asked for."""
    if shared.baseline is not None:
        return ()
    why = without_labels(shared, "nothing is scored") if shared.source is not None else "no data are named"
    return tuple(f"warning: {text}" for text in judgeable.require_scores(plans, why, targets.origins()))


def without_labels(shared: Shared, then: str) -> str:
    """That there are no labels and what follows, and what scores a network whose output is like its input."""
    text = f"the data hold no labels (y_eval): {then}"
    network = shared.network.frozen.network
    inputs = {spec.shape[1:] for spec in network.inputs}
    if shared.data is None or not shared.data.splits.evaluation_samples:
        return text
    if not any(spec.shape[1:] in inputs for spec in network.outputs):
        return text
    return f'{text}; an autoencoder is scored with --metric mse, or y_eval = x_eval, or [metric] target = "input"'


def _prepared(plan: Plan, session: Session) -> Shared:
    model, source = plan.model, plan.data
    if model.kind == "example":
        made = session.run(networks.EXAMPLE.action(networks.ExampleJob(seed=plan.split.seed)))
        files = (made.ref(name) for name in (networks.EXAMPLE_MODEL, networks.EXAMPLE_DATA))
        model, source = (_kept(model, ref, session) for ref in files)
    loaded = _load(plan, model, session)
    network = loaded.network
    _require_kind(plan, network.frozen.network)
    if source is None:
        made_up = _synthesized(plan, loaded, session) if plan.synthetic_samples else None
        return Shared(loaded, None, made_up, None)
    divided = session.run(asking.split(plan, source, network, session))
    plan, splits = against_input(plan, divided.result, network.frozen.network)
    data = Data(splits, divided.key)
    shared = Shared(loaded, source, data, None)
    if data.splits.has_answers or (plan.metric.target and data.splits.evaluation_samples):
        scored = session.run(asking.baseline(plan, network, data.evaluation, splits.labels))
        found = scored.result
        known = _with_input(data, found.metric)._replace(
            unseen=compression.Unseen(score=found.score, samples=found.samples)
        )
        return shared._replace(data=known, baseline=found, metric=found.metric, outputs=scored.ref())
    if not data.splits.learning_has_answers:
        return shared
    # Nothing is scored, but training goes by labels all the same.
    looked = session.run(asking.baseline(plan, network, data.learning.limited(_SETTLED_ON), splits.labels))
    return shared._replace(metric=looked.result.metric)


def _require_kind(plan: Plan, network: ModelSpec) -> None:
    """Refuse inputs that are said to be images where none has the shape of one."""
    if plan.input_kind == InputKind.IMAGE and not any(map(takes_image, network.inputs)):
        shapes = ", ".join(str(list(spec.shape)) for spec in network.inputs)
        raise UsageError(
            f'[model] input_kind = "image", and no input of {plan.name} is an image',
            f"Input shapes: {shapes}; an image is [batch, height, width, 1 or 3].",
            'Say "features", or "audio", or leave it out.',
        )


def against_input(plan: Plan, splits: datasets.Splits, network: ModelSpec) -> tuple[Plan, datasets.Splits]:
    """An error that was named for a network that gives its input back, where the data hold nothing else to compare.

    Which input it is settles the metric, as where the input is named as the target.
    """
    shapes = {spec.shape[1:] for spec in network.inputs}
    gives_back = any(spec.shape[1:] in shapes for spec in network.outputs)
    has_labels = splits.has_answers or splits.learning_has_answers
    if plan.metric.name not in _ERRORS or plan.metric.target or has_labels or not gives_back:
        return plan, splits
    metric = msgspec.structs.replace(plan.metric, target=INPUT)
    note = f"the data hold no labels: outputs are compared with the input ({metric.label})"
    return (
        msgspec.structs.replace(plan, metric=metric),
        msgspec.structs.replace(splits, notes=(*splits.notes, note)),
    )


def _with_input(data: Data, metric: Metric) -> Data:
    """With the input for labels, where outputs are compared with that: all samples have it."""
    if not metric.target:
        return data
    learns = data.splits.learning_samples > 0
    return data._replace(splits=msgspec.structs.replace(data.splits, has_answers=True, learning_has_answers=learns))


def settled(plan: Plan, shared: Shared) -> Plan:
    """A plan with the metric that labels chose, and its budgets in that metric's unit.

    Without what decides nothing for the network, so that targets share what they would do differently for others.

    Raises:
        UsageError: a budget does not fit the metric.
    """
    if not (shared.network.frozen.has_recurrent_layers or any(step.replaces_network for step in plan.changes)):
        quantize = msgspec.structs.replace(plan.quantize, recurrent=Recurrent.AUTO)
        passes = tuple(quantize if step is plan.quantize else step for step in plan.passes)
        plan = msgspec.structs.replace(plan, passes=passes)
    if shared.metric is None:
        return plan
    return msgspec.structs.replace(plan, metric=shared.metric, budgets=budgets.settled(plan.budgets, shared.metric))


def _linted(plans: Sequence[Plan], shared: Shared, session: Session, listener: Listener) -> Shared:
    """With the faults that the user's data have.

    Raises:
        UsageError: one makes all that would follow worthless, and is not allowed.
    """
    data = shared.data
    if shared.source is None or data is None:
        return shared
    calibrates = data.calibrates and any(plan.quantize.scheme.needs_calibration for plan in plans)
    is_int8 = calibrates and any(plan.quantize.scheme == Scheme.INT8 for plan in plans)
    made = session.run(
        asking.lint(plans[0], shared.network, data, shared.baseline, calibrates=calibrates, is_int8=is_int8)
    )
    ignored = plans[0].ignores
    findings = tuple(finding for finding in made.result.findings if finding.code not in ignored)
    _require_worth(plans, findings)
    samples = shared.baseline.samples if shared.baseline is not None else 0
    too_few = (found for plan in plans for found in findings_of_resolution(plan, samples))  # each target keeps its own
    for what in dict.fromkeys(finding.what for finding in (*findings, *too_few)):
        listener.noted(f"warning: {what}")
    return shared._replace(findings=findings)


def _require_worth(plans: Sequence[Plan], findings: Sequence[Finding]) -> None:
    """Refuse to go on with what makes a build worthless; labels that nothing learns from do not."""
    learns = any(plan.compressions for plan in plans)
    fatal = [
        finding
        for finding in findings
        if finding.level == Gravity.ERROR
        and finding.code not in plans[0].allows
        and (learns or finding.code != Code.OUT_OF_RANGE)
    ]
    if fatal:
        codes = ", ".join(f'"{finding.code}"' for finding in fatal)
        raise UsageError(
            "; ".join(finding.what for finding in fatal),
            "\n".join(
                [*(finding.why for finding in fatal), "Nothing that would be built from them is worth a verdict."]
            ),
            "\n".join([*(finding.remedy for finding in fatal), f"To build all the same: [lint] allow = [{codes}]"]),
        )


def _synthesized(plan: Plan, loaded: Loaded, session: Session) -> Data:
    made = session.run(asking.synthesize(plan, with_layers(plan, loaded, session).ref))
    return Data(made.result, made.key)


def _kept(example: Source, ref: Ref, session: Session) -> Source:
    """The example as a file of the store, which a manifest calls by its name."""
    kept = msgspec.structs.replace(example, sha256=ref.identity)
    session.give(msgspec.structs.replace(kept, path=str(session.path(ref))))
    return kept


class Loaded(NamedTuple):
    """A network as its user gave it.

    Attributes:
        model: where it comes from.
        file: what is loaded: the same, or what the importer of a plug-in made of it.
        network: the same, frozen.
        called: what the function of the user's left that returned it, which is called once for a build: it may return
            another network each time. None for a file.
    """

    model: Source
    file: Source
    network: Network
    called: Done[Called] | None = None


class _Layered(NamedTuple):
    """A network that passes can change: its file, and its layers."""

    ref: Ref
    carried: Carried


def _load(plan: Plan, model: Source, session: Session) -> Loaded:
    """Load the network and fix its shapes.

    Raises:
        EdgebuildError: it cannot be loaded, or cannot be called with static shapes.
    """
    if model.kind != "callable":
        file = _imported(model, model.plugin, session) if model.plugin is not None else model
        return Loaded(model, file, _of_file(plan, file, session))
    called = session.run(asking.call(plan, model, session))
    frozen = called.result.frozen
    return Loaded(model, model, Network(frozen, called.ref(SAVED_MODEL, frozen.identity_sha256)), called)


def _imported(model: Source, plugin: Plugin, session: Session) -> Source:
    """What the importer of a plug-in makes of a network, as a file or a folder that is loaded like a user's.

    Raises:
        EdgebuildError: it failed, or left no network.
    """
    path = str(session.give(model)) if model.sha256 else model.path
    made = session.run(IMPORT.action(ImportJob(path=path, plugin=plugin)))
    place = session.path(made.ref(made.result.path))
    return Source(kind=made.result.kind, path=str(place), sha256=hashing.of_tree(place))


def with_layers(plan: Plan, loaded: Loaded, session: Session) -> _Layered:
    """The network as passes can change it.

    Raises:
        StepError: it has no layers that they know.
    """
    if loaded.called is None:
        made = session.run(asking.carry(plan, loaded.file, session))
        return _Layered(made.ref(NETWORK, made.result.identity_sha256), made.result)
    carried = loaded.called.result.carried
    if carried is None:
        raise StepError(*loaded.called.result.failure)
    return _Layered(loaded.called.ref(NETWORK, carried.identity_sha256), carried)


def as_planned(plan: Plan, loaded: Loaded, session: Session) -> Network:
    """The network with its recurrent layers as a plan has them.

    Raises:
        StepError: they cannot be written so.
    """
    if loaded.called is None:
        return _of_file(plan, loaded.file, session)
    return frozen(plan, with_layers(plan, loaded, session).ref, session)


def frozen(plan: Plan, network: Ref, session: Session) -> Network:
    """A network that passes can change, its shapes fixed."""
    made = session.run(asking.freeze_changed(plan, network))
    return Network(made.result, made.ref(SAVED_MODEL, made.result.identity_sha256))


def _of_file(plan: Plan, model: Source, session: Session) -> Network:
    made = session.run(asking.freeze(plan, model, session))
    # With the digest of its files: they may hold what the identity of the network does not see.
    identity = hashing.of_data([model.sha256, made.result.identity_sha256])
    return Network(made.result, made.ref(SAVED_MODEL, identity))


def findings_of_resolution(plan: Plan, samples: int) -> Iterator[Finding]:
    """Limits on the accuracy drop that are finer than what one evaluation sample is worth.

    A limit of nothing at all is exact on any number of samples, and is meant so.

    Args:
        plan: with the metric that labels settled.
        samples: that are scored.
    """
    if Code.EVALUATION_TOO_SMALL in plan.ignores or plan.metric.name not in _COUNTED or not samples:
        return
    limits = [
        budget.limit
        for budget in plan.budgets
        if (budget.subject, budget.unit) == (Subject.ACCURACY_DROP, Unit.SHARE) and 0 < budget.limit < 1 / samples
    ]
    if not limits:
        return
    limit, worth = (format_share(share).replace("%", "points") for share in (min(limits), 1 / samples))
    yield Finding(
        code=Code.EVALUATION_TOO_SMALL,
        what=f"accuracy_drop at most {limit} is finer than the evaluation split: "
        f"one of its {samples:,} samples is worth {worth}",
        why="A single sample that turns wrong breaks the budget, whatever the artifact loses on others.",
        remedy=f"Score at least {math.ceil(1 / min(limits)):,} samples (x_eval), or allow a sample: "
        f'accuracy_drop = "{math.ceil(10000 / samples) / 100:g} %".',
    )
