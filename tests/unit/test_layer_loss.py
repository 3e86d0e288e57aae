"""Layers of real artifacts held against the float network, in the child that builds use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import flatbuffers
import msgspec
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from making import IDENTITY, INT8

from edgebuild import readback
from edgebuild.actions.conversion import QuantizeJob
from edgebuild.actions.fidelity import LayerLossJob
from edgebuild.actions.networks import FreezeJob, Frozen
from edgebuild.core.losses import LayerLosses, worst
from edgebuild.core.passes import DType, Scheme
from edgebuild.core.target import Kernels
from edgebuild.data.given import Examples
from edgebuild.data.samples import save
from edgebuild.flatbuffer import reader
from edgebuild.process import Child, Limits
from edgebuild.runtimes.fidelity import matching
from edgebuild.runtimes.fidelity.matching import Node, Tensor, Wiring
from edgebuild.runtimes.fidelity.signal import Power, contradicted
from tests.conftest import PATIENCE_S

LIMITS = Limits(time_s=PATIENCE_S, memory_bytes=2 * 10**9)
_ENDS = msgspec.structs.replace(INT8, input=DType.FLOAT32, output=DType.FLOAT32)
SCHEMES = {
    "float": msgspec.structs.replace(_ENDS, scheme=Scheme.FLOAT32),
    "int8": INT8,
    "ends": _ENDS,
    "int16": msgspec.structs.replace(_ENDS, scheme=Scheme.INT16X8),
    "dynamic": msgspec.structs.replace(_ENDS, scheme=Scheme.DYNAMIC),
    "half": msgspec.structs.replace(_ENDS, scheme=Scheme.FLOAT16),
}
CONVOLUTIONS = ("stem", "left", "right", "depth", "mix")


class Files(NamedTuple):
    """A network's artifacts by the names of their schemes, and samples."""

    folder: Path
    layers: tuple[str, ...]

    def path(self, name: str) -> Path:
        return self.folder / name / "model.tflite"


def _network() -> Any:
    """Two alike branches that read the same, a residual sum, ReLU6, a half that is not used, a softmax."""
    import tensorflow as tf
    import tf_keras

    tf_keras.utils.set_random_seed(3)
    layers = tf_keras.layers
    image = tf_keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    left = layers.Conv2D(8, 3, padding="same", activation="relu", name="left")(x)
    right = layers.Conv2D(8, 3, padding="same", activation="relu", name="right")(x)
    x = layers.Concatenate(name="both")([left, right])
    y = layers.DepthwiseConv2D(3, padding="same", name="depth")(x)
    y = layers.ReLU(6, name="capped")(layers.BatchNormalization(name="norm")(y))
    y = layers.Add(name="sum")([x, layers.Conv2D(16, 1, name="mix")(y)])
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    # XNNPACK computes no output that nobody reads.
    y, _ = tf.split(y, 2, axis=-1)
    return tf_keras.Model(image, layers.Dense(5, activation="softmax", name="classes")(y), name="net")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("layer_loss")
    network = folder / "net.keras"
    _network().save(network)
    x = np.random.default_rng(0).normal(size=(24, 12, 12, 3)).astype(np.float32)
    save(Examples(x=(x,), y=None), folder / "calibration")
    with Child("edgebuild.execution.serving", "the converter", folder / "log") as child:

        def call(name: str, job: msgspec.Struct) -> bytes:
            return child.call(name, job, LIMITS, lambda _: None)

        freeze = FreezeJob(
            kind="file", path=str(network), input_shape=(), signature="", allow_code=False, out=str(folder)
        )
        frozen = msgspec.json.decode(call("freeze", freeze), type=Frozen)
        for name, settings in SCHEMES.items():
            (folder / name).mkdir()
            job = QuantizeJob(
                saved_model=str(folder / "saved_model"),
                calibration=str(folder / "calibration"),
                preprocess=IDENTITY,
                quantize=settings,
                network=frozen.network,
                out=str(folder / name),
            )
            call("quantize", job)
    return Files(folder, frozen.network.layers)


@pytest.fixture(scope="module")
def child(files: Files) -> Iterator[Child]:
    with Child("edgebuild.execution.serving", "the interpreter", files.folder / "log") as started:
        yield started


