"""Convert: what is done for the accuracy of int8, tried beside the plain conversion, and the file that ships.

Refinements bring the artifact nearer to the float network on the calibration samples. That is not always nearer on
others, and nearer is not always what answers best. Where there are samples to learn from, they decide; never those that
the artifact is scored on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild import readback
from edgebuild.actions import conversion
from edgebuild.actions.conversion import Leaned, LeanJob, MetadataJob
from edgebuild.core.action import Action, Ref
from edgebuild.core.delivery import ENTRY as SDK_METADATA, BiasScales, Keep, Leaner, Names
from edgebuild.core.losses import OutputLoss
from edgebuild.core.metric import Metric
from edgebuild.core.model import ArtifactSpec, TensorSpec
from edgebuild.core.plan import Plan
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.emit.metadata.describing import Fed, describe, lacking
from edgebuild.errors import StepError
from edgebuild.execution.session import Done, Session
from edgebuild.flatbuffer import reader
from edgebuild.pipeline import asking, devices, fallback
from edgebuild.pipeline.artifacts import Built, Data, Part
from edgebuild.pipeline.fallback import FAILURES
from edgebuild.pipeline.prepare import Shared
from edgebuild.process import ChildBugError
from edgebuild.report import wording
from edgebuild.stats import sign_test

_FEWEST, _MOST = 100, 2_000  # samples; fewer decide nothing
_LAYERS_ON = 256  # samples, where layers are compared
_MOST_MACS = 2 * 10**10  # over all samples: two minutes on reference kernels
_CHANCE = 0.05  # that one of two has so many more right answers without being the better one
_MINIMUM_RUNTIME = "min_runtime_version"


class _Named(NamedTuple):
    """An artifact, and what it is called in the titles of steps."""

    name: str
    built: Built


class _Inside(NamedTuple):
    """The SQNR of a tensor inside an artifact, in decibels, and over how many samples."""

    db: float
    samples: int


class _Distance(NamedTuple):
    """How far the two artifacts are from the float network: the SQNR of both, of what, and on how many samples."""

    plain_db: float
    refined_db: float
    of: str
    samples: int


def alternative_of(plan: Plan, data: Data | None) -> Plan | None:
    """The plan without its refinements; None where there are none, or no samples that tell which is better.

    None either of a network that is trained for int8, which would be trained once more.
    """
    if data is None or not plan.refinements or plan.is_aware or plan.metric.is_callable:
        return None
    if not data.splits.learning_has_answers or data.splits.learning_samples < _FEWEST:
        return None
    return replace(plan, passes=tuple(step for step in plan.passes if not step.refines))


def vet(refined: Built, plain: Built, data: Data, session: Session) -> str | None:
    """Why the refinements are to be taken back; None where they are not.

    Right answers come first: those that only one of the two artifacts has, held against each other by the exact test of
    McNemar (1947), one-sided. Where they cannot tell the two apart, the better one is that whose logits are nearer to
    the float network's (its outputs, where they are no probabilities).

    Args:
        refined: the artifact as it was planned.
        plain: that of its `alternative`.
        data: whose learning split is answered.
        session: where actions are done or found.

    Raises:
        EdgebuildError: the samples could not be answered, or their answers fit nothing.
    """
    if plain.ref.identity == refined.ref.identity:
        return None
    ours, usual = _Named("the refined conversion", refined), _Named("the plain conversion", plain)
    why = _why(usual, ours, data, session)
    names = " and ".join(wording.kind(step) for step in refined.plan.refinements)
    return None if why is None else f"{names} taken back: {why}"


def _why(usual: _Named, ours: _Named, data: Data, session: Session) -> str | None:
    part = data.learning.limited(_affordable(usual.built.spec))
    between = _between(usual, ours, part, session)
    lost, gained = _only_one_is_right(between, ours.built.plan.metric)
    chance = sign_test(lost, gained)
    if chance < _CHANCE:
        return f"of {between.samples:,} train samples {_both(lost, gained, between)} (p = {chance:.2g})"
    if sign_test(gained, lost) < _CHANCE:
        return None
    found = _distance(usual, ours, part, session)
    if found is None or found.plain_db <= found.refined_db:
        return None
    nearer = f"the {found.of} are nearer to the float network's without them"
    both = f"SQNR {found.plain_db:.1f} dB, with them {found.refined_db:.1f} dB"
    return f"on {found.samples:,} train samples {nearer} ({both})"


def _both(lost: int, gained: int, between: OutputLoss) -> str:
    answers = between.answers
    if answers is not None and answers.total == between.samples:
        return f"{lost:,} are answered right by the plain conversion alone and {gained:,} with them alone"
    return f"{lost:,} are nearer to their labels with the plain conversion and {gained:,} with them"


def _only_one_is_right(between: OutputLoss, metric: Metric) -> tuple[int, int]:
    """For how many samples the plain conversion is nearer to the labels, and for how many the refined one.

    Nearer by the metric of the build: more of a sample's predictions are right (of one that is right or wrong: only one
    conversion has it right), or its error is smaller. Samples are counted, not the places of one: these are not
    independent, and the test would take them to be.
    """
    if metric.is_open:
        return 0, 0
    return between.worse, between.better


def _affordable(artifact: ArtifactSpec) -> int:
    """How many samples are answered at most: fewer of large networks."""
    return max(_FEWEST, min(_MOST, _MOST_MACS // max(1, artifact.macs)))


def _distance(usual: _Named, ours: _Named, part: Part, session: Session) -> _Distance | None:
    """What can be compared with the float network; None where that is nothing."""
    exact = _float_network(usual.built)
    if exact is None:
        return None
    if _rounds_its_answers(usual.built.spec):
        return _logits_inside(usual, ours, part.limited(_LAYERS_ON), session)
    plain, refined = (_between(exact, each, part, session) for each in (usual, ours))
    if plain.logits is not None and refined.logits is not None:
        return _Distance(plain.logits.sqnr_db, refined.logits.sqnr_db, "logits", plain.samples)
    return _Distance(plain.signal.sqnr_db, refined.signal.sqnr_db, "outputs", plain.samples)


def _between(one: _Named, other: _Named, part: Part, session: Session) -> OutputLoss:
    """What the outputs of an artifact lose of another one's."""
    first, second = (session.run(asking.score(each.built, part, what=each.name)).ref() for each in (one, other))
    title = f"hold {other.name} against {one.name}"
    return session.run(asking.output_loss(other.built.plan, first, second, part, title)).result


