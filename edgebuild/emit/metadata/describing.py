"""What a build knows of its artifact, as metadata tell it."""

from __future__ import annotations

from collections.abc import Sequence

from edgebuild.core.metadata import Content, InputDescription, Metadata, OutputDescription
from edgebuild.core.model import ArtifactSpec, TensorSpec
from edgebuild.core.plan import Plan
from edgebuild.core.settings import Preprocess
from edgebuild.flatbuffer.inspecting import inspect

_BY_CHANNELS = {3: Content.RGB, 1: Content.GRAYSCALE}


def describe(
    data: bytes,
    plan: Plan,
    network: ArtifactSpec,
    labels: Sequence[str] = (),
    *,
    images: bool = False,
    streams: bool = False,
) -> Metadata:
    """The metadata of an artifact.

    Args:
        data: the .tflite file: its graph tells the order of inputs and outputs.
        plan: what was done.
        network: what was read back from this file, its ends in the network's order.
        labels: of the classes that the scored output tells apart; left out where they are not as many.
        images: whether the inputs are images; otherwise they are features.
        streams: whether it keeps its state for the next piece of a stream; a state that it has otherwise must be reset.

    Raises:
        StepError: `data` is no .tflite file or a damaged one.
    """
    graph = inspect(data, plan.name).graphs[0]
    scored = network.outputs[plan.metric.output] if plan.metric.output < len(network.outputs) else None
    inputs = {spec.index: spec for spec in network.inputs}
    outputs = {spec.index: spec for spec in network.outputs}
    return Metadata(
        name=plan.name,
        text=_text(plan.about.description, network, streams=streams),
        version=plan.about.version,
        author=plan.about.author,
        license=plan.about.license,
        inputs=tuple(_input(inputs[index], plan.preprocess, images=images) for index in graph.inputs),
        outputs=tuple(_output(outputs[index], labels if outputs[index] is scored else ()) for index in graph.outputs),
    )


def _text(description: str, network: ArtifactSpec, *, streams: bool) -> str:
    if not network.keeps_state:
        return description
    if streams:
        said = "Streaming model: state is carried over from each inference to the next."
    else:
        said = "Keeps state: reset the interpreter's variables before each independent input."
    return f"{description} {said}".strip()


def _input(spec: TensorSpec, preprocess: Preprocess, *, images: bool) -> InputDescription:
    is_image = images and len(spec.shape) == 4
    content = _BY_CHANNELS.get(spec.shape[-1], Content.FEATURES) if is_image else Content.FEATURES
    # SDKs refuse an image that goes into a float network without a normalization, even one that changes nothing.
    normalizes = is_image or not preprocess.is_identity
    scales = _numbers(preprocess.scale)
    return InputDescription(
        name=spec.name,
        content=content,
        mean=_numbers(preprocess.mean) if normalizes and all(scales) else (),
        std=tuple(1 / scale for scale in scales) if normalizes and all(scales) else (),
    )


def _output(spec: TensorSpec, labels: Sequence[str]) -> OutputDescription:
    fits = spec.shape[-1:] == (len(labels),)
    return OutputDescription(name=spec.name, labels=tuple(labels) if fits else ())


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