def _losses(
    child: Child, files: Files, artifact: Path, kernels: Kernels = Kernels.REFERENCE, output: int = 0
) -> LayerLosses:
    job = LayerLossJob(
        artifact=str(artifact),
        spec=reader.read(artifact),
        reference=str(files.path("float")),
        reference_spec=reader.read(files.path("float")),
        layers=files.layers,
        kernels=kernels,
        samples=str(files.folder / "calibration"),
        split="calibration",
        preprocess=IDENTITY,
        output=output,
        most_samples=8,
    )
    return msgspec.json.decode(child.call("layer-loss", job, LIMITS, lambda _: None), type=LayerLosses)


def _spoilt(path: Path, layer: str, layers: tuple[str, ...], out: Path) -> Path:
    """The artifact with one kernel on a grid of five values."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    (operator,) = [
        operator
        for operator in graph.operators
        if layer in readback.layers_of(graph.tensors[operator.outputs[0]].name.decode(), layers)
        and len(operator.inputs) == 3
    ]
    buffer = model.buffers[graph.tensors[operator.inputs[1]].buffer]
    values = np.asarray(buffer.data, np.uint8).view(np.int8)
    buffer.data = (np.round(values / 60.0) * 60).astype(np.int8).view(np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    out.write_bytes(bytes(builder.Output()))
    return out


@pytest.mark.parametrize("layer", CONVOLUTIONS)
def test_a_layer_that_was_spoilt_is_found_as_the_worst(layer: str, child: Child, files: Files, tmp_path: Path) -> None:
    spoilt = _spoilt(files.path("int8"), layer, files.layers, tmp_path / "spoilt.tflite")
    (found,) = worst(_losses(child, files, spoilt).layers, 1)
    assert layer in found.layers


@pytest.mark.parametrize("kernels", list(Kernels))
@pytest.mark.parametrize("name", ["int8", "ends", "int16", "dynamic", "half"])
def test_every_operator_is_compared_with_its_counterpart(
    name: str, kernels: Kernels, child: Child, files: Files
) -> None:
    found = _losses(child, files, files.path(name), kernels)
    assert found.unmatched == ()
    operators = [item.name for item in reader.read(files.path(name)).operators if item.name != "DEQUANTIZE"]
    assert [layer.operator for layer in found.layers] == operators
    # A tensor of another layer would be nothing like it.
    assert min(layer.signal.cosine for layer in found.layers) > 0.99
    assert (found.samples, found.split, found.kernels) == (8, "calibration", kernels)


def test_more_bits_lose_less(child: Child, files: Files) -> None:
    noise = [
        _losses(child, files, files.path(name)).layers[-1].signal.sqnr_db for name in ("int8", "int16", "half", "float")
    ]
    assert noise == sorted(noise)
    assert noise[1] > noise[0] + 6


def test_what_comes_in_is_the_worst_of_what_is_read(child: Child, files: Files) -> None:
    by_layer = {name: layer for layer in _losses(child, files, files.path("int8")).layers for name in layer.layers}
    joined = by_layer["both"]
    branches = (by_layer["left"].signal.sqnr_db, by_layer["right"].signal.sqnr_db)
    assert joined.input_sqnr_db is not None
    # The converter gives both branches the range of what they are joined to.
    assert joined.input_sqnr_db == pytest.approx(min(branches), abs=1)
    assert 20 < (by_layer["stem"].input_sqnr_db or 0) < 60, "the input is int8"


def test_the_quantization_of_a_float_input_is_a_loss_of_its_own(child: Child, files: Files) -> None:
    first = _losses(child, files, files.path("ends")).layers[0]
    assert (first.operator, first.input_sqnr_db) == ("QUANTIZE", 150.0)
    assert 20 < first.signal.sqnr_db < 60


def test_kept_tensors_on_xnnpack_are_those_that_whole_graphs_compute(files: Files) -> None:
    """The figures of XNNPACK's kernels would be others' if keeping tensors turned its delegate off."""
    from edgebuild.runtimes.interpreters import fill_randomly, load

    found = []
    for keeps_tensors in (False, True):
        interpreter = load(str(files.path("int8")), "int8", Kernels.XNNPACK, 1, keeps_tensors=keeps_tensors)
        fill_randomly(interpreter)
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    assert (found[0] == found[1]).all()


def test_branches_that_are_alike_are_told_apart_by_name(files: Files) -> None:
    artifact = matching.read_wiring(files.path("int8"), reader.read(files.path("int8")))
    reference = matching.read_wiring(files.path("float"), reader.read(files.path("float")))
    # The converter may put branches in another order.
    stem, left, right, *others = reference.nodes
    swapped = reference._replace(nodes=(stem, right, left, *others))
    found = matching.counterparts(artifact, swapped).same
    names = {artifact.tensors[own].name: reference.tensors[other].name for own, other in found.items()}
    for branch in ("left", "right"):
        (other,) = [other for own, other in names.items() if f"/{branch}/" in own]
        assert f"/{branch}/" in other


def _renamed(path: Path, names: dict[str, str], out: Path) -> Path:
    """The artifact with other layers in its tensors' names."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for tensor in model.subgraphs[0].tensors:
        parts = tensor.name.decode().split("/")
        tensor.name = "/".join(names.get(part, part) for part in parts).encode()
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    out.write_bytes(bytes(builder.Output()))
    return out


