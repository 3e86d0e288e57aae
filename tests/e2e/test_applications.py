"""Every network of tf_keras.applications is cut, and computes what it computes with the same channels silenced."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
import shallow
import surgery_proof
import tf_keras
from tf_keras import applications

from edgebuild.passes.graph import building
from edgebuild.passes.surgery.tracing import trace

SIDE = 64
SIDES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71}  # the least that they take

QUICK = ("MobileNet", "MobileNetV3Small")
# The others of a family are built in the same way, larger: all of them together take half an hour.
ONE_OF_EACH_FAMILY = ("InceptionV3", "MobileNetV2", "MobileNetV3Large", "ResNet50", "ResNet50V2", "VGG16", "Xception")
# Of these families one with fewer of the same blocks.
SHALLOW = ("ConvNeXt", "DenseNet", "EfficientNet", "EfficientNetV2", "RegNetY", "ResNetRS")
ALL = sorted(name for name, _ in inspect.getmembers(applications, inspect.isfunction))


def _prove(name: str) -> None:
    tf_keras.backend.clear_session()
    side = SIDES.get(name, SIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # EfficientNetV2 has initializers that Keras warns of
        if name in SHALLOW:
            model = shallow.model(tf_keras, name, side)
        else:
            model = getattr(applications, name)(
                weights=None, classes=10, input_shape=(side, side, 3), classifier_activation=None
            )
        rng = np.random.default_rng(0)
        images = (255 * rng.random((4, side, side, 3)) * rng.random((4, 1, 1, 3))).astype(np.float32)
        graph = building.read(model)
        if any(isinstance(layer, tf_keras.Model) for layer in model.layers):
            model = building.build(graph)  # the models inside ConvNeXt were taken apart
        graph = surgery_proof.settled(surgery_proof.lively(graph), model, images)
        channels = trace(graph)
        assert channels.groups, "every one of them can be pruned"
        proof = surgery_proof.prove(graph, channels, surgery_proof.some(channels), images, model=model)
    assert proof.consumers <= 1e-5
    assert proof.producers <= 1e-5
    assert proof.effect > 1e-2
    assert proof.smaller.parameters < 0.9 * graph.parameters


@pytest.mark.parametrize("name", QUICK)
def test_a_small_network_is_cut_exactly(name: str) -> None:
    _prove(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ONE_OF_EACH_FAMILY, *SHALLOW])
def test_a_network_of_each_family_is_cut_exactly(name: str) -> None:
    _prove(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in ALL if name not in QUICK + ONE_OF_EACH_FAMILY])
def test_every_other_network_is_cut_exactly(name: str) -> None:
    _prove(name)
