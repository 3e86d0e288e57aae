"""An importer of networks that are written as a line: `16 relu, 4 softmax`."""

from __future__ import annotations

from pathlib import Path


def read(path: str, out: Path) -> Path:
    """Make it with Keras, with weights drawn with a seed."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 1), name="image"), keras.layers.Flatten(name="flat")], name="lines")
    for number, words in enumerate(Path(path).read_text(encoding="utf-8").split(",")):
        units, activation = words.split()
        model.add(keras.layers.Dense(int(units), activation, name=f"dense{number}"))
    model.save(out / "network.keras")
    return out / "network.keras"
