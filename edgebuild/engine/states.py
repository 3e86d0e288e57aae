"""What is said of an artifact that carries state over from one inference to the next."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.engine.material import Built

# How a runtime is made to forget.
RESETS = "reset_all_variables() in Python, ResetVariableTensors() in C++, MicroInterpreter::Reset() on microcontrollers"


def notes(built: Built) -> Iterator[str]:
    """That there is state, and what users must do about it."""
    if not built.spec.keeps_state:
        return
    if built.network.streams:
        yield (
            f"streaming model: {', '.join(built.network.streams)} carry state over from each inference to the next, as "
            "in the network; samples are run in their order, nothing reset. A new stream starts with a new interpreter"
        )
        return
    yield f"the artifact keeps state: reset it before each independent input ({RESETS})"


def compared(built: Built, in_use: float, reset: float) -> Iterator[str]:
    """Both scores, where they differ; the report's own is always the one in use."""
    if in_use == reset:
        return
    label = built.plan.metric.label
    first, second = (f"{score:.2%}" if built.plan.metric.is_share else f"{score:.6g}" for score in (in_use, reset))
    yield f"{label} is {first} as the interpreter runs by itself, {second} with the state reset before each sample"
