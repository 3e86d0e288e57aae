"""What a target's own runtime and compiler say, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.core import place
from edgebuild.core.budget import Subject
from edgebuild.core.delivery import Leaner
from edgebuild.core.device import Arena, Compiled, DeviceReport, EdgeTpu, EthosU, Mapping, Parity
from edgebuild.core.manifest import Manifest
from edgebuild.core.measurement import Measurement, Mode
from edgebuild.core.target import Interpreter
from edgebuild.units import format_bytes, format_seconds, format_share

# How many kinds of operators are named.
_NAMED = 4
_WORDS = {Mode.MEASURED: "measured", Mode.EMULATED: "emulated", Mode.ESTIMATED: "predicted"}


def rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The rows of a summary: each with its label."""
    if manifest.leaner is not None:
        yield "packed", _leaner(manifest.leaner)
    yield from _of_report(manifest.device, manifest.plan.runtime.name)
    yield from (("flash", _flash(item)) for item in manifest.measurements if item.subject == Subject.FLASH)
    folders = sorted({item.path.split("/")[0] for item in manifest.files if "/" in item.path})
    for folder in folders:
        count = sum(item.path.startswith(f"{folder}/") for item in manifest.files)
        yield folder, f"{count} files in {folder}/ ({manifest.plan.delivery.firmware} layout)"


def _of_report(report: DeviceReport, runtime: Interpreter) -> Iterator[tuple[str, str]]:
    if report.delegation is not None:
        yield "xnnpack", _mapping(report.delegation)
    if report.parity is not None:
        yield "parity", f"{' and '.join(report.parity.kernels)} kernels: {_parity(report.parity, Mode.MEASURED)}"
    for parity in report.places:
        here, there = parity.kernels
        mode = Mode.EMULATED if place.read(there).emulates else Mode.MEASURED
        yield "parity", f"{here} kernels here and {there}: {_parity(parity, mode)}"
    if report.arena is not None:
        yield "arena", _arena(report.arena, runtime)
    if report.edgetpu is not None:
        yield "edge tpu", f"{_mapping(report.edgetpu.mapping)}; {_cache(report.edgetpu)}"
    if report.ethosu is not None:
        yield "npu", _mapping(report.ethosu.mapping)
        yield "", _ethosu(report.ethosu)
    if report.npu is not None:
        yield "npu", _mapping(report.npu.mapping) + _estimates(report.npu)


def _leaner(leaner: Leaner) -> str:
    text = (
        f"{leaner.before_bytes:,} to {leaner.after_bytes:,} bytes, of which {leaner.payload_bytes:,} are constants; "
        f"the same outputs on {' and '.join(leaner.verified_on)}"
    )
    if leaner.after_activations_bytes < leaner.before_activations_bytes:
        before, after = (format_bytes(n) for n in (leaner.before_activations_bytes, leaner.after_activations_bytes))
        text += f"; operators in another order: activations {before} to {after}"
    return text


def _mapping(mapping: Mapping) -> str:
    """Shares are of the file's own operators, as in budgets on npu_share."""
    share = format_share(mapping.share)
    text = f"{mapping.mapped} of the file's {mapping.operators} operators ({share}; {mapping.source}, "
    text += f"{_WORDS[mapping.mode]})"
    counts: dict[str, int] = {}
    for left in mapping.left:
        name = f"{left.operator} (added)" if left.is_added else left.operator
        counts[name] = counts.get(name, 0) + left.count
    named = [name if count == 1 else f"{count} {name}" for name, count in list(counts.items())[:_NAMED]]
    more = ", ..." if len(counts) > _NAMED else ""
    return f"{text}; on the CPU: {', '.join(named)}{more}" if named else text


def _parity(parity: Parity, mode: Mode) -> str:
    steps = [output.largest_steps for output in parity.outputs if output.largest_steps is not None]
    if not steps:
        differences = [output.largest_difference or 0.0 for output in parity.outputs]
        largest = f"outputs at most {max(differences):.2g} apart"
    else:
        largest = f"outputs at most {max(steps)} step{'' if max(steps) == 1 else 's'} apart"
    answers = f"{parity.differing_answers} of {parity.samples:,} answers differ"
    return f"{answers}, {largest} ({mode})"


def _flash(found: Measurement) -> str:
    parts = found.settings
    if "runtime_bytes" not in parts:
        return f"{found.value:,.0f} bytes, model only: the runtime's code comes on top (runtime.code of the target)"
    return f"{found.value:,.0f} bytes: {parts['model_bytes']:,} of the model, {parts['runtime_bytes']:,} of the runtime"


def _arena(arena: Arena, runtime: Interpreter) -> str:
    text = (
        f"{arena.required_bytes:,} bytes on TensorFlow Lite Micro with 64-bit pointers (measured): "
        f"{arena.head_bytes:,} of activations and scratch, {arena.tail_bytes:,} of structures"
    )
    if runtime.known.ram:
        return f"{text}; {runtime.known.ram}"
    if not arena.narrow_least_bytes:
        return text
    return f"{text}; {arena.narrow_least_bytes:,} to {arena.required_bytes:,} with 32-bit pointers (estimated)"


def _cache(found: EdgeTpu) -> str:
    cache = found.cache
    kept = f"{format_bytes(cache.cached_bytes)}{_between(cache.cached_between)} in its own memory"
    streamed = ""
    if cache.streamed_bytes or (cache.streamed_between is not None and cache.streamed_between[1]):
        streamed = f", {format_bytes(cache.streamed_bytes)}{_between(cache.streamed_between)} streamed"
    return f"parameters: {kept}{streamed} ({_WORDS[cache.mode]})"


def _between(ends: tuple[int, int] | None) -> str:
    """How far an estimate may be off."""
    return f" ({format_bytes(ends[0])} to {format_bytes(ends[1])})" if ends is not None and ends[0] < ends[1] else ""


def _estimates(found: Compiled) -> str:
    """What the compiler of a plug-in estimates."""
    time = f"; {format_seconds(found.inference_s)} an inference (estimated)" if found.inference_s is not None else ""
    return time + (f"; {format_bytes(found.sram_bytes)} of SRAM (estimated)" if found.sram_bytes is not None else "")


def _ethosu(found: EthosU) -> str:
    figures = found.figures
    flash = format_bytes(figures.on_chip_flash_bytes + figures.off_chip_flash_bytes)
    return (
        f"{figures.total_cycles:,} cycles, {format_seconds(figures.inference_s)} an inference, "
        f"{format_bytes(figures.sram_bytes)} of SRAM, {flash} of flash "
        f"({figures.system_config}, {figures.memory_mode}; estimated by Vela)"
    )
