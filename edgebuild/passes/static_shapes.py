"""The sizes of the axes that a network leaves open: asked for by its user, else those of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgebuild.errors import StepError, UsageError

Shape = tuple[int, ...]
Open = Sequence[int | None]
_LIKELY = 16  # stands in an example for a size that nobody knows


class Wanted(NamedTuple):
    """Shapes without the batch.

    Attributes:
        only: of the network's one input; empty for its own.
        by_name: of inputs by their names.
        of_data: of the samples that were given, by input; "" names the one of a network with one input.
    """

    only: Shape = ()
    by_name: Mapping[str, Shape] = {}
    of_data: Mapping[str, Shape] = {}


class Static(NamedTuple):
    """Shapes without open axes, in the order of the inputs, and what was taken from the data, as sentences."""

    shapes: tuple[Shape, ...]
    notes: tuple[str, ...] = ()


def static(inputs: Sequence[tuple[str, Open]], wanted: Wanted) -> Static:
    """The shapes that a network's inputs get.

    Args:
        inputs: the name of each, and its shape without the batch, None where open.
        wanted: what was asked for, and what the data have.

    Raises:
        UsageError: what was asked for names no input, or is for networks with one input.
        StepError: it is another shape than the network's, or an axis stays open.
    """
    names = [name for name, _ in inputs]
    unknown = [name for name in wanted.by_name if name not in names]
    if unknown:
        raise UsageError(
            f"[model] input_shapes names {', '.join(unknown)}", f"The network's inputs are {', '.join(names)}."
        )
    if wanted.only and len(inputs) > 1:
        raise UsageError(
            "[model] input_shape is for a network with one input",
            f"This one has {', '.join(names)}.",
            f"Name them in edgebuild.toml: [model] {_example(inputs)}.",
        )
    shapes, notes = [], []
    for name, inner in inputs:
        asked = wanted.by_name.get(name, wanted.only)
        known = wanted.of_data.get(name, wanted.of_data.get("", ()) if len(inputs) == 1 else ())
        if asked:
            shapes.append(_fitting(name, inner, asked))
        elif None in inner:
            shapes.append(_of_data(inner, known) or _refuse(name, inner, inputs))
            notes.append(f"the open axes of the input {name} have the data's sizes: {list(shapes[-1])}")
        else:
            shapes.append(tuple(size for size in inner if size is not None))
    return Static(tuple(shapes), tuple(notes))


def _fitting(name: str, inner: Open, asked: Shape) -> Shape:
    if len(asked) != len(inner) or any(own not in (None, want) for own, want in zip(inner, asked, strict=True)):
        raise StepError(f"the shape {list(asked)} does not fit the network's input {name} {_shown(inner)}")
    return asked


def _of_data(inner: Open, known: Shape) -> Shape:
    """The data's shape where it fits, an axis of one channel aside; empty where not."""
    for shape in (known, (*known, 1)) if known else ():
        if len(shape) == len(inner):
            pairs = list(zip(inner, shape, strict=True))
            if all(own in (None, size) and size > 0 for own, size in pairs):
                return shape
    return ()


def _refuse(name: str, inner: Open, inputs: Sequence[tuple[str, Open]]) -> Shape:
    raise StepError(
        f"the network's input {name} leaves dimensions open: {_shown((None, *inner))}",
        "An artifact needs static shapes.",
        f"Fix them in edgebuild.toml, without the batch: [model] {_example(inputs)}.",
    )


def _shown(shape: Open) -> str:
    return f"[{', '.join('None' if size is None else str(size) for size in shape)}]"


def _example(inputs: Sequence[tuple[str, Open]]) -> str:
    """What can stand in the configuration for these inputs."""
    filled = {name: [size or _LIKELY for size in inner] for name, inner in inputs if None in inner or len(inputs) == 1}
    if len(inputs) == 1:
        return f"input_shape = {next(iter(filled.values()))}"
    return f"input_shapes = {{{', '.join(f'{name} = {shape}' for name, shape in filled.items())}}}"