def _float_network(plain: Built) -> _Named | None:
    """The float network as an artifact, which XNNPACK runs fastest; None where there is none."""
    if plain.reference is None:
        return None
    plan = plain.plan
    runtime = replace(plan.runtime, kernels=Kernels.XNNPACK)
    built = plain._replace(ref=plain.reference.ref, spec=plain.reference.spec, plan=replace(plan, runtime=runtime))
    return _Named("the float network", built)


def _rounds_its_answers(artifact: ArtifactSpec) -> bool:
    """Whether it ends in a function that writes steps which hide what is lost."""
    computing = [operator for operator in artifact.operators if operator.name not in readback.CONVERSIONS]
    last = computing[-1] if computing else None
    return last is not None and last.name in readback.ANSWERS and "float32" not in last.dtypes


def _logits_inside(usual: _Named, ours: _Named, part: Part, session: Session) -> _Distance | None:
    """What the last function reads; None where that cannot be had."""
    plain, refined = (_before_the_answers(each, part, session) for each in (usual, ours))
    if plain is None or refined is None:
        return None
    return _Distance(plain.db, refined.db, "logits", min(plain.samples, refined.samples))


def _before_the_answers(one: _Named, part: Part, session: Session) -> _Inside | None:
    built = one.built
    if built.reference is None or len(built.spec.outputs) != 1:
        return None
    try:
        compared = session.run(asking.layer_loss(built, built.reference, part, f"the layers of {one.name}")).result
    except FAILURES:
        return None  # a file may run as it is and yet not with all its tensors kept
    last = max(compared.layers, key=lambda layer: layer.position, default=None)
    if last is None or last.operator not in readback.ANSWERS or last.input_sqnr_db is None:
        return None
    return _Inside(last.input_sqnr_db, compared.samples)


class Finished(NamedTuple):
    """An artifact ready to ship.

    Attributes:
        built: as it ships.
        packed: the same without the metadata that SDKs read.
        leaner: what packing took off it; None where it was not packed.
        notes: what there is to say.
    """

    built: Built
    packed: Built
    leaner: Leaner | None = None
    notes: tuple[str, ...] = ()


def finish(named: Built, shared: Shared, session: Session) -> Finished:
    """Make the file that ships.

    Args:
        named: as the converter left it, with the names of its tensors.
        shared: the data, with the names of classes.
        session: where actions are done or found.

    Raises:
        EdgebuildError: a file does not run.
    """
    packed = pack(named, session)
    if not named.plan.delivery.metadata:
        return packed
    built = packed.built
    labels = shared.data.splits.labels if shared.data is not None else ()
    described = describe(
        session.path(built.ref).read_bytes(),
        built.plan,
        built.spec,
        labels,
        fed=_fed(built, shared),
        streams=bool(built.network.streams),
    )
    try:
        job = MetadataJob(artifact=str(built.ref), described=described)
        made = session.run(conversion.METADATA.action(job, of=built.plan.target))
    except FAILURES as error:
        note = f"the metadata that SDKs read were left out: {fallback.reason(error)}"
        return packed._replace(notes=(*packed.notes, note))
    tensors = [operator.tensor for operator in built.spec.operators]
    notes = (*packed.notes, *lacking(described, labels))
    return packed._replace(built=_with(named, built, made.ref(conversion.ARTIFACT), tensors, session), notes=notes)


