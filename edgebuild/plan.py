"""From a target and the settings to a plan. Pure: what is needed of files is handed in as digests."""

from __future__ import annotations

import re
from pathlib import PurePath

from msgspec.structs import replace

from edgebuild import plugins
from edgebuild.core.passes import (
    Change,
    Compression,
    DType,
    Equalize,
    Quantize,
    QuantizeAware,
    Recurrent,
    Refinement,
    Scheme,
)
from edgebuild.core.plan import Plan, Source, Split
from edgebuild.core.settings import Settings
from edgebuild.core.target import Target
from edgebuild.errors import UsageError
from edgebuild.gating import judgeable

EXAMPLE_NAME = "digits"
_MOST_SYNTHETIC = 64  # each is the work of hundreds of training steps
# What an LSTM as one operator is made of, with what clears its state.
_FUSED_LSTM = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM", "SUB", "QUANTIZE"})
# Names that say nothing about the network: the folder around them does.
_GENERIC_STEMS = frozenset({"saved_model", "model", "savedmodel"})


def plan(
    target: Target, settings: Settings, model: Source, data: Source | None, learns_from: tuple[Source, ...] = ()
) -> Plan:
    """What will be done for one target; `learns_from` as in Plan.

    Raises:
        UsageError: the request cannot work, whatever the network is: a scheme that the target does not run, one that
            needs calibration, without data, or a budget that cannot be judged.
    """
    judgeable.require(target.budgets, judgeable.Of.target(target, has_baseline=bool(settings.bench.baseline)))
    scheme = target.passes.quantize.scheme
    _require_integers(target, scheme)
    synthesizes = data is None and settings.data.synthesize and scheme.needs_calibration
    if not synthesizes:
        _require_data(target, scheme, data)
    compressions = _compressions(target, settings, scheme)
    _require_float(target, scheme, target.passes.quantize.float_layers, compressions)
    return Plan(
        target=target.name,
        name=_checked(settings.model.name or default_name(model)),
        model=model,
        data=data,
        input_shape=settings.model.input_shape,
        input_shapes=settings.model.input_shapes,
        signature=settings.model.signature,
        allow_code=settings.model.allow_code,
        preprocess=settings.preprocess,
        input_kind=settings.model.input_kind,
        sample_rate=settings.model.sample_rate,
        split=Split(
            calibration_samples=settings.data.calibration_samples,
            evaluation_share=settings.data.evaluation_share,
            seed=settings.data.seed,
            label_column=settings.data.label_column,
            labels=settings.data.labels,
        ),
        passes=(*_with_refinements(compressions, target, settings), _quantize(target, settings)),
        ignores=settings.lint.ignore,
        allows=settings.lint.allow,
        train=settings.train,
        distill=settings.distill,
        learns_from=learns_from,
        synthetic_samples=min(_MOST_SYNTHETIC, settings.data.calibration_samples) if synthesizes else 0,
        runtime=target.runtime,
        operators=target.operators,
        board=target.device.board if target.device is not None else "",
        accelerator=target.accelerator,
        delivery=target.delivery,
        about=settings.about,
        metric=plugins.metric(settings.metric),
        bench=settings.bench,
        budgets=target.budgets,
    )


def _quantize(target: Target, settings: Settings) -> Quantize:
    asked = target.passes.quantize
    output = _end(target.io.output, asked.scheme)
    leaves_float = target.operators.float and asked.scheme == Scheme.INT8 and output == DType.FLOAT32
    return Quantize(
        scheme=asked.scheme,
        input=_end(target.io.input, asked.scheme),
        output=output,
        float_fallback=target.operators.float,
        sparse=target.runtime.sparse and settings.build.compress and target.passes.prune is not None,
        float_layers=asked.float_layers,
        float_answers=leaves_float and asked.float_answers,
        recurrent=_recurrent(target, asked.scheme),
    )


def default_name(model: Source) -> str:
    """The artifact's name: the model's file name without its ending, or its folder's where that says nothing."""
    if model.kind == "example":
        return EXAMPLE_NAME
    if model.kind == "callable":
        return model.path.rpartition(":")[2]
    path = PurePath(model.path)
    if path.stem.lower() in _GENERIC_STEMS and path.parent.name not in ("", ".", ".."):
        return path.parent.name
    return path.stem


def _compressions(target: Target, settings: Settings, scheme: Scheme) -> tuple[Compression, ...]:
    """What is done before quantization.

    Clusters survive the converter only where their tensors have one scale each, so their ranges are chosen here.
    """
    asked = target.compressions if settings.build.compress else ()
    aware = any(step.brings_ranges for step in asked)
    if aware and scheme != Scheme.INT8:
        raise UsageError(
            f"{target.name} is to be trained for int8 (qat) and quantized to {scheme}",
            remedy="Leave one of them out: --set passes.qat=off, or --quantize int8.",
        )
    if scheme == Scheme.INT8 and not aware and any(step.shares_values for step in asked):
        return (*asked, QuantizeAware(exclude=(), part=0.0, learning_rate=1.0, untrained=True))
    return asked


