"""Every rule of surgery, equalization and simplification on a network that was saved and loaded again.

A file holds a call in another form than it was made in: what was passed by position has a name there, tuples are lists.
The tables themselves say which rules there are: one without an example in `rule_examples` fails here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import rule_examples
import surgery_proof
import tf_keras
from tf_keras import layers

from edgebuild.passes.equalization import tracing as scales
from edgebuild.passes.equalization.rules import _COUPLING, _DIVIDING, _MOVING, _PASSING
from edgebuild.passes.equalization.scaling import rescaled
from edgebuild.passes.graph import affine, building, files, plain, proof
from edgebuild.passes.graph.ir import Graph, Ref
from edgebuild.passes.graph.plain import Arguments
from edgebuild.passes.surgery import operators, tracing
from edgebuild.passes.surgery.rules import functions, table

IMAGE = (4, 4, 3)
LAYER_TABLES = (table.RULES, scales._RULES, affine._RULES, operators._BY_KIND)
FUNCTIONS = (
    functions._ELEMENTWISE
    | functions._REDUCTIONS
    | functions._OF_IMAGES
    | functions._OTHERS.keys()
    | _PASSING
    | _COUPLING
    | _DIVIDING
    | _MOVING
    | plain._RULES.keys()
)


def layer_examples() -> Mapping[str, tuple[int, Any]]:
    kinds = set().union(*LAYER_TABLES) - rule_examples.UNLOADABLE - rule_examples.FUNCTION_LAYERS
    bodies = rule_examples.layer_bodies()
    assert kinds - bodies.keys() == set(), "rules without an example"
    return {kind: bodies[kind] for kind in sorted(kinds)}


def reading_examples() -> Mapping[str, tuple[int, Any]]:
    """Those whose rules read more of a call than its tensors."""
    names = {*functions._OTHERS, *_DIVIDING, "clip_by_value", "math.reduce_mean", "nn.leaky_relu"}
    return {name: (2, rule_examples.function(name)) for name in sorted(names)}


def function_examples() -> Mapping[str, tuple[int, Any]]:
    return {name: (2, rule_examples.function(name)) for name in sorted(FUNCTIONS)}


def network(examples: Mapping[str, tuple[int, Any]]) -> tf_keras.Model:
    """One network with a branch and an output for each example."""
    given, results = tf_keras.Input(IMAGE, name="given"), []
    for name, (rank, body) in examples.items():
        word = name.replace(".", "_").strip("_")
        x = body(rule_examples.start(given, word, rank))
        results.append(layers.Dense(2, name=f"{word}_end")(layers.Flatten()(x)))
    return tf_keras.Model(given, results)


def reloaded(graph: Graph, folder: Path) -> Graph:
    files.save(files.through_keras(graph), folder / "network.npz")
    return files.load(folder / "network.npz")


def same(one: list[Any], other: list[Any], names: Mapping[str, Any]) -> None:
    """Require of each branch that its outputs are the same."""
    gaps = {name: proof.difference(*both) for name, *both in zip(names, one, other, strict=True)}
    assert {name: gap for name, gap in gaps.items() if not gap <= 1e-5} == {}


def test_every_rule_has_an_example() -> None:
    assert layer_examples()
    assert all(callable(body) for _, body in function_examples().values())


@pytest.mark.parametrize(
    "examples",
    [
        reading_examples,
        pytest.param(function_examples, marks=pytest.mark.slow),
        pytest.param(layer_examples, marks=pytest.mark.slow),
    ],
)
def test_every_rule_reads_a_network_that_was_loaded_as_it_reads_the_one_that_was_saved(
    examples: Any, tmp_path: Path
) -> None:
    tf_keras.backend.clear_session()
    given = examples()
    before = surgery_proof.lively(building.read(network(given)))
    after = reloaded(before, tmp_path)
    if examples is layer_examples:
        assert given.keys() <= {layer.kind.__name__ for layer in after.layers.values()}
    model = building.build(after)

    def outputs(graph: Graph) -> list[Any]:
        for name, layer in graph.layers.items():
            model.get_layer(name).set_weights(list(layer.weights.values()))
        return proof.outputs_of(model, [surgery_proof.sample(IMAGE)])

    whole = outputs(after)

    # Surgery: the same channels can go, and without them the network computes what the silenced one does.
    found = [tracing.trace(graph) for graph in (before, after)]
    assert surgery_proof.groups_of(found[1]) == surgery_proof.groups_of(found[0])
    assert found[1].left_alone == found[0].left_alone
    assert operators.operators(after, found[1]) == operators.operators(before, found[0])
    removed = surgery_proof.some(found[1])
    smaller = building.build(surgery_proof.cut(after, found[1], removed))
    silenced = outputs(surgery_proof.silence(after, found[1], removed))
    same(silenced, proof.outputs_of(smaller, [surgery_proof.sample(IMAGE)]), given)

    # Equalization: the same scales are free, and the rescaled network computes the same.
    scalings = [scales.trace(graph) for graph in (before, after)]
    assert scalings[1].pinned == scalings[0].pinned
    assert scalings[1].caps == scalings[0].caps
    factors = 10 ** np.random.default_rng(0).uniform(-0.2, 0.2, scalings[1].classes)
    factors[list(scalings[1].pinned)] = 1
    for cap in scalings[1].caps:
        factors[scalings[1].classes_of(cap.tensor)] = 1
    same(whole, outputs(rescaled(after, scalings[1], factors)), given)

    # Simplification: functions become the same layers, which compute the same.
    simple = [plain.simplify(graph) for graph in (before, after)]
    assert [layer.kind for layer in simple[1].layers.values()] == [layer.kind for layer in simple[0].layers.values()]
    same(whole, proof.outputs_of(building.build(simple[1]), [surgery_proof.sample(IMAGE)]), given)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "name", "path"),
    [
        ("__operators__.getitem", (Ref(0), [1]), {}, "slice_spec", ("args", 1)),
        ("__operators__.getitem", (Ref(0),), {"slice_spec": [1]}, "slice_spec", ("kwargs", "slice_spec")),
        ("pad", (Ref(0), [[1]], "CONSTANT", 3), {}, "constant_values", ("args", 3)),
        ("compat.v1.pad", (Ref(0), [[1]], "CONSTANT", None, 3), {}, "constant_values", ("args", 4)),
    ],
)
def test_arguments_have_their_names_however_they_were_passed(
    function: str, args: Any, kwargs: Any, name: str, path: Any
) -> None:
    arguments = Arguments(function, args, kwargs)
    assert arguments.path(name) == path
    assert arguments.get(name) == (kwargs.get(name) or args[path[1]])
    assert arguments.get("name", "none") in (None, "none")
    assert arguments.operands[0] == Ref(0)