def _fed(built: Built, shared: Shared) -> list[Fed]:
    """How each input of the network is fed: what its samples and its own first layers say."""
    inputs = built.network.inputs
    pixels = shared.data.splits.pixels if shared.data is not None else ()
    encodings = pixels if len(pixels) == len(inputs) else [None] * len(inputs)
    given = shared.network.frozen.network  # passes may make other layers of its first ones
    return [
        Fed(pixels=encoding, rescales=spec.name in given.pixels, is_float=not spec.dtype.startswith(("int", "uint")))
        for spec, encoding in zip(inputs, encodings, strict=True)
    ]


def pack(named: Built, session: Session, what: str = "the file") -> Finished:
    """Without what the target does not read, and with a small arena, as far as that changes no output.

    Args:
        named: as the converter left it.
        session: where actions are done or found.
        what: it is called.
    """
    if not named.plan.delivery.lean:
        return Finished(named, named)
    try:
        made = _leaned(named, what, session)
    except FAILURES as error:
        return Finished(named, named, notes=(f"the file was not packed: {fallback.reason(error)}",))
    leaned = made.result
    built = _with(named, named, made.ref(conversion.ARTIFACT), leaned.tensors, session)
    notes = []
    if leaned.reordered:
        notes.append("operators stand in another order, for a smaller arena")
    if leaned.planned:
        notes.append("the file holds a plan of its arena, since TensorFlow Lite Micro's own planner needs more")
    return Finished(built, built, leaned.leaner, tuple(notes))


def _leaned(named: Built, what: str, session: Session) -> Done[Leaned]:
    """The packed file, its outputs proved on all kernels that run it; a family that does not is left out."""
    first: StepError | ChildBugError | None = None
    for families in _families(named):
        try:
            return session.run(_lean(named, what, families))
        except FAILURES as error:
            first = first or error
    assert first is not None, "there are kernels to try"
    raise first


def _families(named: Built) -> Iterator[tuple[Kernels, ...]]:
    # Whoever tries the file on his own machine should get the kernels that it had before.
    families = tuple(dict.fromkeys((named.plan.runtime.kernels, Kernels.XNNPACK)))
    yield families
    if len(families) > 1:
        yield from ((family,) for family in families)
    if devices.runs_on_tflm(named) and named.plan.accelerator is None:
        yield ()


def _lean(named: Built, what: str, families: tuple[Kernels, ...]) -> Action[Leaned]:
    plan = named.plan
    is_app = not plan.runtime.name.is_tflm  # other importers read names, and may read more
    keep = Keep(
        signatures=is_app,
        metadata=(SDK_METADATA, _MINIMUM_RUNTIME) if is_app else (),
        names=Names.ENDS if is_app else Names.NONE,
        bias_scales=BiasScales.KEPT if is_app else BiasScales.WEIGHTS,
    )
    # Beside an NPU the arena is that of what its compiler leaves.
    is_planned = plan.runtime.name.is_tflm and plan.accelerator is None
    runtime = Interpreter.TFLM if is_planned else Interpreter.LITERT
    job = LeanJob(artifact=str(named.ref), keep=keep, kernels=families, runtime=runtime)
    return conversion.LEAN.action(job, of=plan.target, title=f"pack {what}")


def _with(named: Built, built: Built, file: Ref, tensors: Sequence[str], session: Session) -> Built:
    """A build with another file of the same network, which may lack names and number its tensors otherwise.

    Args:
        named: the file with all names, whose ends stand in the network's order in its spec.
        built: the build that the file was made of.
        file: the file.
        tensors: the names of what its operators write first, which the file may lack.
        session: where files lie.
    """
    found, original = reader.read(session.path(file)), reader.read(session.path(named.ref))
    spec = replace(
        found,
        inputs=_in_order(found.inputs, original.inputs, named.spec.inputs),
        outputs=_in_order(found.outputs, original.outputs, named.spec.outputs),
        operators=tuple(
            replace(operator, tensor=tensor) for operator, tensor in zip(found.operators, tensors, strict=True)
        ),
    )
    return built._replace(ref=file, spec=spec)


def _in_order(
    found: tuple[TensorSpec, ...], original: tuple[TensorSpec, ...], wanted: tuple[TensorSpec, ...]
) -> tuple[TensorSpec, ...]:
    """The ends of a file in the network's order: they stand as those of the original do, under whatever numbers."""
    # By number and name: one tensor may be several outputs.
    positions = {(tensor.index, tensor.name): position for position, tensor in enumerate(original)}
    return tuple(replace(found[positions[tensor.index, tensor.name]], name=tensor.name) for tensor in wanted)
