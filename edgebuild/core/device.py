"""Device report: what the target's own runtime, kernels and compiler say of an artifact."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgebuild.core.measurement import Mode


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of which target; None for what has no meaning there, or could not be had.

    Attributes:
        delegation: the operators that LiteRT's XNNPACK delegate takes.
        parity: XNNPACK's kernels against the reference kernels, on evaluation samples.
        arena: of TensorFlow Lite Micro.
        edgetpu: what its compiler maps, or will map by its published rules.
        ethosu: what Vela maps, and estimates.
        npu: what the compiler of a plug-in maps, and estimates.
        places: the target's kernels on this machine against the places that the artifact was run at.
    """

    delegation: Mapping | None = None
    parity: Parity | None = None
    arena: Arena | None = None
    edgetpu: EdgeTpu | None = None
    ethosu: EthosU | None = None
    npu: Compiled | None = None
    places: tuple[Parity, ...] = ()


class ArenaPart(msgspec.Struct, frozen=True, kw_only=True):
    """What the allocator recorded under one name, such as "NodeAndRegistration struct"; `allocations` is how many."""

    name: str
    used_bytes: int
    requested_bytes: int
    allocations: int


class Arena(msgspec.Struct, frozen=True, kw_only=True):
    """The tensor arena of an artifact with this machine's structures, which hold 64-bit pointers.

    Attributes:
        required_bytes: the smallest `arena_size` that loads the artifact and runs it; one byte less fails.
        recorded_bytes: what the allocator recorded as in use after a run in an ample arena: head and tail. Less than
            `required_bytes` where loading took more for a while than it kept, as it does in small networks; 8 bytes
            more where those were lost to alignment at the end of the ample one.
        head_bytes: activations and scratch memory, planned to share their places.
        tail_bytes: what lives as long as the interpreter: its structures, kernels' data, variables.
        parts: the tail by what it holds, as far as the allocator names it.
        narrow_least_bytes: what the same kernels need at least on a core with 32-bit pointers, from the sizes of the
            structures there; at most they need `required_bytes`. 0 where it is not known.
    """

    required_bytes: int
    recorded_bytes: int
    head_bytes: int
    tail_bytes: int
    parts: tuple[ArenaPart, ...]
    narrow_least_bytes: int = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Operators of one kind with one fate.

    Attributes:
        operator: its BuiltinOperator name, or "CUSTOM:name".
        count: how many there are.
        is_mapped: whether the accelerator runs them; otherwise the CPU does.
        reason: why they stay on the CPU, in the words of the tool that decides; empty where it does not say.
        detail: the limit behind the reason, where that is known.
        tensors: what they write, by which their layers are known; empty where the tool counts without naming.
        is_added: whether the compiler added them: the file that it was given has none such, and they do not count.
    """

    operator: str
    count: int
    is_mapped: bool
    reason: str = ""
    detail: str = ""
    tensors: tuple[str, ...] = ()
    is_added: bool = False


class Mapping(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of an artifact's operators. Shares are of those that the file has which the compiler is given.

    Attributes:
        accelerator: what takes them ("edgetpu", "ethos-u55-128", "xnnpack").
        mode: measured where the tool itself decided, estimated where its documented rules were followed.
        source: the tool or the rules, with a version.
        places: in the order of execution by the first of each; or in the order of the tool's own table.
        partitions: how many parts run on the accelerator; between them data move to the CPU and back.
    """

    accelerator: str
    mode: Mode
    source: str
    places: tuple[Place, ...]
    partitions: int

    @property
    def operators(self) -> int:
        """How many operators the file has that the compiler is given."""
        return sum(place.count for place in self.places if not place.is_added)

    @property
    def mapped(self) -> int:
        """How many of them the accelerator runs."""
        return sum(place.count for place in self.places if place.is_mapped)

    @property
    def share(self) -> float:
        """The share of the file's operators that the accelerator runs; 0 where there are none."""
        return self.mapped / max(1, self.operators)

    @property
    def left(self) -> tuple[Place, ...]:
        """What stays on the CPU."""
        return tuple(place for place in self.places if not place.is_mapped)


