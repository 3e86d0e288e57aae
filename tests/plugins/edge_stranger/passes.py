"""Passes."""

from __future__ import annotations

import numpy as np

from edgebuild.passes.plugged import Changed, Work


def coarse(work: Work) -> Changed:
    """Weights of few bits of fraction."""
    step = 2.0**-work.settings.bits
    model = work.model()
    for layer in model.layers:
        layer.set_weights([np.round(weights / step) * step for weights in layer.get_weights()])
    seen = sum(len(batch[0]) for batch in work.samples())
    return Changed(model, (f"weights are multiples of {step}; {seen} samples seen",))


def fades(work: Work) -> Changed:
    """A training."""
    model = work.model()
    work.train(model)
    return Changed(model, ("trained",))


def cut(work: Work) -> Changed:
    """A network without its last layer: not one that can take the other's place."""
    import tf_keras

    model = work.model()
    return Changed(tf_keras.Model(model.inputs, model.layers[-2].output))
