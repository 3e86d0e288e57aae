"""What a build lost, measured: its answers and its layers held against the float network's."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from edgebuild import readback
from edgebuild.actions import conversion
from edgebuild.core.action import Action, R, Ref
from edgebuild.core.losses import Losses
from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.core.plan import Plan
from edgebuild.engine import asking, fallback
from edgebuild.engine.fallback import UNMEASURED
from edgebuild.engine.material import Built, Data, Network, Part, Reference
from edgebuild.execution.session import Session

_LAYERS_ON = 32  # samples
_FLOAT = Quantize(scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=True)


class Kept(NamedTuple):
    """The folders in which both scorings left their outputs."""

    baseline: Ref
    artifact: Ref


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
        session: where actions are done or found.

    Raises:
        StepError: the converter refused it.
    """
    floating = msgspec.structs.replace(plan, passes=(_FLOAT,))
    title = "convert to float32, to compare layers"
    made = session.run(asking.quantize(floating, network, None, title, ships=False))
    spec = readback.in_order(made.result.artifact, network.frozen.network)
    return Reference(made.ref(conversion.ARTIFACT), spec, network.frozen.network.layers)


def measure(built: Built, data: Data, kept: Kept | None, session: Session) -> Lost:
    """Compare outputs and layers, as far as there is what that needs.

    Args:
        built: the artifact.
        data: divided data.
        kept: the outputs of both networks; None where nothing was scored.
        session: where actions are done or found.

    Returns:
        What was lost; what cannot be compared is noted, since the artifact is none the worse for it.
    """
    notes: list[str] = []
    output = layers = None
    if kept is not None:
        title = "hold its answers against the float network's"
        action = asking.output_loss(built.plan, kept.baseline, kept.artifact, data.evaluation, title)
        output = _compared("outputs", action, notes, session)
    part = _looked_at(data)
    if built.reference is not None and part is not None:
        layers = _compared("layers", asking.layer_loss(built, built.reference, part), notes, session)
    losses = Losses(output=output, layers=layers) if output is not None or layers is not None else None
    return Lost(losses, tuple(notes))


def _looked_at(data: Data) -> Part | None:
    """The samples for layers: what is repaired by them must not have seen what it is scored on."""
    if data.calibrates:
        return data.calibration.limited(_LAYERS_ON)
    return data.evaluation.limited(_LAYERS_ON) if data.splits.evaluation_samples else None


def _compared(what: str, action: Action[R], notes: list[str], session: Session) -> R | None:
    try:
        return session.run(action).result
    except UNMEASURED as error:
        # A file may run as it is and yet not with all its tensors kept: the artifact is none the worse.
        notes.append(f"{what} were not compared with the float network's: {fallback.reason(error)}")
    return None