def _with_refinements(compressions: tuple[Compression, ...], target: Target, settings: Settings) -> tuple[Change, ...]:
    """All that is done before quantization, in order: what makes the network smaller, and what is for its accuracy.

    Int16 needs no chosen grids, and quantization-aware training chooses its own; channels are made alike for both. The
    training quantizes batch norms together with what they follow, and clusters are of one scale.
    """
    scheme = target.passes.quantize.scheme
    wanted = target.refinements if settings.build.refine and scheme.needs_calibration else ()
    alike = tuple(step for step in wanted if step.suits_int16)
    if scheme == Scheme.INT16X8:
        return (*compressions, *alike)
    last = compressions[-1] if compressions else None
    if last is None or not last.trains_for_int8:
        return (*compressions, *wanted)
    if any(step.shares_values for step in compressions):
        return compressions
    return (*compressions[:-1], *(_unfolded(step) for step in alike), last)


def _unfolded(step: Refinement) -> Refinement:
    return replace(step, fold=False) if isinstance(step, Equalize) else step


def _checked(name: str) -> str:
    """A name that is one file's name everywhere."""
    if not re.fullmatch(r"\w[\w .+-]*", name):
        raise UsageError(
            f"{name!r} cannot be the name of an artifact", remedy="Use letters, digits, and any of _ . + -."
        )
    return name


def _recurrent(target: Target, scheme: Scheme) -> Recurrent:
    """How recurrent layers are converted: what AUTO comes to for this target.

    An LSTM as one operator is a twentieth of its steps written out. Its kernels take no activations of int16 (the
    converter writes a file that does not load), and compilers of accelerators no variables.
    """
    wanted = target.passes.quantize.recurrent
    can_fuse = scheme != Scheme.INT16X8
    if wanted == Recurrent.FUSED and not can_fuse:
        raise UsageError(
            f'passes.quantize.recurrent = "fused" is not for {scheme}: no kernel of an LSTM takes activations of int16',
            remedy='Leave it "auto", which writes out the steps one after another, or choose --quantize int8.',
        )
    takes = target.accelerator is None and all(map(target.operators.has, _FUSED_LSTM))
    return Recurrent.FUSED if wanted == Recurrent.AUTO and can_fuse and takes else wanted


def _end(profile: DType, scheme: Scheme) -> DType:
    """The type of an artifact's ends: the profile's, as far as the scheme has it."""
    if not scheme.needs_calibration:
        return DType.FLOAT32
    if scheme == Scheme.INT16X8 and profile != DType.FLOAT32:
        return DType.INT16
    return profile


def _require_integers(target: Target, scheme: Scheme) -> None:
    if scheme == Scheme.INT16X8 and not target.operators.int16:
        raise UsageError(
            f"{target.name} runs no operators with activations of int16",
            remedy=f"Choose --quantize {Scheme.INT8}, or another target.",
        )
    if not target.operators.float and not scheme.needs_calibration:
        int16 = f" or {Scheme.INT16X8}" if target.operators.int16 else ""
        raise UsageError(
            f"{target.name} runs no operators in float, and {scheme} leaves them so",
            remedy=f"Choose --quantize {Scheme.INT8}{int16}, or another target.",
        )


def _require_float(
    target: Target, scheme: Scheme, layers: tuple[str, ...], compressions: tuple[Compression, ...]
) -> None:
    if layers and not target.operators.float:
        raise UsageError(
            f"passes.quantize.float_layers names layers, and {target.name} runs no operators in float",
            remedy="Leave float_layers empty, or choose another target.",
        )
    if layers and scheme != Scheme.INT8:
        raise UsageError(
            f"passes.quantize.float_layers is for {Scheme.INT8}, not for {scheme}",
            remedy=f"Leave float_layers empty, or choose --quantize {Scheme.INT8}.",
        )
    if layers and any(step.brings_ranges for step in compressions):
        raise UsageError(
            f"passes.quantize.float_layers names layers, and {target.name} trains or clusters for {Scheme.INT8}",
            "The converter quantizes all of a network that brings its own ranges.",
            "Leave float_layers empty, or both passes out: --set passes.qat=off --set passes.cluster=off.",
        )


def _require_data(target: Target, scheme: Scheme, data: Source | None) -> None:
    if data is not None:
        return
    if scheme.needs_calibration:
        without = "choose a quantization that needs none (--quantize dynamic or float16), "
        raise UsageError(
            f"{target.name} quantizes to {scheme}, and there are no data to calibrate with",
            "Activation ranges are chosen from representative samples.",
            f"Name data (--data FILE.npz), {without if target.operators.float else ''}or let inputs be made up from "
            "what batch norms know (--set data.synthesize=true).",
        )
