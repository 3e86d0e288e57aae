from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from converting import converted
from making import IDENTITY, INT8, tensor

from edgebuild.core.finding import Code
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Examples
from edgebuild.data.lint.channels import columns
from edgebuild.data.lint.subject import Subject, part_of
from edgebuild.data.samples import Samples, save
from edgebuild.passes.loading import from_keras_model

RNG = np.random.default_rng(0)
SCALES = np.array([1, 10, 1000, 0.01], np.float32)
ROWS = (RNG.normal(size=(400, 4)) * SCALES + np.array([0, 50, 3000, 0], np.float32)).astype(np.float32)


def found(folder: Path, x: np.ndarray, preprocess: Preprocess = IDENTITY, *, is_int8: bool = True) -> list[str]:
    save(Examples((x,)), folder)
    inputs = (tensor("x", (-1, *x.shape[1:]), str(x.dtype)),)
    part = part_of("calibration", Samples(folder, preprocess), inputs)
    subject = Subject(part, None, None, None, inputs, preprocess, is_int8=is_int8)
    findings = list(columns(subject))
    assert all(finding.code == Code.COLUMN_SCALES for finding in findings)
    return [f"{finding.what}\n{finding.why}\n{finding.remedy}" for finding in findings]


def test_columns_within_a_step_are_named_with_what_normalizes_them(tmp_path: Path) -> None:
    (text,) = found(tmp_path / "raw", ROWS)
    assert "int16x8" not in text  # the last column is within a step of 16 bits as well
    assert "int16x8" in found(tmp_path / "nearer", ROWS[:, :3])[0]
    assert "3 of 4 columns" in text or "2 of 4 columns" in text
    mean, scale = (
        tuple(map(float, re.search(rf"{name} = \[([^]]*)\]", text)[1].split(", "))) for name in ("mean", "scale")
    )
    assert found(tmp_path / "normalized", ROWS, Preprocess(mean=mean, scale=scale)) == []


@pytest.mark.parametrize("shape", [(400, 4), (20, 20, 4), (4, 10, 10, 4)])
def test_windows_and_maps_are_seen_by_their_last_axis(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert len(found(tmp_path / "raw", ROWS.reshape(shape))) == 1
    assert found(tmp_path / "alike", RNG.normal(size=shape).astype(np.float32)) == []


def test_nothing_is_said_where_one_scale_does_no_harm(tmp_path: Path) -> None:
    assert found(tmp_path / "int16", ROWS, is_int8=False) == []
    assert found(tmp_path / "numbers", ROWS.astype(np.int32)) == []
    assert found(tmp_path / "constant", np.hstack([ROWS[:, 2:3], np.ones((400, 1), np.float32)])) == []


@pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")
def test_a_network_without_its_normalization_keeps_its_outputs_in_int8(tmp_path: Path) -> None:
    """The remedy, followed: the layer is left out, and its numbers normalize the samples."""
    keras.utils.set_random_seed(0)
    norm = keras.layers.Normalization()
    norm.adapt(ROWS)
    whole = keras.Sequential([keras.layers.Input((4,)), norm, keras.layers.Dense(8, "relu"), keras.layers.Dense(1)])
    bare = keras.Sequential(whole.layers[1:])
    mean, variance = (np.asarray(value, np.float32).ravel() for value in (norm.mean, norm.variance))
    outside = (ROWS - mean) / np.sqrt(variance)
    exact = whole.predict(ROWS, verbose=0)
    assert np.allclose(bare.predict(outside, verbose=0), exact, atol=1e-4)
    assert _sqnr_db(whole, ROWS, exact, tmp_path / "inside") < 20
    assert _sqnr_db(bare, outside, exact, tmp_path / "outside") > 25


def _sqnr_db(model: keras.Model, x: np.ndarray, exact: np.ndarray, folder: Path) -> float:
    interpreter = Interpreter(str(converted(from_keras_model(model), [x], INT8, folder)))
    interpreter.allocate_tensors()
    (given,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for sample in x:
        scale, zero = given["quantization"]
        stored = np.clip(np.round(sample / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], stored[np.newaxis])
        interpreter.invoke()
        scale, zero = out["quantization"]
        rows.append((interpreter.get_tensor(out["index"])[0].astype(np.float32) - zero) * scale)
    return float(10 * np.log10(np.sum(exact**2) / np.sum((exact - np.stack(rows)) ** 2)))
