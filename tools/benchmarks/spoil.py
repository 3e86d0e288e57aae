"""A network that computes the same with channels that are far from alike: python spoil.py MODEL SEED OUT [DECADES].

Batch norms are folded; then each channel between layers is multiplied by 10^U(-1.5, 1.5) (or as many decades as are
given), and divided by it where it is taken. Min-max int8 with one range for each tensor loses the small ones.
"""

from __future__ import annotations

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

from edgebuild.passes.carry import graph_of
from edgebuild.passes.equalization.preparing import prepare
from edgebuild.passes.equalization.scaling import rescaled
from edgebuild.passes.equalization.tracing import trace
from edgebuild.passes.graph import building

_DECADES = "1.5"


def main(model: str, seed: str, out: str, decades: str = _DECADES) -> None:
    """Rescale every channel that can be."""
    graph = prepare(graph_of(model, allow_code=False), fold=True).graph
    scaling = trace(graph)
    scales = 10 ** np.random.default_rng(int(seed)).uniform(-float(decades), float(decades), scaling.classes)
    scales[list(scaling.pinned)] = 1
    building.build(rescaled(graph, scaling, scales)).save(out, save_format="h5", include_optimizer=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
