"""What a build knows of its artifact, as metadata tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgebuild.core.delivery import Content, InputDescription, Metadata, OutputDescription, Pixels
from edgebuild.core.model import ArtifactSpec, TensorSpec
from edgebuild.core.plan import Plan
from edgebuild.core.settings import InputKind, Preprocess
from edgebuild.flatbuffer.inspecting import inspect

_BY_CHANNELS = {3: Content.RGB, 1: Content.GRAYSCALE}
_IMAGE_AXES, _SOUND_AXES = 4, 3
_BYTE = 255.0
_AS_IT_IS = Preprocess(scale=1.0, mean=0.0)


class Fed(NamedTuple):
    """How one input is fed.

    Attributes:
        pixels: how samples hold pixels; None where there are no samples.
        rescales: whether the network's own first layer scales pixels of 0 to 255.
        is_float: whether the network takes it as float: integers are fed as they are.
    """

    pixels: Pixels | None = None
    rescales: bool = False
    is_float: bool = True


def describe(
    data: bytes,
    plan: Plan,
    network: ArtifactSpec,
    labels: Sequence[str] = (),
    *,
    fed: Sequence[Fed] = (),
    streams: bool = False,
) -> Metadata:
    """The metadata of an artifact; wherever the data come from they are the same.

    Args:
        data: the .tflite file: its graph tells the order of inputs and outputs.
        plan: what was done.
        network: what was read back from this file, its ends in the network's order.
        labels: of the classes that the scored output tells apart; left out where they are not as many.
        fed: how each input is fed, in the network's order; empty where nothing is known.
        streams: whether it keeps its state for the next piece of a stream; a state that it has otherwise must be reset.

    Raises:
        StepError: `data` is no .tflite file or a damaged one.
    """
    graph = inspect(data, plan.name).graphs[0]
    scored = network.outputs[plan.metric.output] if plan.metric.output < len(network.outputs) else None
    known = [*fed, *[Fed()] * (len(network.inputs) - len(fed))]
    inputs = {spec.index: (spec, how) for spec, how in zip(network.inputs, known, strict=True)}
    outputs = {spec.index: spec for spec in network.outputs}
    return Metadata(
        name=plan.name,
        text=_text(plan.about.description, network, streams=streams),
        version=plan.about.version,
        author=plan.about.author,
        license=plan.about.license,
        inputs=tuple(_input(*inputs[index], plan) for index in graph.inputs),
        outputs=tuple(_output(outputs[index], labels if outputs[index] is scored else ()) for index in graph.outputs),
    )


def takes_image(spec: TensorSpec) -> bool:
    """Whether an input has the shape of an image: [batch, height, width, 1 or 3]."""
    return len(spec.shape) == _IMAGE_AXES and spec.shape[-1] in _BY_CHANNELS


def lacking(described: Metadata, labels: Sequence[str] = ()) -> tuple[str, ...]:
    """What SDKs miss in a description, for people; `labels` are the names of classes that the data have."""
    unnamed = labels and not any(output.labels for output in described.outputs)
    misfit = (f"the metadata hold no labels: {len(labels)} classes have names, and the output has not as many values",)
    images = tuple(
        f"the metadata hold no normalization for {given.name}, without which SDKs refuse an image: no samples of 0 to "
        "255, 0 to 1 or -1 to 1 say how it takes pixels (give such samples, with [preprocess] where the network needs "
        'it; or [model] input_kind = "features")'
        for given in described.inputs
        if given.content in _BY_CHANNELS.values() and not given.mean
    )
    return images + misfit if unnamed else images


def _text(description: str, network: ArtifactSpec, *, streams: bool) -> str:
    if not network.keeps_state:
        return description
    if streams:
        said = "Streaming model: state is carried over from each inference to the next."
    else:
        said = "Keeps state: reset the interpreter's variables before each independent input."
    return f"{description} {said}".strip()


def _input(spec: TensorSpec, fed: Fed, plan: Plan) -> InputDescription:
    content = _content(spec, plan.input_kind)
    preprocess = plan.preprocess if fed.is_float else _AS_IT_IS
    of_image = content in _BY_CHANNELS.values()
    mean, std = _of_image(preprocess, fed) if of_image else _normalization(preprocess)
    is_sound = content == Content.AUDIO
    return InputDescription(
        name=spec.name,
        content=content,
        mean=mean,
        std=std,
        sample_rate=plan.sample_rate if is_sound else 0,
        channels=(spec.shape[-1] if len(spec.shape) == _SOUND_AXES else 1) if is_sound else 0,
    )


def _content(spec: TensorSpec, kind: InputKind) -> Content:
    if kind == InputKind.AUDIO:
        return Content.AUDIO
    return _BY_CHANNELS[spec.shape[-1]] if takes_image(spec) and kind != InputKind.FEATURES else Content.FEATURES


def _of_image(preprocess: Preprocess, fed: Fed) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of pixels of 0 to 255, as SDKs hand them over; empty where it is not known what they become.

    A network that scales pixels by itself takes them as they are: mean 0, deviation 1, without which SDKs refuse a
    float network.
    """
    means, scales = _alike(preprocess)
    if not all(scales):
        return (), ()
    if fed.pixels == Pixels.UNIT:
        return tuple(_BYTE * mean for mean in means), tuple(_BYTE / scale for scale in scales)
    if fed.pixels == Pixels.SIGNED:
        half = _BYTE / 2
        return tuple(half + half * mean for mean in means), tuple(half / scale for scale in scales)
    if preprocess.is_identity and fed.is_float and fed.pixels != Pixels.BYTES and not fed.rescales:
        return (), ()
    return means, tuple(1 / scale for scale in scales)


def _normalization(preprocess: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of what is no image; empty where it is fed as it is."""
    means, scales = _alike(preprocess)
    return ((), ()) if preprocess.is_identity or not all(scales) else (means, tuple(1 / scale for scale in scales))


def _alike(preprocess: Preprocess) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and scales, as many of the one as of the other: one for all channels, or one for each."""
    means, scales = _numbers(preprocess.mean), _numbers(preprocess.scale)
    count = max(len(means), len(scales))
    return means * (count // len(means)), scales * (count // len(scales))


def _output(spec: TensorSpec, labels: Sequence[str]) -> OutputDescription:
    fits = spec.shape[-1:] == (len(labels),)
    return OutputDescription(name=spec.name, labels=tuple(labels) if fits else ())


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
