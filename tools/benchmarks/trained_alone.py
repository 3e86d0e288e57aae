"""Score a Keras network on samples held out, trained alone for some time before where that is asked for.

python trained_alone.py MODEL HELD.npz [--train DATA.npz --time SECONDS --width SHARE]

Prints the share of right predictions.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tf_keras

from edgebuild.passes.graph import building
from edgebuild.passes.student import narrow

_SEED = 0
_BATCH, _MULTIPLE = 64, 8


class _Deadline(tf_keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training when its time is over, with a learning rate that falls to its end by then."""

    def __init__(self, time_s: float, rate: float) -> None:
        super().__init__()
        self._time_s, self._rate, self._started = time_s, rate, time.monotonic()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
        """Set the rate by the time that is gone."""
        gone = (time.monotonic() - self._started) / self._time_s
        self.model.optimizer.learning_rate.assign(self._rate * 0.5 * (1 + np.cos(np.pi * min(1.0, gone))))
        self.model.stop_training = gone >= 1


def main(model_path: Path, held: Path, train: Path | None, time_s: float, width: float) -> None:
    """Train where asked for, score, print."""
    tf_keras.utils.set_random_seed(_SEED)
    model = tf_keras.models.load_model(model_path)
    if width < 1:
        model = building.build(narrow(building.read(model), width, _MULTIPLE, fresh=_SEED))
    if train is not None:
        with np.load(train) as data:
            x, y = data["x_train"], data["y_train"]
        model.compile(tf_keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
        model.fit(x, y, batch_size=_BATCH, epochs=1_000, verbose=0, callbacks=[_Deadline(time_s, 1e-3)])
    with np.load(held) as data:
        predicted = model.predict(data["x"], batch_size=256, verbose=0).argmax(1)
        print((predicted == data["y"]).mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--time", type=float, default=0.0)
    parser.add_argument("--width", type=float, default=1.0)
    given = parser.parse_args()
    main(given.model, given.held, given.train, given.time, given.width)
