"""What differs between two artifacts, from their inspections and, where there are any, their manifests."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from edgebuild.core.budget import Subject
from edgebuild.core.difference import Difference, FigureChange, LayerChange, NumberChange
from edgebuild.core.inspection import Graph, Inspection, Operation
from edgebuild.core.manifest import Manifest
from edgebuild.core.measurement import Measurement, Mode

# Aligning takes time in proportion to the product of the counts.
_MOST_PAIRS = 4_000_000
_UNPAIRED = "measured at different times, not in turns: a small difference may be the machine's"
_OTHER_MACHINE = "measured on different machines: not comparable"
_OTHER_DATA = "scored on different evaluation data: not comparable"
_COMPARED = (
    *(Subject.ACCURACY, Subject.ACCURACY_DROP, Subject.LATENCY, Subject.PEAK_MEMORY),
    *(Subject.ARENA, Subject.FLASH, Subject.NPU_SHARE, Subject.NPU_LATENCY, Subject.NPU_SRAM),
)
_CERTAIN = (Mode.ESTIMATED, Mode.EMULATED, Mode.MEASURED)


class Side(NamedTuple):
    """One of the two artifacts."""

    name: str
    inspection: Inspection
    manifest: Manifest | None = None


class _Layer(NamedTuple):
    """An operator with the graph that it is of and its place in the file."""

    place: int
    operation: Operation
    graph: Graph

    @property
    def name(self) -> str:
        """Of the first tensor that it writes."""
        outputs = [index for index in self.operation.outputs if index >= 0]
        return self.graph.tensors[outputs[0]].name if outputs else ""

    @property
    def constants_bytes(self) -> int:
        read = (self.graph.tensors[index] for index in self.operation.inputs if index >= 0)
        return sum({tensor.buffer: tensor.constant_bytes for tensor in read}.values())

    def described(self) -> dict[str, str]:
        """All that a change of which is worth telling."""
        ends = [self.graph.tensors[index] for index in self.operation.outputs if index >= 0]
        options = {name: str(value) for name, value in self.operation.options.items()}
        return {
            "operator": self.operation.name,
            "version": str(self.operation.version),
            "type": ", ".join(tensor.dtype for tensor in ends),
            "shape": ", ".join("x".join(map(str, tensor.shape)) for tensor in ends),
            **options,
        }


def between(before: Side, after: Side) -> Difference:
    """Hold two artifacts side by side.

    Operators are matched by the names of what they write; those without a name of their own in both files, as where
    names were stripped, by their order.
    """
    first, second = list(_layers(before.inspection)), list(_layers(after.inspection))
    pairs = _matched(first, second)
    changed = [change for change in (_change(*pair) for pair in pairs) if change is not None]
    return Difference(
        before=before.name,
        after=after.name,
        totals=tuple(_totals(before.inspection, after.inspection)),
        sections=tuple(_changes(before.inspection.sections, after.inspection.sections)),
        operators=tuple(change for change in _changes(_kinds(first), _kinds(second)) if change.by),
        layers=tuple(changed),
        same_layers=len(pairs) - len(changed),
        figures=tuple(_figures(before.manifest, after.manifest)) if before.manifest and after.manifest else (),
        notes=tuple(_notes(first, second)),
    )


def _layers(inspection: Inspection) -> Iterator[_Layer]:
    operations = ((operation, graph) for graph in inspection.graphs for operation in graph.operations)
    for place, (operation, graph) in enumerate(operations):
        yield _Layer(place, operation, graph)


def _totals(before: Inspection, after: Inspection) -> Iterator[NumberChange]:
    yield NumberChange(name="size_bytes", before=before.size_bytes, after=after.size_bytes)
    yield NumberChange(name="macs", before=before.macs, after=after.macs)
    peaks = (inspection.graphs[0].memory.peak_bytes for inspection in (before, after))
    yield NumberChange(name="activations_bytes", **dict(zip(("before", "after"), peaks, strict=True)))


def _kinds(layers: Sequence[_Layer]) -> Counter[str]:
    return Counter(layer.operation.name for layer in layers)


def _changes(before: Mapping[str, int], after: Mapping[str, int]) -> list[NumberChange]:
    names = dict.fromkeys((*after, *before))
    found = (NumberChange(name=name, before=before.get(name, 0), after=after.get(name, 0)) for name in names)
    return sorted(found, key=lambda change: (-abs(change.by), change.name))


def _matched(first: Sequence[_Layer], second: Sequence[_Layer]) -> list[tuple[_Layer | None, _Layer | None]]:
    """Pairs in the order of the second, what was removed before what stood behind it; None on one side alone."""
    named = _unique(first)
    partner = {layer.place: named[name].place for name, layer in _unique(second).items() if name and name in named}
    taken = set(partner.values())
    partner |= _in_order(
        [layer for layer in first if layer.place not in taken],
        [layer for layer in second if layer.place not in partner],
    )
    removed = [layer for layer in first if layer.place not in set(partner.values())]
    pairs: list[tuple[_Layer | None, _Layer | None]] = []
    for layer in second:
        match = partner.get(layer.place)
        while removed and match is not None and removed[0].place < match:
            pairs.append((removed.pop(0), None))
        pairs.append((first[match] if match is not None else None, layer))
    return [*pairs, *((layer, None) for layer in removed)]


def _unique(layers: Sequence[_Layer]) -> dict[str, _Layer]:
    """Those whose name no other has."""
    count = Counter(layer.name for layer in layers)
    return {layer.name: layer for layer in layers if count[layer.name] == 1}


def _in_order(first: Sequence[_Layer], second: Sequence[_Layer]) -> dict[int, int]:
    """Places in the second and in the first of operators of one kind that follow each other alike."""
    if len(first) * len(second) > _MOST_PAIRS:
        pairs = zip(first, second, strict=False)
        return {b.place: a.place for a, b in pairs if a.operation.name == b.operation.name}
    kinds, others = ([layer.operation.name for layer in layers] for layers in (first, second))
    blocks = difflib.SequenceMatcher(None, kinds, others, autojunk=False).get_matching_blocks()
    return {second[block.b + step].place: first[block.a + step].place for block in blocks for step in range(block.size)}


def _change(before: _Layer | None, after: _Layer | None) -> LayerChange | None:
    """What changed in an operator; None where nothing did."""
    known = after or before
    assert known is not None
    words = tuple(_words(before.described(), after.described())) if before and after else ()
    change = LayerChange(
        name=known.name or (before.name if before else ""),
        operator=known.operation.name,
        before=before.place if before else -1,
        after=after.place if after else -1,
        constants_bytes=NumberChange(
            name="constants_bytes",
            before=before.constants_bytes if before else 0,
            after=after.constants_bytes if after else 0,
        ),
        macs=NumberChange(
            name="macs", before=before.operation.macs if before else 0, after=after.operation.macs if after else 0
        ),
        changes=words,
    )
    same = before is not None and after is not None and not (words or change.constants_bytes.by or change.macs.by)
    return None if same else change


def _words(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}"


def _figures(before: Manifest, after: Manifest) -> Iterator[FigureChange]:
    """Figures of one subject, unit, place and kernel family; the baseline's drop is beside them."""
    known = {_kind(measurement): measurement for measurement in before.measurements}
    for measurement in after.measurements:
        earlier = known.get(_kind(measurement))
        if earlier is not None and measurement.subject in _COMPARED:
            yield FigureChange(
                subject=measurement.subject,
                unit=measurement.unit,
                before=earlier.value,
                after=measurement.value,
                mode=min(earlier.mode, measurement.mode, key=_CERTAIN.index),
                where=measurement.where,
                note=_note(earlier, measurement, _scored(before) == _scored(after)),
            )


def _kind(measurement: Measurement) -> tuple[str, ...]:
    return (measurement.subject, measurement.unit, measurement.where, measurement.kernels)


def _scored(manifest: Manifest) -> tuple[str, str]:
    """On what, and by what."""
    data = manifest.inputs.data
    return data.evaluation_sha256 if data is not None else "", manifest.accuracy.metric if manifest.accuracy else ""


def _note(before: Measurement, after: Measurement, same_data: bool) -> str:
    if after.subject in (Subject.ACCURACY, Subject.ACCURACY_DROP):
        return "" if same_data else _OTHER_DATA
    if before.machine != after.machine:
        return _OTHER_MACHINE
    return _UNPAIRED if after.subject == Subject.LATENCY else ""


def _notes(first: Sequence[_Layer], second: Sequence[_Layer]) -> Iterator[str]:
    if not all(any(layer.name for layer in layers) for layers in (first, second) if layers):
        yield "one of the files has no names: its operators were matched by their order"
