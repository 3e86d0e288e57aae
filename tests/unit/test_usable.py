"""What stands in for a target's runtime and does not run a file: others do, a figure is left out, no build fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import sessions
from ai_edge_litert import schema_py_generated as schema
from making import ACCURACY, INT8, network, plan
from tflite_networks import TYPE, Network

from edgebuild.actions.datasets import EVALUATION, Splits
from edgebuild.core.budget import Subject
from edgebuild.core.delivery import Delivery
from edgebuild.core.passes import DType, Scheme
from edgebuild.core.target import Interpreter, Kernels, Operators, Runtime
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.errors import StepError
from edgebuild.execution.session import Session
from edgebuild.flatbuffer import reader
from edgebuild.pipeline import convert, devices, evaluate, places
from edgebuild.pipeline.artifacts import Built, Data, Reference
from edgebuild.pipeline.demands import Demand, Runnable
from edgebuild.pipeline.evaluate import Kept
from edgebuild.pipeline.usable import usable

FLOAT = msgspec.structs.replace(INT8, scheme=Scheme.FLOAT32, input=DType.FLOAT32, output=DType.FLOAT32)
ANY = Operators(float=True)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with sessions.opened(tmp_path) as opened:
        yield opened


def _float_file(path: Path, *operators: int, custom: str = "") -> Path:
    """A chain of float operators without weights."""
    net = Network()
    last = given = net.tensor("x", [1, 4])
    for position, code in enumerate(operators):
        made = net.tensor(f"net/bend{position}/out", [1, 4])
        net.operator(code, [last], [made], **({"custom": custom} if code == schema.BuiltinOperator.CUSTOM else {}))
        last = made
    return net.write(path, [given], [last])


def _refused_by_xnnpack(path: Path) -> Path:
    """A dense layer of int8 with a requantization scale of 2048, which ends the process of XNNPACK."""
    net = Network()
    given = net.tensor("x", [1, 4], TYPE.INT8, scale=[0.5], zero_point=[0])
    scales = [0.01, 4096 * 0.02, 0.02]
    weights = net.tensor("w", [3, 4], TYPE.INT8, constant=True, data=[1] * 12, scale=scales, zero_point=[0] * 3)
    products = [0.5 * scale for scale in scales]
    bias = net.tensor("b", [3], TYPE.INT32, constant=True, data=[0] * 12, scale=products, zero_point=[0] * 3)
    made = net.tensor("net/dense/out", [1, 3], TYPE.INT8, scale=[0.02], zero_point=[0])
    options = schema.FullyConnectedOptionsT()
    net.operator(schema.BuiltinOperator.FULLY_CONNECTED, [given, weights, bias], [made], version=5, options=options)
    return net.write(path, [given], [made])


def _built(session: Session, path: Path, **fields: Any) -> Built:
    spec = reader.read(path)
    own = network(inputs=spec.inputs, outputs=spec.outputs, layers=("bend0", "bend1", "dense"))
    return Built(plan(**{"operators": ANY, "passes": (FLOAT,), **fields}), session.give_file(path), spec, None, (), own)


def _data(session: Session, folder: Path, width: int = 4) -> Data:
    x = np.random.default_rng(0).normal(size=(6, width)).astype(np.float32)
    folder.mkdir()
    digest = save(Examples((x,), np.arange(6) % 3), folder / EVALUATION)
    splits = Splits(
        train_samples=0,
        calibration_samples=0,
        evaluation_samples=6,
        labels=(),
        given_samples=6,
        learning_samples=0,
        learning_sha256="",
        notes=(),
        calibration_sha256="",
        evaluation_sha256=digest,
        has_answers=True,
        learning_has_answers=False,
    )
    return Data(splits, sessions.folder(session, folder).entry)


def test_other_kernels_stand_in_where_the_reference_kernels_lack_an_operator(tmp_path: Path, session: Session) -> None:
    code = schema.BuiltinOperator
    built = usable(_built(session, _float_file(tmp_path / "bent.tflite", code.ELU, code.ROUND)), session)
    assert built.plan.runtime == Runtime(name=Interpreter.TFLM, kernels=Kernels.BUILTIN)
    (note,) = built.notes
    assert note == (
        "LiteRT's builtin kernels stand in for its reference kernels, from which they at times differ by a step: "
        "LiteRT's reference kernels have no ELU (from bend0)"
    )
    lean = msgspec.structs.replace(built.plan, delivery=Delivery(lean=True))
    packed = convert.pack(built._replace(plan=lean), session)
    assert packed.notes == ()
    assert packed.leaner is not None
    assert packed.leaner.verified_on == ("litert builtin", "litert xnnpack", "tflm")


def test_a_custom_operator_that_this_host_lacks_leaves_out_its_latency_alone(tmp_path: Path, session: Session) -> None:
    only_tflm = _float_file(tmp_path / "own.tflite", schema.BuiltinOperator.CUSTOM, custom="SignalFramer")
    built = _built(session, only_tflm)
    demand, item = Demand(built.plan.bench), Runnable(only_tflm, Kernels.REFERENCE)
    (host,) = places.wanted(built.plan.bench, ())
    placed = places.measure(item, [host], demand, session, is_stand_in=True)
    assert placed.measurements == ()
    assert "Encountered unresolved custom op: SignalFramer" in placed.lacking["latency on host"]
    assert placed.notes[0].startswith("nothing was measured on host: LiteRT does not run own.tflite")
    with pytest.raises(StepError, match=r"LiteRT does not run own\.tflite"):
        places.measure(item, [host], demand, session)  # the runtime's own refusal ends a build


def test_kernels_that_end_their_process_leave_notes(tmp_path: Path, session: Session) -> None:
    path = _refused_by_xnnpack(tmp_path / "ends.tflite")
    runtime = Runtime(name=Interpreter.LITERT, kernels=Kernels.XNNPACK)
    built = _built(session, path, runtime=runtime, passes=(INT8,), target="arm64")
    with pytest.raises(StepError):
        usable(built, session)  # XNNPACK is this target's own
    answered = devices.ask(built, built, _data(session, tmp_path / "data"), session)
    assert (answered.report.delegation, answered.report.parity) == (None, None)
    assert [note.partition(":")[0] for note in answered.notes] == [
        "which operators XNNPACK takes could not be read",
        "outputs on xnnpack and reference kernels were not compared",
    ]
    # It is packed and proved on the kernels that run it.
    lean = msgspec.structs.replace(built.plan, delivery=Delivery(lean=True), runtime=_reference())
    packed = convert.pack(built._replace(plan=lean), session)
    assert packed.leaner is not None
    assert packed.leaner.verified_on == ("litert reference", "tflm")
    assert packed.notes == ()


def _reference() -> Runtime:
    return Runtime(name=Interpreter.TFLM, kernels=Kernels.REFERENCE)


def test_an_arena_and_a_sample_that_cannot_be_had_are_notes_and_the_budget_says_why(
    tmp_path: Path, session: Session
) -> None:
    path = _float_file(tmp_path / "own.tflite", schema.BuiltinOperator.CUSTOM, custom="SignalFramer")
    answered = devices.ask(*[_built(session, path)] * 2, _data(session, tmp_path / "data"), session)
    assert (answered.report.arena, answered.vector) == (None, None)
    assert "TensorFlow Lite Micro crashed" in answered.lacking[Subject.ARENA]
    assert [note.partition(":")[0] for note in answered.notes] == [
        "the arena was not measured",
        "the firmware has no self-test",
    ]


def test_outputs_and_layers_that_cannot_be_compared_are_notes(tmp_path: Path, session: Session) -> None:
    path = _float_file(tmp_path / "bent.tflite", schema.BuiltinOperator.ELU)
    built, data = _built(session, path, metric=ACCURACY), _data(session, tmp_path / "data")
    for name in ("float", "own"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "outputs.npy", np.zeros((6, 3 if name == "own" else 4), np.float32))
    reference = Reference(session.give_file(path), built.spec, ("bend0",))
    kept = Kept(*(sessions.folder(session, tmp_path / name) for name in ("float", "own")))
    lost = evaluate.measure_losses(built._replace(reference=reference), data, kept, session)
    assert lost.losses is None
    assert [note.partition(":")[0] for note in lost.notes] == [
        "outputs were not compared with the float network's",
        "layers were not compared with the float network's",
    ]
