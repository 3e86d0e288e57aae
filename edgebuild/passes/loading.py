"""Networks of every kind that TensorFlow knows, loaded into one shape: a function of tensors with named ends."""

from __future__ import annotations

import itertools
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from edgebuild.data.given import identifier
from edgebuild.errors import EdgebuildError, StepError, UsageError
from edgebuild.metrics import load_callable
from edgebuild.passes import (
    admitting,
    admitting_graphs,
    attention,
    calling,
    containers,
    naming,
    precision,
    substitutes,
    time_distributed,
    unrolling,
)
from edgebuild.passes.lookups import codes_looked_up, lookups_of, tables_looked_up

_OF_KERAS = "_tf_keras_"
_MODELS = ("network", "model", "sequential")
_SIGNATURES = ("serving_default", "serve")
_KERAS_CAUSE = "Exception encountered: "
_KERAS_CALL = "Exception encountered when calling "


class Network(NamedTuple):
    """A loaded network.

    Attributes:
        call: takes the inputs as positional tensors and returns the outputs as a list.
        inputs: name, shape (with batch, None where open) and dtype of each input.
        outputs: the names of the outputs.
        layers: the names of its layers, nested ones too; empty where the format does not keep them.
        within: the names of the layers inside each nested model, by its name.
        owner: what holds the variables, to be tracked when it is saved.
        variables: all of them, as TensorFlow variables.
        framework: what it was saved by, for people.
        keras_model: the model of Keras 3 or tf_keras, whose layers can be had; None where there is a traced graph only.
        notes: what was changed to load it.
    """

    call: Callable[..., list[tf.Tensor]]
    inputs: list[tf.TensorSpec]
    outputs: list[str]
    layers: list[str]
    within: dict[str, tuple[str, ...]]
    owner: Any
    variables: list[tf.Variable]
    framework: str
    keras_model: Any
    notes: tuple[str, ...] = ()


def load(kind: str, path: str, *, signature: str, allow_code: bool) -> Network:
    """Load a .keras or .h5 file, a SavedModel folder, or what a module:callable returns.

    Args:
        kind: "file", "folder" or "callable".
        path: the file, folder or module:callable.
        signature: which one of a SavedModel is meant; empty for the default or the only one.
        allow_code: whether Python code that is stored in a file may run.

    Raises:
        UsageError: the path is of no kind that can be loaded.
        StepError: the network is damaged, holds code that is not allowed, or cannot be rebuilt.
    """
    if kind == "callable":
        return _from_callable(path)
    file = Path(path)
    try:
        if kind == "folder":
            return _from_saved_model(file, signature, allow_code)
        if file.suffix == ".keras":
            return _from_keras(file, allow_code)
        return _from_h5(file, allow_code)
    except EdgebuildError:
        raise
    except Exception as error:
        raise StepError(
            f"{path} cannot be loaded",
            first_line(error),
            "Give a network with classes of your own as module:callable, or export it with model.export(FOLDER).",
        ) from None


def _from_callable(path: str) -> Network:
    function = load_callable(path)
    try:
        model = function()
    except Exception as error:
        raise StepError(f"{path} failed", f"{type(error).__name__}: {error}") from None
    if not hasattr(model, "layers") or not hasattr(model, "variables"):
        raise StepError(f"{path} returned {type(model).__name__}", "It must return a Keras model.")
    return from_keras_model(model)


def _from_keras(file: Path, allow_code: bool) -> Network:
    if not zipfile.is_zipfile(file):
        raise StepError(f"{file} is not a Keras file", "It is no zip archive.", "Save it again with model.save(FILE).")
    if not allow_code:
        containers.require_plain(file)
    with zipfile.ZipFile(file) as archive:
        config = json.loads(containers.read(archive, containers.CONFIG))
        metadata = json.loads(containers.read(archive, containers.METADATA))
    if not allow_code:
        admitting.require(config, file)
    if str(metadata.get("keras_version", "")).startswith("2"):
        import tf_keras

        return from_keras_model(tf_keras.models.load_model(file, compile=False, safe_mode=not allow_code))
    import keras

    return from_keras_model(keras.models.load_model(file, compile=False, safe_mode=not allow_code))


