"""Makes small real networks of every kind that edgebuild reads, and data for them: python networks.py FOLDER."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", KERAS_BACKEND="tensorflow")

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = 3
SIDE = 8


class Wave(keras.layers.Layer):
    """Computes what the converter cannot quantize."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.sin(x)


class Inverse(keras.layers.Layer):
    """Computes what TensorFlow Lite has no operator for."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.math.erfinv(x)


def convolutional(kit: object) -> object:
    """A small image classifier in either Keras."""
    layers = kit.layers  # type: ignore[attr-defined]
    inputs = layers.Input((SIDE, SIDE, 1), name="image")
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.Flatten(name="flat")(x)
    outputs = layers.Dense(CLASSES, activation="softmax", name="answer")(x)
    return kit.Model(inputs, outputs)  # type: ignore[attr-defined]


def residual(classes: int = CLASSES) -> tf_keras.Model:
    """An image classifier with enough channels, and a block too many, to be made smaller."""
    layers = tf_keras.layers
    inputs = layers.Input((SIDE, SIDE, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = shortcut = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="inner")(x)
    x = layers.Add(name="sum")([x, shortcut])
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu", name="depthwise")(x)
    x = layers.Conv2D(48, 1, activation="relu", name="pointwise")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(32, activation="relu", name="hidden")(x)
    return tf_keras.Model(inputs, layers.Dense(classes, activation="softmax", name="answer")(x), name="residual")


def dear() -> keras.Model:
    """An image classifier of 40 million products: dearer than the others on every machine, however fast."""
    inputs = x = keras.Input((SIDE, SIDE, 1), name="image")
    for number in range(2):
        x = keras.layers.Conv2D(256, 3, padding="same", activation="relu", name=f"wide{number}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, activation="softmax", name="answer")(x), name="dear")


def dense(*middle: keras.layers.Layer) -> keras.Model:
    """A dense network with the given layers in its middle."""
    inputs = keras.Input((4,), name="features")
    x = keras.layers.Dense(4, activation="tanh", name="first")(inputs)
    for layer in middle:
        x = layer(x)
    return keras.Model(inputs, keras.layers.Dense(CLASSES, name="last")(x))


def two_ended() -> keras.Model:
    """Two inputs and two outputs, whose names do not sort as they stand."""
    left, right = keras.Input((4,), name="zebra"), keras.Input((2,), name="ape")
    x = keras.layers.Concatenate(name="join")([left, right])
    first = keras.layers.Dense(CLASSES, name="zoo")(x)
    second = keras.layers.Dense(1, name="age")(x)
    return keras.Model([left, right], [first, second])


def many_ended() -> keras.Model:
    """The inputs of `two_ended`, and outputs of one shape whose names do not sort as they stand; one of them twice."""
    left, right = keras.Input((4,), name="zebra"), keras.Input((2,), name="ape")
    x = keras.layers.Dense(8, activation="relu", name="hidden")(keras.layers.Concatenate(name="join")([left, right]))
    yaw = keras.layers.Dense(CLASSES, name="yaw")(x)
    kind = keras.layers.Dense(CLASSES, activation="softmax", name="kind")(x)
    pitch = keras.layers.Dense(CLASSES, activation="tanh", name="pitch")(x)
    return keras.Model([left, right], [yaw, kind, pitch, yaw])


def untrained(folder: Path, features: np.ndarray) -> None:
    """The dear one, and two with several ends; of the last its outputs, whose second input takes two features."""
    dear().save(folder / "dear.keras")
    two_ended().save(folder / "two_ended.keras")
    model = many_ended()
    model.save(folder / "many_ended.keras")
    expected = model([features, features[:, :2]])
    np.savez(folder / "many_ended.npz", **{f"output{place}": array for place, array in enumerate(expected)})


def recurrent(kit: object, x: np.ndarray, y: np.ndarray) -> object:
    """A classifier that reads an image row by row, trained."""
    layers = kit.layers  # type: ignore[attr-defined]
    inputs = layers.Input((SIDE, SIDE), name="rows")
    network = kit.Model(inputs, layers.Dense(CLASSES)(layers.LSTM(8)(inputs)))  # type: ignore[attr-defined]
    network.compile(
        kit.optimizers.Adam(0.02),  # type: ignore[attr-defined]
        kit.losses.SparseCategoricalCrossentropy(from_logits=True),  # type: ignore[attr-defined]
    )
    network.fit(x, y, epochs=15, verbose=0)
    return network


def two_signatures(folder: Path) -> None:
    """A SavedModel that does not say which of its functions is meant."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones((4, 5)))
    spec = tf.TensorSpec((None, 4), tf.float32, "features")
    first = tf.function(lambda features: {"sum": tf.matmul(features, module.kernel)[:, :3]}, input_signature=[spec])
    second = tf.function(lambda features: {"all": tf.matmul(features, module.kernel)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures={"first": first, "second": second})


def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class is the third of the image that is bright."""
    y = rng.integers(0, CLASSES, count)
    x = rng.random((count, SIDE, SIDE, 1)).astype(np.float32)
    for row, answer in enumerate(y):
        x[row, :, answer * 2 : answer * 2 + 3] += 2
    return x, y


def spoilt(network: tf_keras.Model, rng: np.random.Generator) -> tf_keras.Model:
    """A residual network that computes the same with channels that are up to a thousand times as large as others."""
    copy = tf_keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for maker, taker in (("depthwise", "pointwise"), ("pointwise", "hidden")):
        made, taken = copy.get_layer(maker), copy.get_layer(taker)
        kernel, bias = made.get_weights()
        factors = 10 ** rng.uniform(-1.5, 1.5, bias.size)
        channels = kernel.shape[2] if maker == "depthwise" else kernel.shape[3]
        shaped = factors.reshape(channels, 1) if maker == "depthwise" else factors
        made.set_weights([kernel * shaped, bias * factors])
        kernel, bias = taken.get_weights()
        by_channel = kernel.reshape(-1, channels, kernel.shape[-1]) / factors[:, None]
        taken.set_weights([by_channel.reshape(kernel.shape), bias])
    return copy


def handwritten(folder: Path, rng: np.random.Generator) -> None:
    """A network that tells scikit-learn's digits apart, its spoilt copy, and the data."""
    x, y = load_digits(return_X_y=True)
    x, order = (x / 16).reshape(-1, SIDE, SIDE, 1).astype(np.float32), rng.permutation(len(x))
    learnt, scored = order[:1200], order[1200:]
    network = residual(10)
    network.compile(tf_keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    network.fit(x[learnt], y[learnt], epochs=12, verbose=0)
    network.save(folder / "digits.h5")
    spoilt(network, rng).save(folder / "spoilt.h5")
    np.savez(folder / "digits.npz", x_train=x[learnt], y_train=y[learnt], x_eval=x[scored], y_eval=y[scored])


def unfit(folder: Path, features: np.ndarray, answers: np.ndarray) -> None:
    """Data and files that cannot be used."""
    spoilt = features.copy()
    spoilt[7, 2] = np.nan
    np.savez(folder / "nan.npz", x_train=spoilt)
    np.savez(folder / "wide.npz", x_train=np.zeros((9, 5), np.float32))
    np.savez(folder / "no_calibration.npz", x_calibration=features[:0], x_eval=features, y_eval=answers)
    np.savez(folder / "objects.npz", x_train=np.array([{"a": 1}], dtype=object))
    for name in ("text.keras", "text.h5", "text.tflite", "text.npz"):
        (folder / name).write_text("this is a text\n")


def main(folder: Path) -> None:
    """Write everything into the folder."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = draw(rng, 300)
    model = convolutional(keras)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(x[:200], y[:200], epochs=8, verbose=0)
    np.savez(folder / "images.npz", x_train=x[:200], y_train=y[:200], x_eval=x[200:], y_eval=y[200:])
    np.savez(folder / "only_eval.npz", x_eval=x[200:], y_eval=y[200:], x_calibration=x[:100])
    np.savez(folder / "flat_images.npz", x_train=x[:200, ..., 0], x_eval=x[200:, ..., 0], y_eval=y[200:])

    model.save(folder / "keras3.keras")
    model.save(folder / "keras3.h5")
    model.export(folder / "exported", verbose=False)
    old = convolutional(tf_keras)
    old.set_weights(model.get_weights())
    old.save(folder / "keras2.h5")
    old.save(folder / "keras2_saved_model")
    kernel = model.get_layer("stem").kernel
    kernel.assign(-kernel)
    model.export(folder / "exported_again", verbose=False)
    large = residual()
    large.compile(tf_keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
    large.fit(x[:200], y[:200], epochs=8, verbose=0)
    large.save(folder / "residual.h5")
    handwritten(folder, rng)
    tf.saved_model.save(
        large, str(folder / "layerless"), signatures=tf.function(large.call).get_concrete_function(x[:1])
    )
    np.save(folder / "answers.npy", large.predict(x[:200], verbose=0))
    recurrent(tf_keras, x[:200, ..., 0], y[:200]).save(folder / "recurrent.h5")
    recurrent(keras, x[:200, ..., 0], y[:200]).save(folder / "recurrent.keras")
    keyword = tf_keras.layers.Input((4,), name="in")
    tf_keras.Model(keyword, tf_keras.layers.Dense(CLASSES)(keyword)).save(folder / "keyword.h5")
    keras.Model(half := keras.Input((4,)), keras.layers.Dense(CLASSES, dtype="mixed_float16")(half)).save(
        folder / "half.keras"
    )
    two_signatures(folder / "two_signatures")
    model.save_weights(folder / "only.weights.h5")
    with h5py.File(folder / "bare.h5", "w") as file:
        file["kernel"] = np.zeros(3)

    dense(keras.layers.Lambda(lambda t: t * 2, name="twice")).save(folder / "code.keras")
    dense(Wave(name="wave")).export(folder / "wave", verbose=False)
    dense(Inverse(name="inverse")).export(folder / "inverse", verbose=False)
    features = rng.random((200, 4)).astype(np.float32)
    answers = rng.integers(0, CLASSES, 200)
    np.savez(folder / "features.npz", x_train=features, y_train=answers, x_eval=features[:60], y_eval=answers[:60])
    untrained(folder, features[:60])
    ends = {"x_train/zebra": features, "x_train/ape": features[:, :2], "x_eval/zebra": features[:60]}
    np.savez(folder / "ends.npz", **ends, **{"x_eval/ape": features[:60, :2], "y_eval": answers[:60]})

    unfit(folder, features, answers)
    for row in range(90):
        place = folder / "pictures" / f"third{y[row]}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((x[row, ..., 0] * 80).clip(0, 255).astype(np.uint8)).save(place / f"{row}.png")
    (folder / "mine.py").write_text(_MODULE.format(here=str(Path(__file__).parent), folder=str(folder)))


_MODULE = """
import sys
sys.path.append({here!r})
import networks, numpy as np, tensorflow as tf, keras

def model():
    keras.utils.set_random_seed(3)
    return networks.dense()

def wave():
    return networks.dense(networks.Wave(name="wave"))

def inverse():
    return networks.dense(networks.Inverse(name="inverse"))

def large():
    import tf_keras
    return tf_keras.models.load_model({folder!r} + "/residual.h5", compile=False)

def oracle():
    network = large()
    return lambda x: network.predict(x, verbose=0)

def mirrored(x, rng):
    return x[:, ::-1] if rng.random() < 0.5 else x

def dies(x, rng):
    import os
    os.abort()

def raises():
    raise ValueError("not today")

def arrays():
    rng = np.random.default_rng(5)
    return dict(x_train=rng.random((100, 4), np.float32), y_train=rng.integers(0, 3, 100))

def datasets():
    given = arrays()
    whole = tf.data.Dataset.from_tensor_slices((given["x_train"], given["y_train"]))
    return dict(train=whole.take(70).batch(16), eval=whole.skip(70))

def misnamed():
    return dict(trian=tf.data.Dataset.from_tensor_slices(arrays()["x_train"]).repeat())

def share_of_zeros(outputs, y):
    return float(np.mean(outputs.argmax(-1) == 0))
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]))
