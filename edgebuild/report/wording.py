"""Figures in words."""

from __future__ import annotations

from collections.abc import Callable

from edgebuild.core.budget import Budget, Subject, Unit
from edgebuild.core.manifest import Manifest, Rung, Shrinkage
from edgebuild.core.measurement import Measurement, Paired
from edgebuild.core.passes import (
    Calibrate,
    Channels,
    Cluster,
    Equalize,
    Pass,
    PluginPass,
    Prune,
    Quantize,
    QuantizeAware,
    Student,
)
from edgebuild.core.plan import Plan
from edgebuild.core.target import Interpreter
from edgebuild.units import format_bytes, format_change, format_count, format_joules, format_seconds, format_share

_ROUNDS_TO_ALL = 0.995  # with three figures


def figure(value: float, unit: Unit, subject: Subject | None = None, *, binary: bool = False) -> str:
    """A figure with its unit; a drop of a share is in points, since it is a difference of percentages.

    Bytes are in KiB and MiB where they are `binary`.
    """
    if unit == Unit.BYTES:
        return format_bytes(value, binary=binary)
    if unit == Unit.SECONDS:
        return format_seconds(value)
    if unit == Unit.SHARE:
        text = format_share(value)
        return text.replace("%", "points") if subject == Subject.ACCURACY_DROP else text
    if unit == Unit.COUNT:
        return format_count(value)
    if unit == Unit.JOULES:
        return format_joules(value)
    if unit == Unit.RELATIVE:
        return f"{format_share(value)} of the float network's"
    return f"{value:.6g}"


def found(value: float, budget: Budget) -> str:
    """The figure that a budget limits; one against a baseline is a change."""
    return format_change(value) if budget.of_baseline else _in_its_unit(value, budget, budget.subject)


def distance(value: float, budget: Budget) -> str:
    """What is left of a limit, or is over it; of percentages it is points."""
    if budget.of_baseline:
        return format_share(value).replace("%", "points")
    text = _in_its_unit(value, budget, Subject.ACCURACY_DROP)
    # What was used must show: "256 KiB left" of 256 KiB would say that nothing was.
    rounds_away = budget.unit == Unit.BYTES and _ROUNDS_TO_ALL * budget.limit < value < budget.limit
    return f"{value:,.0f} bytes" if rounds_away else text


def _in_its_unit(value: float, budget: Budget, subject: Subject) -> str:
    """A figure as the limit was written."""
    return figure(value, budget.unit, subject, binary=budget.binary)


def limit(budget: Budget, *, lower_is_better: bool) -> str:
    """A budget's limit: "at most 60.0 KB"."""
    if budget.of_baseline:
        return f"at most {format_change(budget.limit)} of the baseline"
    is_minimum = budget.is_minimum(lower_is_better=lower_is_better)
    text = f"{'at least' if is_minimum else 'at most'} {_in_its_unit(budget.limit, budget, budget.subject)}"
    return text + (f" ({format_share(budget.confidence)} confidence)" if budget.confidence else "")


def paired(found: Paired, unit: Unit) -> str:
    """What one sample is worth, and the interval of the drop: "one sample is worth 0.28 points; ..."."""
    low, high = (figure(end, unit, Subject.ACCURACY_DROP) for end in found.interval)
    worth = ""
    if found.worth is not None:
        worth = f"one sample is worth {figure(found.worth, unit, Subject.ACCURACY_DROP)}; "
    return f"{worth}95 % interval of the drop {low} to {high} ({found.test})"


HERE = "host"


def place(where: str) -> str:
    """A place in a sentence."""
    return "this host" if where == HERE else where


def latency(measurement: Measurement) -> str:
    """A latency with its interval, and what it was measured on."""
    statistics = measurement.statistics
    median = f"{format_seconds(statistics['median'])} median{_interval(measurement, format_seconds)}"
    tail = f", {format_seconds(statistics['p90'])} p90" if "p90" in statistics else ""
    return f"{median}{tail} on {place(measurement.where)} ({_taken(measurement)})"


def instructions(measurement: Measurement) -> str:
    """Instructions of an inference, and what counted them."""
    return (
        f"{format_count(measurement.value)} instructions an inference on {measurement.where} "
        f"({measurement.machine}, {measurement.kernels} kernels, {measurement.mode}; not a time)"
    )


def _interval(measurement: Measurement, show: Callable[[float], str]) -> str:
    if "median" not in measurement.intervals:
        return ""
    low, high = measurement.intervals["median"]
    return f" ({show(low)} to {show(high)})"