def _from_h5(file: Path, allow_code: bool) -> Network:
    import h5py

    if not h5py.is_hdf5(file):
        raise StepError(
            f"{file} is not an HDF5 file", "Its contents are something else.", "Save it again with model.save(FILE)."
        )
    if not allow_code:
        containers.require_plain(file)
    with h5py.File(file) as archive:
        config = archive.attrs.get("model_config")
        version = archive.attrs.get("keras_version", "")
    if config is None:
        raise StepError(
            f"{file} holds weights only", "There is no network in it.", "Save the whole model: model.save(FILE)."
        )
    if not allow_code:
        admitting.require(json.loads(config), file)
    version = version.decode() if isinstance(version, bytes) else str(version)
    if version.startswith("3"):
        import keras

        return from_keras_model(keras.models.load_model(file, compile=False, safe_mode=not allow_code))
    import tf_keras

    return from_keras_model(tf_keras.models.load_model(file, compile=False))


def _from_saved_model(folder: Path, signature: str, allow_code: bool) -> Network:
    if not (folder / admitting_graphs.FILE).is_file():
        raise UsageError(f"{folder} is no SavedModel", "There is no saved_model.pb in it.")
    if not allow_code:
        admitting_graphs.require(folder)
    # Without Keras its traced graph is used, which runs no Python: what a Lambda layer stores stays where it is.
    described = _described_by_keras(folder)
    if described and not signature and (allow_code or all(map(admitting.is_code_free, described))):
        import tf_keras

        try:
            return from_keras_model(tf_keras.models.load_model(folder, compile=False))
        except (ValueError, TypeError, NotImplementedError, AttributeError, StepError):
            pass  # classes of the user's own: the traced graph does without them
    return _from_signature(folder, signature)


def _described_by_keras(folder: Path) -> list[bytes]:
    """What tf_keras wrote of each of its layers, in JSON; none where something else wrote the SavedModel."""
    from tf_keras.protobuf import saved_metadata_pb2

    beside = folder / "keras_metadata.pb"
    if beside.is_file():
        return _of_models(admitting_graphs.parsed(saved_metadata_pb2.SavedMetadata, beside).nodes)
    graphs = admitting_graphs.read(folder).meta_graphs
    return _of_models(node.user_object for graph in graphs for node in graph.object_graph_def.nodes)


def _of_models(nodes: Iterable[Any]) -> list[bytes]:
    """The descriptions of all nodes that Keras wrote, where one of them is a model."""
    described = [(node.identifier, node.metadata.encode()) for node in nodes if node.identifier.startswith(_OF_KERAS)]
    is_model = any(identifier.removeprefix(_OF_KERAS) in _MODELS for identifier, _ in described)
    return [metadata for _, metadata in described] if is_model else []


def _from_signature(folder: Path, signature: str) -> Network:
    with unrolling.lists_for_one_sample(folder) as (readable, of_one):
        loaded = tf.saved_model.load(str(readable))
    function = dict(loaded.signatures)[_choose(sorted(loaded.signatures), signature, folder)]
    # In the order of their names: a reloaded signature has another one in each process.
    given = sorted(function.structured_input_signature[1].items())
    shapes = [[1, *spec.shape[1:]] if of_one and spec.shape.rank else spec.shape for _, spec in given]
    inputs = [tf.TensorSpec(shape, spec.dtype, name) for shape, (name, spec) in zip(shapes, given, strict=True)]
    outputs = sorted(function.structured_outputs)

    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        result = function(**{spec.name: tensor for spec, tensor in zip(inputs, tensors, strict=True)})
        return [result[name] for name in outputs]

    variables = list(function.variables) or list(getattr(loaded, "variables", []))
    return Network(call, inputs, outputs, [], {}, loaded, variables, "SavedModel", None)


def _choose(names: Sequence[str], asked: str, folder: Path) -> str:
    """The signature that was asked for, else the default one, else the only one."""
    wanted = [asked] if asked else [*_SIGNATURES, *(names if len(names) == 1 else [])]
    found = [name for name in wanted if name in names]
    if not found:
        why = f"It has {', '.join(names)}." if names else "It has none."
        what = (
            f"{folder} has no signature {asked}" if asked else f"it is not clear which signature of {folder} is meant"
        )
        raise UsageError(what, why, 'Name one: [model] signature = "...", or export it with model.export(FOLDER).')
    return found[0]


