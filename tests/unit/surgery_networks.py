"""Small networks that channels and blocks are taken from."""

from __future__ import annotations

from typing import Any

import surgery_proof
from surgery_proof import Body, end
from tf_keras import layers

from edgebuild.passes.graph.ir import Graph

IMAGE = (8, 8, 3)


def graph_of(body: Body, shape: tuple[int, ...] = IMAGE) -> Graph:
    return surgery_proof.graph_of(body, shape)


def conv(name: str, filters: int = 16, kernel: int = 3, **options: Any) -> Any:
    return layers.Conv2D(filters, kernel, padding="same", name=name, **options)


def plain(x: Any) -> Any:
    x = layers.ReLU()(layers.BatchNormalization()(conv("one", 16)(x)))
    x = layers.ReLU()(layers.BatchNormalization()(conv("two", 32, strides=2)(x)))
    return end(layers.ReLU()(conv("three", 24, 1)(x)))
