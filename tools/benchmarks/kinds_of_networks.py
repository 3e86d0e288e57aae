"""Small networks of the kinds that people bring, each with data: 60 and more, made from nothing and seeded.

    ./tools/run python tools/benchmarks/kinds_of_networks.py NAME OUT

writes OUT/NAME.keras (.h5 for networks of tf_keras) and OUT/NAME.npz. `KINDS` has all by name. Few are trained: a kind
is right or wrong whatever its weights are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import kinds_of_images
import kinds_of_sequences
import kinds_of_tables
import numpy as np
import tf_keras
from kinds_basics import KINDS

# Each fills KINDS as it is imported.
ROOMS = (kinds_of_sequences, kinds_of_images, kinds_of_tables)


def main(name: str, out: Path) -> None:
    """Make one and write it."""
    for kit in (keras, tf_keras):
        kit.utils.set_random_seed(0)
    model, data = KINDS[name]()
    out.mkdir(parents=True, exist_ok=True)
    model.save(out / f"{name}.{'h5' if isinstance(model, tf_keras.Model) else 'keras'}")
    np.savez(out / f"{name}.npz", **data)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
