"""Data without faults for the lint, into which tests plant theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgebuild.core.finding import Code, Finding
from edgebuild.core.model import TensorSpec
from edgebuild.core.settings import Preprocess
from edgebuild.data.given import Array, Examples
from edgebuild.data.lint.subject import Norm, Part, Subject, part_of
from edgebuild.data.samples import Samples, save
from edgebuild.passes.lint import lint

RNG = np.random.default_rng(0)
CLASSES = 4
SHAPE = (8, 8, 3)
# Each place and channel of the images has a mean of its own, so that another order of axes shows.
PATTERN = RNG.random(SHAPE)
LEVELS = np.array([0.5, 1.0, 2.0])
AS_IT_IS = Preprocess(scale=1.0, mean=0.0)


def images(count: int, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    return ((PATTERN + rng.normal(0, 0.3, (count, *SHAPE))) * LEVELS).astype(np.float32)


def answers(count: int) -> Array:
    return np.arange(count) % CLASSES


def spec(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=(-1, *shape))


def part_in(tmp_path: Any, split: str, x: Sequence[Array], y: Array | None, preprocess: Preprocess = AS_IT_IS) -> Part:
    folder = tmp_path / split
    save(Examples(tuple(x), y), folder)
    return part_of(split, Samples(folder, preprocess), [spec("", array.shape[1:]) for array in x])


class Pointwise:
    """A network that begins with a pointwise convolution and a batch norm that was trained on given images."""

    def __init__(self, trained_on: Array, unused: tuple[int, ...] = ()) -> None:
        self._kernel = np.random.default_rng(5).normal(size=(SHAPE[-1], 6))
        self._kernel[:, 0] = 1
        self._kernel[list(unused)] = 0
        seen = self._see(trained_on)
        self._moving = seen.mean(axis=0), seen.var(axis=0)

    def _see(self, x: Array) -> Array:
        return (x @ self._kernel).reshape(-1, 6)

    def norms(self, x: Sequence[Array]) -> tuple[Norm, ...]:
        seen = self._see(x[0])
        return (Norm(*self._moving, seen.mean(axis=0), seen.var(axis=0)),)

    def answers(self, x: Sequence[Array]) -> Array:
        return (x[0] @ self._kernel).reshape(len(x[0]), -1)


class Case:
    """A subject without faults; what a test plants is given by name."""

    def __init__(self, tmp_path: Any) -> None:
        self._folder = tmp_path
        self.calibration: tuple[Sequence[Array], Array | None] | None = ([images(100, 2)], answers(100))
        self.evaluation: tuple[Sequence[Array], Array | None] | None = ([images(200, 3)], answers(200))
        self.train: tuple[Sequence[Array], Array | None] | None = ([images(400, 4)], answers(400))
        self.more: dict[str, Any] = {"classes": CLASSES}
        self.preprocess = AS_IT_IS
        self.inputs: tuple[TensorSpec, ...] = (spec("image", SHAPE),)

    def findings(self) -> tuple[Finding, ...]:
        splits = {"calibration": self.calibration, "evaluation": self.evaluation, "train": self.train}
        self._folder /= "look"
        self._folder.mkdir()
        parts = {
            name: None if given is None else part_in(self._folder, name, *given, self.preprocess)
            for name, given in splits.items()
        }
        settings: dict[str, Any] = {"view": None, "preprocess": self.preprocess, **self.more}
        return lint(Subject(**parts, inputs=self.inputs, **settings))

    def codes(self) -> list[Code]:
        return [finding.code for finding in self.findings()]

    def only(self) -> Finding:
        (finding,) = self.findings()
        return finding