@pytest.mark.parametrize("name", ["int8", "int16", "ends"])
def test_pairs_that_contradict_what_reads_them_are_dropped_and_counted(
    name: str, child: Child, files: Files, tmp_path: Path
) -> None:
    """Names that mislead: each of two alike branches is taken for the other, and their concatenation agrees."""
    misled = _renamed(files.path(name), {"left": "right", "right": "left"}, tmp_path / "misled.tflite")
    found = _losses(child, files, misled)
    dropped = [text for text in found.unproved if not text.startswith("QUANTIZE")]
    assert sorted(dropped) == ["CONV_2D (from left)", "CONV_2D (from right)"]
    assert found.unmatched == ()
    assert min(layer.signal.cosine for layer in found.layers) > 0.99
    assert not {"left", "right"} & {layer for loss in found.layers for layer in loss.layers}
    right = _losses(child, files, files.path(name))
    assert right.unproved == ()
    kept = [loss for loss in right.layers if not {"left", "right"} & set(loss.layers)]
    assert [loss.signal for loss in found.layers] == [loss.signal for loss in kept]
    # What comes into the concatenation is looked for further up.
    (joined,) = [loss for loss in found.layers if loss.operator == "CONCATENATION"]
    (stem,) = [loss for loss in found.layers if "stem" in loss.layers]
    assert joined.input_sqnr_db == pytest.approx(stem.signal.sqnr_db, abs=1)


def test_a_real_loss_is_no_wrong_pair(child: Child, files: Files, tmp_path: Path) -> None:
    for layer in CONVOLUTIONS:
        assert _losses(child, files, _spoilt(files.path("int8"), layer, files.layers, tmp_path / layer)).unproved == ()


def _wiring(*operators: tuple[str, tuple[int, ...], int], shape: tuple[int, ...] = (1, 8)) -> Wiring:
    """A graph of operators: kind, what each reads, and what it writes; tensor 0 comes in, the last goes out."""
    nodes = tuple(Node(place, kind, reads, (made,)) for place, (kind, reads, made) in enumerate(operators))
    count = 1 + max(made for _, _, made in operators)
    return Wiring(nodes, tuple(Tensor(str(index), shape) for index in range(count)), (0,), (count - 1,))


ALL = frozenset(range(9))


def _power(sqnr_db: float, signal: float = 1.0, cosine: float = 0.5) -> Power:
    return Power(signal, signal * 10 ** (-sqnr_db / 10), cosine)


