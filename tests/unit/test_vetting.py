from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sessions
import tf_keras
from ai_edge_litert import schema_py_generated as schema
from converting import converted
from making import ACCURACY, DATA, INT8, MODEL, metric, network, plan, settings
from tflite_networks import Network

from edgebuild import plan as planning, targets
from edgebuild.actions.datasets import LEARNING, Splits
from edgebuild.core.passes import DType, Refinement, Scheme
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.errors import UsageError
from edgebuild.execution.session import Session
from edgebuild.flatbuffer import reader
from edgebuild.passes.loading import from_keras_model
from edgebuild.pipeline import convert
from edgebuild.pipeline.artifacts import Built, Data, Reference

RIGHT = np.eye(3, dtype=np.float32)
COUNT = 3_000


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with sessions.opened(tmp_path) as opened:
        yield opened


def _data(session: Session, folder: Path, y: Any = None, **fields: Any) -> Data:
    """Samples of three classes, of which the largest value is their class's."""
    x = np.random.default_rng(0).random((COUNT, 3), np.float32)
    folder.mkdir()
    digest = save(Examples((x,), x.argmax(1) if y is None else y), folder / LEARNING)
    given: dict[str, Any] = {"train_samples": COUNT, "calibration_samples": 0, "evaluation_samples": 0, "labels": ()}
    given |= {"given_samples": COUNT, "learning_samples": COUNT, "learning_sha256": digest, "notes": ()}
    given |= {"calibration_sha256": "", "evaluation_sha256": "", "has_answers": True, "learning_has_answers": True}
    return Data(Splits(**{**given, **fields}), sessions.folder(session, folder).entry)


def _refined(**fields: Any) -> Any:
    target = targets.load("mcu", ACCURACY, []).target
    asked = settings(**{"build": {"compress": False}, "metric": {"name": "accuracy"}, **fields})
    return planning.plan(target, asked, MODEL, DATA)


def _built(session: Session, folder: Path, name: str, kernel: Any, made: Any) -> Built:
    """A network of one dense layer, as if a plan had made it."""
    net = Network()
    given = net.tensor("x", [1, 3])
    weights = net.tensor("w", [3, 3], constant=True, data=list(np.ascontiguousarray(kernel.T).tobytes()))
    scores = net.tensor("y", [1, 3])
    options = schema.FullyConnectedOptionsT()
    net.operator(schema.BuiltinOperator.FULLY_CONNECTED, [given, weights], [scores], options=options)
    path = net.write(folder / f"{name}.tflite", [given], [scores])
    return Built(made, session.give_file(path), reader.read(path), None, (), network())


def _vetted(
    folder: Path, refined: Any, plain: Any, session: Session, y: Any = None, exact: Any = None, **fields: Any
) -> str | None:
    made, data = _refined(**fields), _data(session, folder / "data", y)
    other = convert.alternative_of(made, data)
    assert other is not None
    built = [_built(session, folder, "refined", refined, made), _built(session, folder, "plain", plain, other)]
    if exact is not None:
        standing = _built(session, folder, "float", exact, other)
        built = [each._replace(reference=Reference(standing.ref, standing.spec, ())) for each in built]
    return convert.vet(*built, data, session)


def _leaning(share: float) -> Any:
    """A kernel that answers class 0 a little too often."""
    return RIGHT * np.asarray([1 + share, 1, 1], np.float32)


def test_the_alternative_is_the_plan_without_its_refinements(session: Session, tmp_path: Path) -> None:
    made = _refined()
    other = convert.alternative_of(made, _data(session, tmp_path / "data"))
    assert other is not None
    assert any(isinstance(step, Refinement) for step in made.passes)
    assert other.passes == (made.quantize,)
    assert msgspec.structs.replace(other, passes=made.passes) == made


@pytest.mark.parametrize("lack", [{"learning_has_answers": False}, {"learning_samples": 99}])
def test_without_enough_answers_there_is_no_alternative(lack: dict[str, Any], session: Session, tmp_path: Path) -> None:
    assert convert.alternative_of(_refined(), _data(session, tmp_path / "data", **lack)) is None


def test_without_refinements_or_data_or_with_a_score_of_the_users_own_there_is_none(
    session: Session, tmp_path: Path
) -> None:
    data = _data(session, tmp_path / "data")
    assert convert.alternative_of(msgspec.structs.replace(_refined(), metric=metric("own.py:score")), data) is None
    assert convert.alternative_of(plan(passes=(INT8,)), data) is None
    assert convert.alternative_of(_refined(), None) is None


def test_refinements_that_cost_right_answers_are_taken_back(session: Session, tmp_path: Path) -> None:
    why = _vetted(tmp_path, _leaning(0.05), RIGHT, session)
    assert why is not None
    x = np.load(tmp_path / "data" / LEARNING / "x000.npy")[::2]
    lost = int(np.count_nonzero((x * np.float32([1.05, 1, 1])).argmax(1) != x.argmax(1)))
    assert lost > 10
    assert why.startswith("equalize and calibrate taken back")
    assert f"of 1,500 train samples {lost} are answered right by the plain conversion alone and 0 with them" in why