def from_keras_model(model: Any) -> Network:
    """Wrap a model of Keras 3 or tf_keras.

    Raises:
        StepError: its inputs are not known (a subclassed model that was never called), or it computes in another
            precision than float32 and cannot be built again.
    """
    model, note = precision.in_float32(model)
    is_keras_3 = not type(model).__module__.startswith("tf_keras") and not hasattr(model, "_is_graph_network")
    parts = naming.parts(model)
    lookups = lookups_of(parts)
    inputs = _keras_inputs(model)
    names = _distinct([identifier(spec.name) for spec in inputs])
    inputs = [tf.TensorSpec(spec.shape, spec.dtype, name) for spec, name in zip(inputs, names, strict=True)]
    structure = getattr(model, "input", None)

    def call(*tensors: tf.Tensor) -> list[tf.Tensor]:
        with (
            time_distributed.folded(model),
            codes_looked_up(parts),
            tables_looked_up(lookups),
            substitutes.repeats_stacked(parts),
            substitutes.volumes_pooled_by_planes(parts),
            attention.masked_nearby(parts),
            naming.scopes(parts),
        ):
            if isinstance(structure, dict | list | tuple):
                packed = tf.nest.pack_sequence_as(structure, list(tensors))
                results = list(tf.nest.flatten(model(packed, training=False)))
            else:
                results = calling.outputs(model, tensors)
            if tf.inside_function():
                graph = tf.compat.v1.get_default_graph()
                attention.put_own_masks_nearby(graph)
                results = substitutes.negations_as_products(graph, results)
            return results

    layers, within = naming.layers(parts), naming.within(parts)
    # An output of a nested model is called like its last layer, as it is where the model is taken apart.
    made_by = {name: inner[-1] for name, inner in within.items() if inner and name not in layers}
    outputs = [identifier(made_by.get(name, name)) for name in (getattr(model, "output_names", None) or [])]
    variables = [getattr(variable, "value", variable) if is_keras_3 else variable for variable in model.variables]
    framework = f"Keras {_keras_version(model)}"
    return Network(
        call, inputs, _distinct(outputs), layers, within, None, variables, framework, model, (note,) if note else ()
    )


def distinct_identifiers(names: Sequence[str]) -> list[str]:
    """Names of a network's ends, as a network has them whose layers are called so."""
    return _distinct([identifier(name) for name in names])


def _keras_inputs(model: Any) -> list[tf.TensorSpec]:
    tensors = getattr(model, "inputs", None)
    if tensors:
        return [tf.TensorSpec(tensor.shape, tensor.dtype, tensor.name.split(":")[0]) for tensor in tensors]
    shape = (model.get_build_config() or {}).get("input_shape") if hasattr(model, "get_build_config") else None
    if not isinstance(shape, list | tuple) or not shape or isinstance(shape[0], list | tuple | dict):
        raise StepError(
            f"the inputs of the model {model.name} are not known",
            "It is a subclassed model, which does not keep them.",
            "Call it on data once before saving, or export it with model.export(FOLDER).",
        )
    return [tf.TensorSpec(shape, getattr(model, "compute_dtype", "float32"), "input")]


def _keras_version(model: Any) -> str:
    import keras
    import tf_keras

    return str(tf_keras.__version__ if isinstance(model, tf_keras.Model) else keras.__version__)


def _distinct(names: Sequence[str]) -> list[str]:
    result: list[str] = []
    for name in names:
        numbered = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
        result.append(next(word for word in numbered if word not in result))
    return result


def first_line(error: Exception) -> str:
    """What went wrong; Keras buries the cause under the configuration of the object that met it."""
    plain = re.sub(r"\x1b\[\d*m", "", str(error))
    lines = [line for line in plain.strip().splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith(_KERAS_CALL):
        lines = lines[1:]
    causes = [line.removeprefix(_KERAS_CAUSE) for line in lines if line.startswith(_KERAS_CAUSE)]
    return f"{type(error).__name__}: {(causes or lines or [''])[-1 if causes else 0]}"
