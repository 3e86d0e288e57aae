"""From what the converter left to the file that ships: packed, planned for its arena, and with its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from edgebuild.actions import conversion
from edgebuild.actions.conversion import Leaned, LeanJob, MetadataJob
from edgebuild.core.action import Action, Ref
from edgebuild.core.delivery import ENTRY as SDK_METADATA
from edgebuild.core.delivery import BiasScales, Keep, Leaner, Names
from edgebuild.core.model import TensorSpec
from edgebuild.core.target import Interpreter, Kernels
from edgebuild.emit.metadata.describing import Fed, describe, lacking
from edgebuild.engine import devices, fallback
from edgebuild.engine.fallback import FAILURES
from edgebuild.engine.material import Built
from edgebuild.engine.sharing import Shared
from edgebuild.errors import StepError
from edgebuild.execution.session import Done, Session
from edgebuild.flatbuffer import reader
from edgebuild.process import ChildBugError

_MINIMUM_RUNTIME = "min_runtime_version"


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
