"""Recurrent layers that stay loops: refused for int8 with remedies that the target runs and that work when followed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import msgspec
import numpy as np
import pytest
import tf_keras
from converting import converted
from making import INT8, network, plan
from running import on_litert, sqnr_db
from sessions import NOWHERE

from edgebuild.actions import networks
from edgebuild.core.passes import DType, Recurrent, Scheme
from edgebuild.core.target import Operators
from edgebuild.errors import StepError
from edgebuild.passes.freeze import freeze
from edgebuild.passes.loading import from_keras_model, load
from edgebuild.pipeline import usable
from edgebuild.pipeline.artifacts import Network

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated"),
]
_FLOATS = [msgspec.structs.replace(INT8, scheme=scheme, input=DType.FLOAT32, output=DType.FLOAT32)
           for scheme in (Scheme.DYNAMIC, Scheme.FLOAT16)]  # fmt: skip


def _recurrent(kit: Any, layer: str, steps: int = 6) -> Any:
    kit.utils.set_random_seed(0)
    layers = kit.layers
    return kit.Sequential([layers.Input((steps, 3)), getattr(layers, layer)(4, name="rec"), layers.Dense(2)])


def _refused(loop: networks.Loop, *, floats: bool) -> str:
    frozen = networks.Frozen(network=network(), batched=True, identity_sha256="0", loops=(loop,))
    with pytest.raises(StepError, match=loop.layer) as refused:
        usable._require_no_loops(plan(operators=Operators(float=floats)), Network(frozen, NOWHERE))
    return refused.value.remedy


@pytest.mark.parametrize("steps", [0, 300])
def test_schemes_in_float_are_named_only_where_the_target_runs_them(steps: int) -> None:
    loop = networks.Loop(layer="rec", steps=steps)
    assert "--quantize dynamic or float16" in _refused(loop, floats=True)
    assert "--quantize" not in _refused(loop, floats=False)
    assert ('recurrent = "unrolled"' if steps else ".keras or .h5") in _refused(loop, floats=False)


@pytest.mark.parametrize(
    ("kit", "layer"),
    [
        (tf_keras, "GRU"),
        pytest.param(keras, "LSTM", marks=pytest.mark.slow),
    ],
)
def test_an_exported_loop_runs_in_float_as_its_refusal_says(kit: Any, layer: str, tmp_path: Path) -> None:
    model = _recurrent(kit, layer)
    model.export(tmp_path / "exported", **({"verbose": False} if kit is keras else {}))
    exported = load("folder", str(tmp_path / "exported"), signature="", allow_code=False)
    assert freeze(exported, tmp_path / "frozen", name="net").loops, "int8 refuses it"
    x = np.random.default_rng(0).normal(size=(6, 6, 3)).astype(np.float32)
    for settings in _FLOATS:
        path = converted(exported, [x], settings, tmp_path / settings.scheme)
        assert sqnr_db(np.asarray(model(x)), on_litert(path, x)) > 50
    # Or the file that it was exported from.
    assert freeze(from_keras_model(model), tmp_path / "known", name="net").loops == ()


@pytest.mark.slow
def test_a_sequence_that_is_too_long_runs_in_float_or_is_written_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usable.networks, "MOST_STEPS", 5)
    monkeypatch.setattr("edgebuild.passes.unrolling.MOST_STEPS", 5)
    model, x = _recurrent(keras, "GRU"), np.random.default_rng(0).normal(size=(6, 6, 3)).astype(np.float32)
    assert freeze(from_keras_model(model), tmp_path / "left", name="net").loops
    path = converted(from_keras_model(model), [x], _FLOATS[0], tmp_path / "float")
    assert sqnr_db(np.asarray(model(x)), on_litert(path, x)) > 50
    unrolled = msgspec.structs.replace(INT8, recurrent=Recurrent.UNROLLED)
    path = converted(from_keras_model(model), [x], unrolled, tmp_path / "unrolled")
    assert sqnr_db(np.asarray(model(x)), on_litert(path, x)) > 20
    assert freeze(from_keras_model(_recurrent(keras, "GRU", 5)), tmp_path / "short", name="net").loops == ()
