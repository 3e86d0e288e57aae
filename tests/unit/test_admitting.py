"""What files of networks may name: code, files and modules of an author's choice are refused before anything loads."""

from __future__ import annotations

import copy
import inspect
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import keras
import pytest
import tensorflow as tf
import tf_keras

from edgebuild.errors import StepError
from edgebuild.passes import admitting, loading

# Layers that run code, or read files, of an author's choice; and those that are no layer by themselves.
REFUSED = {"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "DenseFeatures"}
BASES = {"Layer", "Wrapper", "AbstractRNNCell"}


# Both Kerases warn of what they do themselves.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what both Kerases save."""
    folder = tmp_path_factory.mktemp("made")
    tf_keras.utils.set_random_seed(0)
    given = tf_keras.Input((4,))
    model = tf_keras.Model(given, tf_keras.layers.Dense(2, name="last")(tf.math.add(given, 1.0)[:, 1:]))
    model.save(folder / "model.h5")
    model.save(folder / "old.keras")
    model.save(folder / "saved", save_format="tf")
    given = keras.Input((4,))
    keras.Model(given, keras.layers.Dense(2, "relu", name="last")(given * 2.0)).save(folder / "new.keras")
    return folder


@pytest.fixture
def saved(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(made, tmp_path / "saved models")


def _edited(file: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The file with another configuration."""
    if file.suffix == ".h5":
        with h5py.File(file, "r+") as archive:
            config = json.loads(archive.attrs["model_config"])
            edit(config)
            archive.attrs["model_config"] = json.dumps(config)
        return file
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config)
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in (members | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, data)
    return file


def _load(file: Path) -> loading.Network:
    return loading.load("folder" if file.is_dir() else "file", str(file), signature="", allow_code=False)


def _layer(config: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == kind)


@pytest.mark.parametrize("name", ["model.h5", "old.keras", "new.keras", "saved"])
def test_what_both_kerases_save_is_loaded(saved: Path, name: str) -> None:
    assert _load(saved / name).keras_model is not None


@pytest.mark.parametrize("name", ["model.h5", "old.keras"])
def test_a_function_of_tensorflow_that_writes_is_not_called(saved: Path, name: str) -> None:
    canary = saved / "canary"

    def writes(config: dict[str, Any]) -> None:
        layer = _layer(config, "TFOpLambda")
        layer["config"]["function"] = "io.write_file"
        layer["inbound_nodes"] = [[str(canary), 0, 0, {"contents": "written"}]]

    with pytest.raises(StepError, match=r"'io\.write_file' of TensorFlow in the layer tf\.math\.add"):
        _load(_edited(saved / name, writes))
    assert not canary.exists()


@pytest.mark.parametrize(
    "function",
    [
        "compat.v1.io.write_file",
        "io.read_file",
        "print",
        "load_library",
        "py_function",
        "raw_ops.WriteFile",
        "nn",
        "",
        3,
        None,
    ],
)
def test_only_functions_that_compute_are_called(saved: Path, function: object) -> None:
    for kind in ("TFOpLambda", "SlicingOpLambda"):
        file = saved / f"{kind}.h5"
        file.write_bytes((saved / "model.h5").read_bytes())
        _edited(file, lambda config, kind=kind: _layer(config, kind)["config"].update(function=function))  # type: ignore[misc]
        with pytest.raises(StepError, match="of TensorFlow in the layer"):
            _load(file)


def _with(kind: str, **fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda config: _layer(config, kind).update(fields)


def _within(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda config: _layer(config, "Dense")["config"].update(fields)


CODE = {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}
HOSTILE = {
    "class of a module": _with("Dense", module="mine", class_name="Dense"),
    "module like keras": _with("Dense", module="kerastuner"),
    "class": _with("Dense", class_name="Popen", module="subprocess"),
    "registered": _with("Dense", registered_name="mine>Dense"),
    "Lambda": _with("Dense", class_name="Lambda"),
    "lambda in an initializer": _within(kernel_initializer=CODE),
    "function": _within(activation={"class_name": "function", "config": "system", "module": "os"}),
    "type": _within(extra={"class_name": "__typespec__", "spec_name": "X", "module": "mine", "spec_config": []}),
    "SavedModel elsewhere": _with("Dense", class_name="TFSMLayer"),
    "pickle of torch": _with("Dense", class_name="TorchModuleWrapper"),
    "code of jax": _with("Dense", class_name="JaxLayer"),
    "vocabulary": lambda config: _layer(config, "Dense").update(
        class_name="StringLookup", config={"name": "words", "vocabulary": "/etc/hostname"}
    ),
    "activation": _within(activation="__import__"),
    "trained with": lambda config: _layer(config, "Dense").update(compile_config={"loss": CODE}),
    "no name": _with("Dense", class_name=["Dense"]),
}


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", ["model.h5", "old.keras", "new.keras"])
def test_names_that_decide_what_runs_are_refused(saved: Path, name: str, hostile: str) -> None:
    file = _edited(saved / name, HOSTILE[hostile])
    with pytest.raises(StepError, match=name) as refused:
        _load(file)
    assert "--allow-code" in refused.value.remedy


def test_what_the_whole_model_was_trained_with_is_no_matter(saved: Path) -> None:
    file = _edited(
        saved / "new.keras", lambda config: config.update(compile_config={"loss": "mine", "optimizer": CODE})
    )
    assert _load(file).keras_model is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"class_name": "Lambda", "config": {}}',
        '{"class_name":"Lambda","config":{}}',
        '{"class_name": "\\\\u004cambda", "config": {}}',
        '{"config": {"layer": {"class_name": "Lambda", "config": {}}}, "class_name": "TimeDistributed"}',
        '{"class_name": "TFOpLambda", "config": {"function": "io.write_file"}}',
        '{"class_name": "Bidirectional", "config": {"layer": {"class_name": "LSTM", "module": "mine", "config": {}}}}',
        '{"class_name": "StringLookup", "config": {"vocabulary": "/etc/hostname"}}',
        '{"class_name": ["Lambda"], "config": {}}',
        "no JSON",
        '{"a":' * 50_000,
    ],
)
def test_a_saved_model_that_describes_code_is_taken_as_its_graph(saved: Path, text: str) -> None:
    from tf_keras.protobuf import saved_metadata_pb2

    text = text.replace("\\\\", "\\")
    assert not admitting.is_code_free(text.encode())
    described = saved_metadata_pb2.SavedMetadata.FromString((saved / "saved/keras_metadata.pb").read_bytes())
    described.nodes[-1].metadata = text
    (saved / "saved/keras_metadata.pb").write_bytes(described.SerializeToString())
    assert _load(saved / "saved").keras_model is None


def test_classes_that_are_not_known_are_no_code_in_a_saved_model() -> None:
    assert admitting.is_code_free(b'{"class_name": "Mine", "config": {"loss": {"class_name": "Lambda"}}}')


def test_nothing_is_nested_without_end() -> None:
    config: dict[str, Any] = {"class_name": "Sequential", "config": {}}
    for _ in range(900):
        config = {"class_name": "Sequential", "config": {"layers": [copy.copy(config)]}}
    assert any("nested too deeply" in item.what for item in admitting.refusals(config))


@pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_every_layer_of_the_installed_frameworks_is_known_or_refused_on_purpose(kit: Any) -> None:
    layers = {name for name in dir(kit.layers) if inspect.isclass(found := getattr(kit.layers, name))}
    layers = {name for name in layers if issubclass(getattr(kit.layers, name), kit.layers.Layer)}
    for name in layers - BASES:
        found = list(admitting.refusals({"class_name": name, "config": {"name": "it"}}))
        assert bool(found) == (name in REFUSED), f"{name}: {found}"


@pytest.mark.parametrize("kit", [keras, tf_keras], ids=["keras", "tf_keras"])
@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0", "NASNetMobile"])
def test_networks_that_are_published_are_known(kit: Any, name: str) -> None:
    model = getattr(kit.applications, name)(weights=None, input_shape=(32, 32, 3), classes=2)
    assert list(admitting.refusals(json.loads(model.to_json()))) == []


def _outside(file: h5py.File, canary: Path) -> None:
    del file["kernel"]
    file.create_dataset("kernel", (4,), "u1", external=[(str(canary), 0, 4)])


def _elsewhere(file: h5py.File, canary: Path) -> None:
    with h5py.File(canary.with_suffix(".other.h5"), "w") as other:
        other["secret"] = [1, 2, 3, 4]
    file["more"] = h5py.ExternalLink(str(canary.with_suffix(".other.h5")), "secret")


def _soft(file: h5py.File, _: Path) -> None:
    file["more"] = h5py.SoftLink("/kernel")


def _virtual(file: h5py.File, canary: Path) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(canary), "secret", (4,))
    file.create_virtual_dataset("more", layout)


def _filtered(file: h5py.File, _: Path) -> None:
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((4,))
    made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))  # Zstandard, which HDF5 has in a library of its own
    h5py.h5d.create(file.id, b"more", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((4,)), made)


ELSEWHERE = {
    "from other files": _outside,
    "a link at /groups/more": _elsewhere,
    "a link": _soft,
    "from other datasets": _virtual,
    "needs a library": _filtered,
}


@pytest.mark.parametrize("why", ELSEWHERE)
@pytest.mark.parametrize("name", ["model.h5", "new.keras"])
def test_weights_that_lie_elsewhere_are_not_read(saved: Path, name: str, why: str) -> None:
    canary = saved / "canary"
    canary.write_bytes(b"\x01\x02\x03\x04")
    weights = saved / "weights.h5" if name.endswith(".keras") else saved / name
    with h5py.File(weights, "a") as file:
        group = file.create_group("groups")
        group["kernel"] = [1, 2, 3, 4]
        group["itself"] = group  # groups may hold themselves: nobody walks in circles
        ELSEWHERE[why](group, canary)
    if name.endswith(".keras"):
        with zipfile.ZipFile(saved / name) as archive:
            members = {other: archive.read(other) for other in archive.namelist()}
        with zipfile.ZipFile(saved / name, "w") as archive:
            for other, data in (members | {"model.weights.h5": weights.read_bytes()}).items():
                archive.writestr(other, data)
    with pytest.raises(StepError, match=why) as refused:
        _load(saved / name)
    assert "--allow-code" in refused.value.remedy


def test_archives_hold_no_more_than_networks_need(saved: Path) -> None:
    with zipfile.ZipFile(saved / "many.keras", "w") as archive:
        for name in ("config.json", "metadata.json", *map(str, range(10_001))):
            archive.writestr(name, b"{}")
    with pytest.raises(StepError, match="holds 10,003 files"):
        _load(saved / "many.keras")
    with zipfile.ZipFile(saved / "large.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", b"{}")
        with archive.open("config.json", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(b" " * 2**20)
    assert (saved / "large.keras").stat().st_size < 2**20
    with pytest.raises(StepError, match=r"bytes of config\.json, more than any network needs"):
        _load(saved / "large.keras")