@pytest.mark.parametrize("refined", [RIGHT, _leaning(0.001)])
@pytest.mark.parametrize("plain", [RIGHT, _leaning(0.05), _leaning(0.001)])
def test_refinements_that_cost_none_or_hardly_any_stay(
    refined: Any, plain: Any, session: Session, tmp_path: Path
) -> None:
    assert _vetted(tmp_path, refined, plain, session) is None


def test_refinements_that_lead_away_from_the_float_network_are_taken_back(session: Session, tmp_path: Path) -> None:
    why = _vetted(tmp_path, _leaning(0.002), _leaning(0.001), session, exact=RIGHT)
    assert why is not None
    assert why.startswith("equalize and calibrate taken back: on 1,500 train samples the outputs are nearer")
    x = np.load(tmp_path / "data" / LEARNING / "x000.npy")[::2].astype(np.float64)
    plain, refined = (10 * np.log10(np.sum(x**2) / np.sum((share * x[:, 0]) ** 2)) for share in (0.001, 0.002))
    assert f"(SQNR {plain:.1f} dB, with them {refined:.1f} dB)" in why


def test_refinements_that_are_nearer_stay(session: Session, tmp_path: Path) -> None:
    assert _vetted(tmp_path, _leaning(0.001), _leaning(0.002), session, exact=RIGHT) is None


def test_refinements_that_are_right_more_often_stay_even_if_they_are_farther(session: Session, tmp_path: Path) -> None:
    assert _vetted(tmp_path, RIGHT, _leaning(0.06), session, exact=_leaning(0.05)) is None


@pytest.mark.parametrize(
    ("refined", "plain", "exact", "taken_back"), [(2, 1, 0, True), (1, 2, 0, False), (2, 1, None, False)]
)
def test_scores_without_classes_are_vetted_by_the_outputs_alone(
    refined: int, plain: int, exact: int | None, taken_back: bool, session: Session, tmp_path: Path
) -> None:
    float_network = None if exact is None else RIGHT
    kernels = (_leaning(refined / 1000), _leaning(plain / 1000))
    y = np.zeros((COUNT, 3), np.float32)
    why = _vetted(tmp_path, *kernels, session, y, float_network, metric={"name": "mae"})
    assert (why is not None and "outputs are nearer" in why) == taken_back
    assert (why is None) != taken_back


def _probabilities(session: Session, folder: Path, name: str, made: Any, reach: float) -> Built:
    """A network that ends in a softmax, in int8 calibrated on samples `reach` times too large, or in float for 0."""
    net = tf_keras.Sequential([tf_keras.layers.Input((3,)), tf_keras.layers.Dense(3, "softmax", name="answer")])
    net.set_weights([8 * RIGHT, np.zeros(3, np.float32)])
    x = reach * np.random.default_rng(1).random((200, 3), np.float32)
    scheme = Scheme.INT8 if reach else Scheme.FLOAT32
    dtype = DType.INT8 if reach else DType.FLOAT32
    asked = msgspec.structs.replace(INT8, scheme=scheme, input=dtype, output=dtype)
    path = converted(from_keras_model(net), [x], asked, folder / name)
    return Built(made, session.give_file(path), reader.read(path), None, (), network())


@pytest.mark.parametrize(
    ("refined", "plain", "taken_back"), [(1.3, 1.0, True), pytest.param(1.0, 1.3, False, marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated")
def test_probabilities_in_steps_are_vetted_by_what_the_softmax_reads(
    refined: float, plain: float, taken_back: bool, session: Session, tmp_path: Path
) -> None:
    made, data = _refined(), _data(session, tmp_path / "data", np.zeros(COUNT, np.int64))
    other = convert.alternative_of(made, data)
    standing = _probabilities(session, tmp_path, "float", other, 0)
    reference = Reference(standing.ref, standing.spec, ("answer",))
    built = [
        _probabilities(session, tmp_path, "refined", made, refined)._replace(reference=reference),
        _probabilities(session, tmp_path, "plain", other, plain)._replace(reference=reference),
    ]
    why = convert.vet(*built, data, session)
    assert (why is not None and "on 256 train samples the logits are nearer" in why) == taken_back
    assert (why is None) != taken_back


def test_large_networks_answer_fewer_samples(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "_MOST_MACS", 9 * 300)
    why = _vetted(tmp_path, _leaning(0.5), RIGHT, session)
    assert why is not None
    assert "of 300 train samples" in why


def test_answers_that_fit_nothing_are_told(session: Session, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="answers"):
        _vetted(tmp_path, _leaning(0.05), RIGHT, session, y=np.full(COUNT, 7))
