"""SavedModels whose graphs would do more than compute: refused before TensorFlow loads them, with nothing done."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from edgebuild.errors import StepError
from edgebuild.passes import admitting_graphs, loading

Compute = Callable[[tf.Tensor], tf.Tensor]
SPEC = tf.TensorSpec((1, 4), tf.float32, name="given")


def _saved(folder: Path, compute: Compute, **kept: Any) -> Path:
    module = tf.Module()
    module.weight = tf.Variable(tf.ones((4, 2)))
    for name, value in kept.items():
        setattr(module, name, value)
    function = tf.function(lambda given: {"last": compute(given) @ module.weight}, input_signature=[SPEC])
    tf.saved_model.save(module, str(folder), signatures=function)
    return folder


def _load(folder: Path) -> loading.Network:
    return loading.load("folder", str(folder), signature="", allow_code=False)


def _edited(folder: Path, edit: Callable[[Any], object]) -> Path:
    file = folder / admitting_graphs.FILE
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    edit(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())
    return folder


def _then(given: tf.Tensor, operation: Any) -> tf.Tensor:
    with tf.control_dependencies([operation]):
        return tf.identity(given)


def _writes(path: str) -> Compute:
    return lambda given: _then(given, tf.io.write_file(path, "written"))


def _prints(path: str) -> Compute:
    return lambda given: _then(given, tf.print("written", output_stream=f"file://{path}"))


def _reads(path: str) -> Compute:
    return lambda given: given + tf.cast(tf.strings.length(tf.io.read_file(path)), tf.float32)


def _lists(path: str) -> Compute:
    return lambda given: given + tf.cast(tf.size(tf.io.matching_files(path)), tf.float32)


def _saves(path: str) -> Compute:
    return lambda given: _then(
        given, tf.raw_ops.SaveV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[given])
    )


def _restores(path: str) -> Compute:
    def compute(given: tf.Tensor) -> tf.Tensor:
        (found,) = tf.raw_ops.RestoreV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32])
        return given + tf.reshape(found, (1, 4))

    return compute


def _in_a_branch(path: str) -> Compute:
    return lambda given: tf.cond(given[0, 0] > 0, lambda: _writes(path)(given), lambda: given)


def _in_a_loop(path: str) -> Compute:
    def body(number: tf.Tensor, given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number + 1, _writes(path)(given)

    return lambda given: tf.while_loop(lambda number, _: number < 3, body, [tf.constant(0), given])[1]


HOSTILE = {
    "WriteFile": _writes,
    "PrintV2": _prints,
    "ReadFile": _reads,
    "MatchingFiles": _lists,
    "SaveV2": _saves,
    "RestoreV2": _restores,
}


@pytest.mark.parametrize("operator", HOSTILE)
def test_an_operator_that_knows_files_is_named_and_not_run(operator: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    folder = _saved(tmp_path / "saved", HOSTILE[operator](str(canary)))
    with pytest.raises(StepError, match=rf"more than compute: .*\b{operator}\b") as refused:
        _load(folder)
    assert "--allow-code" in refused.value.remedy
    assert not list(tmp_path.glob("canary*"))


@pytest.mark.parametrize("compute", [_in_a_branch, _in_a_loop], ids=["branch", "loop"])
def test_functions_that_functions_call_are_looked_at(compute: Callable[[str], Compute], tmp_path: Path) -> None:
    folder = _saved(tmp_path / "saved", compute(str(tmp_path / "canary")))
    with pytest.raises(StepError, match="WriteFile"):
        _load(folder)


def test_a_table_that_is_read_from_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n", encoding="utf-8")
    source = tf.lookup.TextFileInitializer(
        str(tmp_path / "words.txt"),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )
    table = tf.lookup.StaticHashTable(source, 0)
    add = lambda given: given + tf.cast(table.lookup(tf.constant("a")), tf.float32)  # noqa: E731
    with pytest.raises(StepError, match="InitializeTableFromTextFileV2"):
        _load(_saved(tmp_path / "saved", add, table=table))


def _writes_as(name: str) -> Callable[[Any], None]:
    """A node of this name that writes what it is given into a file of the same name."""

    def add(graph: Any) -> None:
        constant = graph.graph_def.node.add(name="contents", op="Const")
        constant.attr["dtype"].type = tf.string.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("written"))
        graph.graph_def.node.add(name=name, op="WriteFile", input=["contents", "contents"])

    return add


def test_what_is_said_to_save_or_restore_is_looked_at_where_it_runs(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "restores", lambda given: given)

    def restores(graph: Any) -> None:
        _writes_as("evil")(graph)
        graph.saver_def.restore_op_name = "evil"

    with pytest.raises(StepError, match="WriteFile"):
        _load(_edited(folder, restores))

    folder = _saved(tmp_path / "saves", lambda given: given)

    def answers(graph: Any) -> None:
        _writes_as("evil")(graph)
        graph.saver_def.save_tensor_name = "evil:0"
        graph.signature_def["serving_default"].outputs["last"].name = "evil:0"

    with pytest.raises(StepError, match="WriteFile"):
        _load(_edited(folder, answers))

    folder = _saved(tmp_path / "reads", lambda given: given)

    def elsewhere(graph: Any) -> None:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                if node.op == "RestoreV2":
                    node.input[0] = function.node_def[0].name

    with pytest.raises(StepError, match="RestoreV2"):
        _load(_edited(folder, elsewhere))


@pytest.mark.parametrize("name", ["/etc/hostname", "../../secret", "../variables/../../secret"])
def test_a_file_outside_is_no_asset(name: str, tmp_path: Path) -> None:
    folder = _saved(tmp_path / "saved", lambda given: given)
    with pytest.raises(StepError, match="names a file outside"):
        _load(_edited(folder, lambda graph: graph.asset_file_def.add(filename=name)))


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "saved", lambda given: given)
    (folder / admitting_graphs.FILE).write_bytes(b"\xff" * 100)
    with pytest.raises(StepError, match="damaged SavedModel"):
        _load(folder)


def test_what_computes_is_loaded(tmp_path: Path) -> None:
    source = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
    table = tf.lookup.StaticHashTable(source, 0)

    def compute(given: tf.Tensor) -> tf.Tensor:
        looked_up = tf.cast(table.lookup(tf.constant("b")), tf.float32)
        looped = tf.while_loop(lambda number, _: number < 3, lambda number, x: (number + 1, x * 2), [0, given])[1]
        mapped = tf.map_fn(lambda row: tf.sort(row) + tf.random.normal((4,)) * 0, looped)
        return tf.cond(given[0, 0] > 0, lambda: mapped + looked_up, lambda: mapped)

    network = _load(_saved(tmp_path / "saved", compute, table=table))
    (result,) = network.call(tf.ones((1, 4)))
    assert result.numpy().tolist() == [[40.0, 40.0]]


def test_what_tensorflow_1_has_written_is_loaded(tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        given = v1.placeholder(tf.float32, (1, 4), name="given")
        weight = v1.get_variable("weight", (4, 2), initializer=v1.ones_initializer(), use_resource=False)
        last = tf.matmul(given, weight, name="last")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"given": given}, {"last": last})
    network = _load(tmp_path / "saved")
    assert network.outputs == ["last"]
    assert network.call(tf.ones((1, 4)))[0].numpy().tolist() == [[4.0, 4.0]]


def test_operators_that_know_more_than_numbers_are_on_no_list() -> None:
    known = admitting_graphs.known_operators()
    assert {"Conv2D", "VarHandleOp", "StatefulPartitionedCall", "ParseExampleV2", "LookupTableFindV2"} <= known
    words = (
        "File",
        "Save",
        "Restore",
        "Print",
        "Py",
        "Rpc",
        "Send",
        "Recv",
        "Dataset",
        "Summary",
        "Reader",
        "Xla",
        "TPU",
    )
    assert not {name for name in known if any(word in name for word in words)}