class ParameterCache(msgspec.Struct, frozen=True, kw_only=True):
    """Where an accelerator keeps the parameters that it reads.

    Attributes:
        mode: measured where the compiler said it; estimated from the file's constants otherwise.
        cached_bytes: kept in its own memory from inference to inference, with padding.
        streamed_bytes: fetched from the host in each inference, which is slower.
        free_bytes: what is left of its own memory; None where it is not known.
        cached_between: of an estimate, the least and the most that it may be.
        streamed_between: likewise.
    """

    mode: Mode
    cached_bytes: int
    streamed_bytes: int
    free_bytes: int | None = None
    cached_between: tuple[int, int] | None = None
    streamed_between: tuple[int, int] | None = None


class EdgeTpu(msgspec.Struct, frozen=True, kw_only=True):
    """What the Edge TPU runs of an artifact. `compiled` names the compiler's file, empty where it did not run."""

    mapping: Mapping
    cache: ParameterCache
    compiled: str = ""


class NpuFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What Vela's model of an NPU and its memories says of a network: estimates, none measured.

    Operators that stay on the CPU are in none of them.

    Attributes:
        system_config: Vela's name for the clock and the memories around the NPU.
        memory_mode: Vela's name for what is kept in which of them.
        clock_hz: of the NPU.
        inference_s: of one inference; inferences_per_s is its inverse.
        sram_bytes: on-chip memory for activations, and for weights where they are copied there.
        dram_bytes: likewise in DRAM; 0 where the system has none.
        on_chip_flash_bytes: of weights and commands in on-chip flash.
        off_chip_flash_bytes: of weights and commands in off-chip flash.
        macs: multiply-accumulates.
        total_cycles: of the NPU's clock; the cycles of its arithmetic and of accesses to each memory overlap in it.
    """

    system_config: str
    memory_mode: str
    clock_hz: float
    inference_s: float
    inferences_per_s: float
    sram_bytes: int
    dram_bytes: int
    on_chip_flash_bytes: int
    off_chip_flash_bytes: int
    macs: int
    npu_cycles: int
    sram_cycles: int
    dram_cycles: int
    on_chip_flash_cycles: int
    off_chip_flash_cycles: int
    total_cycles: int


class EthosU(msgspec.Struct, frozen=True, kw_only=True):
    """What Vela made of an artifact: the fate of its operators, the name of the file for the device, and estimates."""

    mapping: Mapping
    compiled: str
    figures: NpuFigures


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """What the compiler of a plug-in made of an artifact.

    Attributes:
        mapping: the fate of the operators of the file that it was given.
        compiled: the name of the file for the device; empty where it only tells.
        inference_s: its estimate of an inference, in seconds; None where it tells none.
        sram_bytes: its estimate of the accelerator's on-chip memory; likewise.
    """

    mapping: Mapping
    compiled: str = ""
    inference_s: float | None = None
    sram_bytes: int | None = None


class OutputParity(msgspec.Struct, frozen=True, kw_only=True):
    """How far two runs of one artifact lie apart at one output.

    Attributes:
        name: of the output.
        largest_steps: in steps of its grid, over all samples; None for an output that is not quantized.
        largest_difference: in real values; None where a value is finite on one side alone.
        differing_values: share of all its values that are not the same.
    """

    name: str
    largest_steps: int | None
    largest_difference: float | None
    differing_values: float


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """One artifact on two kernel families or at two places, fed the same samples.

    Attributes:
        kernels: the two families, or the family here and the other place.
        samples: how many were run.
        differing_answers: how many of them are answered differently: another place holds the largest value of the
            scored output; for an output of one value, another value.
        outputs: in the order of the artifact's outputs.
    """

    kernels: tuple[str, str]
    samples: int
    differing_answers: int
    outputs: tuple[OutputParity, ...]


def gathered(places: Iterable[Place]) -> tuple[Place, ...]:
    """Places of equal operator, origin, fate, reason and detail as one, in the order of their first."""
    found: dict[tuple[str, bool, bool, str, str], Place] = {}
    for place in places:
        key = (place.operator, place.is_added, place.is_mapped, place.reason, place.detail)
        known = found.get(key)
        found[key] = place if known is None else _joined(known, place)
    return tuple(found.values())


def _joined(first: Place, second: Place) -> Place:
    count, tensors = first.count + second.count, first.tensors + second.tensors
    return msgspec.structs.replace(first, count=count, tensors=tensors)