def _taken(measurement: Measurement) -> str:
    settings = measurement.settings
    threads, processes = settings.get("threads", 1), settings.get("processes", 1)
    runs = f"{len(measurement.samples):,} runs" + (f" in {processes} processes" if processes > 1 else "")
    return (
        f"{measurement.machine.split(',')[0]}, {measurement.kernels} kernels, {threads} thread"
        f"{'s' if threads > 1 else ''}, {runs}, {measurement.mode}"
    )


def name(budget: Budget) -> str:
    """A budget's subject, with the place it holds for."""
    at = "" if budget.at == "median" else f" {budget.at}"
    return f"{budget.subject}{at} on {budget.on}" if budget.on else f"{budget.subject}{at}"


def kind(item: Pass) -> str:
    """A pass's kind, as profiles and edgebuild.toml call it."""
    return item.called


def step(item: Pass) -> str:
    """A pass: "quantize to int8, float32 in and out"."""
    if isinstance(item, Student):
        return f"teach {item.network or f'a copy of {format_share(item.width)} of the width'}"
    if isinstance(item, Channels):
        return f"prune channels to {format_share(item.keep)} of the {item.cost}"
    if isinstance(item, Prune):
        return f"prune to {format_share(item.zeros)} zeros ({item.pattern})"
    if isinstance(item, Cluster):
        return f"cluster to {item.clusters} values a tensor"
    if isinstance(item, QuantizeAware):
        return "choose ranges that keep what kernels share" if item.only_ranges else "train quantization-aware"
    if isinstance(item, Equalize):
        return "equalize channels"
    if isinstance(item, Calibrate):
        clipped = ", clipping" if item.clip else ""
        how = f"{item.ranges} ranges, {item.rounding} rounding{clipped}, {item.bias} bias correction"
        return f"choose int8 grids ({how})"
    if isinstance(item, PluginPass):
        return item.title
    return f"quantize to {ends(item)}"


def shrunk(shrinkage: Shrinkage, runtime: Interpreter) -> str:
    """What compression did: "file 0.51 of 47.9 KB, gzip as before, ..."; a microcontroller keeps its file in flash."""
    before, after = shrinkage.before, shrinkage.after
    file, memory = ("flash", "RAM for activations") if runtime.is_micro else ("file", "activations")
    parts = [
        _shrunk(file, after.size_bytes, before.size_bytes, format_bytes),
        _shrunk("gzip", after.size_gzip_bytes, before.size_gzip_bytes, format_bytes),
        _shrunk(memory, after.activations_bytes, before.activations_bytes, format_bytes),
        _shrunk("MACs", after.macs, before.macs, lambda count: f"{count:,}"),
    ]
    return ", ".join(parts)


def _shrunk(what: str, after: int, before: int, form: Callable[[int], str]) -> str:
    if after == before:
        return f"{what} as before"
    return f"{what} {f'{after / before:.2f} of' if after < before else 'larger than'} {form(before)}"


def rung(item: Rung, unit: Unit, *, timed: bool = True) -> str:
    """One build of the repair ladder: "better ranges: 97.2 %, 37.3 KB, 0.11 ms: misses the accuracy budget".

    Without the time where it is not the target's (`timed`).
    """
    figures = f"{figure(item.accuracy, unit)}, {format_bytes(item.size_bytes)}"
    figures += f", {format_seconds(item.latency_s)}" if timed and item.latency_s is not None else ""
    return f"{item.name}: {figures}: {'keeps' if item.kept else 'misses'} the accuracy budget"


def runs_on(plan: Plan) -> str:
    """The runtime of a target, and its accelerator."""
    runtime, accelerator = plan.runtime.name.called, plan.accelerator
    if accelerator is None:
        return runtime
    return f"{accelerator.called}, {runtime} for what it leaves"


def numbers(manifest: Manifest) -> str:
    """The scheme of an artifact with the types at its ends, as they stand in the file."""
    network = manifest.network
    given, made = (
        " and ".join(dict.fromkeys(end.dtype for end in ends_of)) for ends_of in (network.inputs, network.outputs)
    )
    scheme = manifest.plan.quantize.scheme
    return f"{scheme}, {given} in and out" if given == made else f"{scheme}, {given} in, {made} out"


def ends(quantize: Quantize) -> str:
    """A quantization with the types at its ends."""
    if quantize.input == quantize.output:
        return f"{quantize.scheme}, {quantize.input} in and out"
    return f"{quantize.scheme}, {quantize.input} in, {quantize.output} out"