@pytest.mark.parametrize("kind", ["CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "RESHAPE", "TRANSPOSE", "ADD", "MUL"])
def test_noise_that_an_operator_cannot_take_away_was_never_there(kind: str) -> None:
    wired = _wiring(("FULLY_CONNECTED", (0,), 1), (kind, (1, 0), 2))
    assert contradicted(wired, {1: _power(-2.7), 2: _power(39.7)}, ALL) == {1}
    assert contradicted(wired, {1: _power(-2.7), 2: _power(-3)}, ALL) == frozenset()
    assert contradicted(wired, {1: _power(16), 2: _power(39.7)}, ALL) == frozenset(), "16 dB are no other tensor"


@pytest.mark.parametrize("kind", ["SOFTMAX", "RELU", "LOGISTIC", "STRIDED_SLICE", "ARG_MAX"])
def test_behind_what_saturates_or_selects_nothing_is_known(kind: str) -> None:
    wired = _wiring(("FULLY_CONNECTED", (0,), 1), (kind, (1,), 2))
    assert contradicted(wired, {1: _power(-2.7), 2: _power(39.7)}, ALL) == frozenset()


def test_a_branch_that_is_lost_may_be_small_beside_what_it_is_added_to() -> None:
    wired = _wiring(("CONV_2D", (0,), 1), ("ADD", (0, 1), 2))
    assert contradicted(wired, {1: _power(0, signal=0.01), 2: _power(19)}, ALL) == frozenset()
    assert contradicted(wired, {1: _power(0, signal=1.0), 2: _power(19)}, ALL) == {1}


def test_a_chain_of_wrong_pairs_is_dropped_from_its_end_on() -> None:
    wired = _wiring(("CONV_2D", (0,), 1), ("CONV_2D", (1,), 2), ("RESHAPE", (2,), 3), ("FULLY_CONNECTED", (3,), 4))
    powers = {1: _power(-20), 2: _power(-3), 3: _power(-3), 4: _power(40)}
    assert contradicted(wired, powers, ALL) == {1, 2, 3}


def test_what_is_averaged_loses_noise() -> None:
    wired = _wiring(("CONV_2D", (0,), 1), ("MEAN", (1,), 2), shape=(1, 16, 16, 4))
    averaged = wired._replace(tensors=(*wired.tensors[:2], Tensor("2", (1, 4))))
    assert contradicted(averaged, {1: _power(3), 2: _power(26)}, ALL) == frozenset()
    assert contradicted(averaged, {1: _power(3), 2: _power(60)}, ALL) == {1}


def test_the_same_signal_of_another_scale_is_another_tensor() -> None:
    wired = _wiring(("FULLY_CONNECTED", (0,), 1), ("SOFTMAX", (1,), 2))
    assert contradicted(wired, {1: _power(5, cosine=0.9999), 2: _power(40)}, ALL) == {1}


def test_what_was_found_by_name_is_proved_by_being_alike_alone() -> None:
    wired = _wiring(("FULLY_CONNECTED", (0,), 1), ("SOFTMAX", (1,), 2))
    assert contradicted(wired, {1: _power(-4.3), 2: _power(20)}, frozenset({0})) == {1}
    assert contradicted(wired, {1: _power(-4.3), 2: _power(20)}, frozenset({0, 1})) == frozenset()


def test_an_operator_of_another_kind_is_no_counterpart_whatever_its_name(files: Files) -> None:
    """The converter numbers what it made of one operation, and not always alike."""
    path = files.path("float")
    whole = matching.read_wiring(path, reader.read(path))
    kinds = {node.position: "TRANSPOSE" for node in whole.nodes if node.kind == "CONV_2D"}
    changed = tuple(node._replace(kind=kinds.get(node.position, node.kind)) for node in whole.nodes)
    found = matching.counterparts(whole, whole._replace(nodes=changed)).same
    assert not any(written in found for node in whole.nodes if node.position in kinds for written in node.writes)


def test_operators_behind_one_without_a_counterpart_are_found_by_their_names(files: Files) -> None:
    path = files.path("float")
    whole = matching.read_wiring(path, reader.read(path))
    # As if the float network had another operator where the artifact has its second.
    changed = [node._replace(kind="ELU") if number == 0 else node for number, node in enumerate(whole.nodes)]
    stranger = whole._replace(
        nodes=tuple(changed),
        tensors=tuple(
            tensor._replace(name="other", shape=(1, 1)) if number == whole.nodes[0].writes[0] else tensor
            for number, tensor in enumerate(whole.tensors)
        ),
    )
    found, derived = matching.counterparts(whole, stranger)
    assert whole.nodes[0].writes[0] not in found
    assert all(found[node.writes[0]] == node.writes[0] for node in whole.nodes[1:])
    assert derived == set(whole.inputs), "all behind it are found by name"
    everything = matching.counterparts(whole, whole).derived
    assert everything >= {written for node in whole.nodes for written in node.writes}


def test_only_what_an_output_depends_on_is_behind_it() -> None:
    steps = [((0,), (1,)), ((1,), (2, 3)), ((1,), (4,)), ((3, 4), (5,)), ((2,), (6,))]
    nodes = tuple(Node(place, "ADD", reads, writes) for place, (reads, writes) in enumerate(steps))
    wired = Wiring(nodes, (), (0,), (5, 6))
    assert wired.behind([5]) == {0, 1, 2, 3}
    assert wired.behind([6]) == {0, 1, 4}
    assert wired.behind([]) == set()


def test_layers_that_the_scored_output_does_not_need_are_told(child: Child, files: Files) -> None:
    artifact = files.path("int8")
    assert all(layer.is_scored for layer in _losses(child, files, artifact).layers)
    assert not any(layer.is_scored for layer in _losses(child, files, artifact, output=1).layers)
