"""Recurrent layers. A unit goes with its columns for all gates, its row of the recurrent kernel and its state."""

from __future__ import annotations

import numpy as np

from edgebuild.passes.surgery.channels import Axes, Role
from edgebuild.passes.surgery.use import Use

_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


def recurrent(use: Use) -> list[Axes]:
    """Kernel (in, gates * units), recurrent kernel (units, gates * units), bias (gates * units) or a pair of these."""
    (axes, *states) = use.inputs
    units = use.made(int(use.config["units"]))
    gates = np.tile(units, _GATES[use.kind])
    use.count(("units",), units)
    use.weight("kernel", 0, use.pin_others(axes, -1)[-1], Role.CONSUMES)
    use.weight("kernel", 1, gates, Role.PRODUCES)
    use.weight("recurrent_kernel", 0, units, Role.CONSUMES)
    use.weight("recurrent_kernel", 1, gates, Role.PRODUCES)
    use.weight("bias", -1, gates, Role.FOLLOWS)
    for state in states:
        use.unify([units, state[-1]], len(units))
    return [(*[None] * (len(shape) - 1), units) for shape in use.results]


def bidirectional(use: Use) -> list[Axes]:
    """Both directions read the input; their units stay, since one setting counts those of both."""
    (axes, *states) = use.inputs
    inner = use.config["layer"]
    if inner["class_name"] not in _GATES or use.config.get("backward_layer"):
        return unknown(use)
    vector = use.pin_others(axes, -1)[-1]
    use.weight("kernel", 0, vector, Role.CONSUMES)
    use.weight("kernel_1", 0, vector, Role.CONSUMES)
    for state in states:
        use.pin(state[-1])
    use.stay("the units of a Bidirectional layer are not pruned")
    return [(None,) * len(shape) for shape in use.results]


def unknown(use: Use) -> list[Axes]:
    """A layer of which nothing is known: whatever it meets stays, its own channels too."""
    if use.layer.weights:
        use.stay(f"edgebuild does not know the channels of {use.layer.kind.__name__}")
    return use.pin_all()
