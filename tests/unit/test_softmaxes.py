"""Softmaxes of a signal that has vanished: kernels of int8 end the process where its steps are too fine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from converting import converted

from edgebuild.core.passes import DType, Quantize, Scheme
from edgebuild.flatbuffer import reader
from edgebuild.flatbuffer.rewriting import softmaxes
from edgebuild.passes import quantize
from edgebuild.passes.loading import from_keras_model

# The converter's calibrator warns of its own interpreter.
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated:UserWarning")

HERE = Path(__file__).parent
INT8 = Quantize(scheme=Scheme.INT8, input=DType.FLOAT32, output=DType.FLOAT32, float_fallback=False)
# Kernels that give up end their process: each runtime has one of its own.
RUN = """
import sys
import numpy as np
from pathlib import Path
from ai_edge_litert.interpreter import OpResolverType
from running import on_litert, on_tflm
path, samples = Path(sys.argv[2]), np.load(sys.argv[3])
kernels = {"auto": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}
found = on_tflm(path, samples) if sys.argv[1] == "tflm" else on_litert(path, samples, kernels[sys.argv[1]])
np.save(sys.argv[4], found)
"""


def _outputs(runtime: str, path: Path, samples: Any) -> Any:
    """None where the process ends."""
    given, made = path.with_name("x.npy"), path.with_name(f"{runtime}.npy")
    np.save(given, samples)
    command = [sys.executable, "-c", RUN, runtime, str(path), str(given), str(made)]
    ran = subprocess.run(command, cwd=HERE, capture_output=True, check=False)
    return None if ran.returncode else np.load(made)


@pytest.mark.parametrize("function", [tf.nn.softmax, tf.nn.log_softmax], ids=["softmax", "log_softmax"])
def test_a_softmax_of_hardly_anything_runs_everywhere(
    function: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf_keras.utils.set_random_seed(0)
    given = tf_keras.layers.Input((8,))
    hardly = tf_keras.initializers.RandomNormal(stddev=1e-9)
    model = tf_keras.Model(given, function(tf_keras.layers.Dense(5, kernel_initializer=hardly)(given)))
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    network = from_keras_model(model)
    others = tuple(mend for mend in quantize.MENDED if mend is not softmaxes.with_coarser_inputs)
    with monkeypatch.context() as patched:
        patched.setattr(quantize, "MENDED", others)
        unmended = converted(network, [x], INT8, tmp_path / "unmended")
    assert _outputs("reference", unmended, x) is None

    path = converted(network, [x], INT8, tmp_path / "net")

    assert [each.name for each in reader.read(path).operators].count("QUANTIZE") == 2  # that of the input, and one more
    expected = np.asarray(model(x))
    for runtime in ("auto", "reference", "tflm"):
        # Half a step of LOG_SOFTMAX, which is 1/16.
        assert np.abs(_outputs(runtime, path, x) - expected).max() <= 1 / 32
    assert softmaxes.with_coarser_inputs(path.read_bytes()) == path.read_bytes()


def test_other_softmaxes_stay_as_they_are(tmp_path: Path) -> None:
    model = tf_keras.Sequential([tf_keras.layers.Input((8,)), tf_keras.layers.Dense(5, activation="softmax")])
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    path = converted(from_keras_model(model), [x], INT8, tmp_path / "net")
    assert [each.name for each in reader.read(path).operators].count("QUANTIZE") == 1
