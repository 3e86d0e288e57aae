"""An inspected file, for people."""

from __future__ import annotations

from collections.abc import Iterator

from edgebuild.core.delivery import Metadata
from edgebuild.core.inspection import Graph, Inspection, Operation, Quantization, Signature, Tensor
from edgebuild.core.model import UNKNOWN_RUNTIME
from edgebuild.report.summary import Paint, plain
from edgebuild.report.tables import aligned, clean
from edgebuild.units import format_bytes, format_share

_LABEL = 11
# How many of the tensors that are alive at the peak are named.
_NAMED = 6
_HEAD = ("#", "operator", "version", "runtime", "output", "MACs", "constants", "alive", "tensor", "options")
_RIGHT = (0, 2, 5, 6, 7)
# Options that say nothing: what a kernel does when it is told nothing.
_SILENT = (0, False, "NONE", "DEFAULT", "FLOAT32", ())
_ONE = frozenset({"dilation_w_factor", "dilation_h_factor", "dilation_d_factor", "depth_multiplier"})


def of_file(inspection: Inspection, name: str, paint: Paint = plain, advice: str = "") -> str:
    """All that is known of a .tflite file: a summary, and every operator of every graph; `advice` on its warnings."""
    lines = [_headline(inspection, name, paint)]
    lines += [f"  {label:<{_LABEL}} {text}" for label, text in _facts(inspection)]
    lines += [f"  {'doubt':<{_LABEL}} {paint(clean(doubt, 200), 'warn')}" for doubt in inspection.doubts]
    lines += [f"  {'warning':<{_LABEL}} {paint(clean(text, 300), 'warn')}" for text in inspection.warnings]
    if inspection.warnings:
        lines.append(f"  {'':<{_LABEL}} {advice}")
    for number, graph in enumerate(inspection.graphs):
        title = f"graph {number}" + (f" ({clean(graph.name)})" if graph.name else "")
        lines += ["", f"{paint(title, 'title')}: {len(graph.operations):,} operators", *_operators(graph)]
    return "\n".join(lines)


def _headline(inspection: Inspection, name: str, paint: Paint) -> str:
    count = sum(len(graph.operations) for graph in inspection.graphs)
    operators = "1 operator" if count == 1 else f"{count:,} operators"
    return f"{paint(clean(name), 'title')}: {inspection.size_bytes:,} bytes, {operators}, {inspection.macs:,} MACs"


def _facts(inspection: Inspection) -> Iterator[tuple[str, str]]:
    main = inspection.graphs[0]
    if inspection.description:
        yield "made by", clean(inspection.description)
    yield "runtime", _runtime(inspection.runtime)
    for label, indices in (("inputs", main.inputs), ("outputs", main.outputs)):
        for number, index in enumerate(indices):
            yield "" if number else label, _end(main.tensors[index]) if index >= 0 else "none"
    for number, signature in enumerate(inspection.ends):
        yield "" if number else "signatures", _signature(signature)
    if inspection.metadata:
        yield "metadata", ", ".join(map(clean, inspection.metadata))
    if inspection.described is not None:
        yield from _described(inspection.described)
    for number, (section, size) in enumerate(inspection.sections.items()):
        share = format_share(size / inspection.size_bytes)
        yield "" if number else "bytes", f"{size:>13,}  {share:>8}  {section}"
    yield from _memory(main)


def _described(metadata: Metadata) -> Iterator[tuple[str, str]]:
    """What mobile SDKs are told."""
    about = {"version": metadata.version, "by": metadata.author, "license": metadata.license}
    said = [clean(metadata.name) or "no name", *(f"{word} {clean(text)}" for word, text in about.items() if text)]
    yield "described", ", ".join(said) + (f": {clean(metadata.text, 200)}" if metadata.text else "")
    for given in metadata.inputs:
        normalized = f", (x - {_numbers(given.mean)}) / {_numbers(given.std)}" if given.mean else ""
        yield "", f"{clean(given.name)}: {given.content}{normalized}"
    for made in metadata.outputs:
        yield "", f"{clean(made.name)}: {f'{len(made.labels):,} labels' if made.labels else 'no labels'}"


def _numbers(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:4])
    return f"[{shown}{', ...' if len(values) > 4 else ''}]" if len(values) > 1 else shown


def _runtime(version: str) -> str:
    if version == UNKNOWN_RUNTIME:
        return "newer than any that is known"
    return f"TensorFlow Lite {version} or newer" if version else "not published for these operators"


def _end(tensor: Tensor) -> str:
    return f"{clean(tensor.name) or tensor.index}  {_typed(tensor)}{_scaled(tensor.quantization)}"


def _typed(tensor: Tensor) -> str:
    return f"{tensor.dtype} {'x'.join('?' if size < 0 else str(size) for size in tensor.shape) or 'scalar'}"


def _scaled(quantization: Quantization | None) -> str:
    if quantization is None:
        return ""
    if len(quantization.scales) > 1:
        return f"  {len(quantization.scales)} scales along axis {quantization.dimension}"
    return f"  scale {quantization.scales[0]:.6g}, zero point {', '.join(map(str, quantization.zero_points)) or 'none'}"


def _signature(signature: Signature) -> str:
    inputs, outputs = (", ".join(map(clean, names)) for names in (signature.inputs, signature.outputs))
    return f"{clean(signature.key)}: {inputs} -> {outputs}"


def _memory(graph: Graph) -> Iterator[tuple[str, str]]:
    memory = graph.memory
    place = f" at operator {memory.at}, {clean(graph.operations[memory.at].name)}" if memory.at >= 0 else ""
    yield "activations", f"{memory.peak_bytes:,} bytes{place} (estimated), where these are alive:"
    for index in memory.alive[:_NAMED]:
        tensor = graph.tensors[index]
        yield "", f"{tensor.size_bytes:>13,}  {_typed(tensor)}  {clean(tensor.name) or index}"
    if len(memory.alive) > _NAMED:
        yield "", f"and {len(memory.alive) - _NAMED:,} more"


def _operators(graph: Graph) -> Iterator[str]:
    rows = [_HEAD, *(_operator(number, operation, graph) for number, operation in enumerate(graph.operations))]
    yield from aligned(rows, _RIGHT)


def _operator(number: int, operation: Operation, graph: Graph) -> tuple[str, ...]:
    outputs = [graph.tensors[index] for index in operation.outputs if index >= 0]
    read = {graph.tensors[index].buffer: graph.tensors[index] for index in operation.inputs if index >= 0}
    return (
        str(number),
        clean(operation.name),
        str(operation.version),
        operation.runtime or "-",
        ", ".join(map(_typed, outputs)) or "none",
        f"{operation.macs:,}" if operation.macs else "-",
        f"{sum(tensor.constant_bytes for tensor in read.values()):,}",
        format_bytes(graph.memory.steps_bytes[number]),
        clean(outputs[0].name, 40) if outputs else "",
        _options(operation),
    )


def _options(operation: Operation) -> str:
    said = [
        f"{name}={clean(str(value), 30)}"
        for name, value in operation.options.items()
        if value not in _SILENT and not (name in _ONE and value == 1)
    ]
    if operation.custom_options_bytes:
        said.append(f"{operation.custom_options_bytes:,} bytes of its own")
    return " ".join(said)
