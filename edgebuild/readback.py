"""What was read back from an artifact, held against what the target can run. Pure: no file is opened here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from edgebuild.core.model import UNKNOWN_RUNTIME, ArtifactSpec, ModelSpec, Operator, TensorSpec, version_key
from edgebuild.core.passes import DType
from edgebuild.core.plan import Plan
from edgebuild.errors import StepError

# Opens the names of all that a layer computes: "layer/backbone/conv/Conv2D" (see passes/naming.py).
SCOPE = "layer"
_IN_FLOAT = "computes in float"
_FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})
_NEWER = re.compile(r"needs the runtime ([\d.]+),")
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
# What ends a network whose answers are asked for in float: functions that integer kernels compute on a fixed grid, and
# that every version of TensorFlow Lite computes in float as version 1.
ANSWERS = frozenset({"LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"})
# Ends that a network has as integers stay as they are, whatever the scheme.
_INTEGER_ENDS = frozenset({"uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "bool", "string"})


def require_fit(artifact: ArtifactSpec, network: ModelSpec, plan: Plan) -> None:
    """Check that an artifact is what the plan promised to its target.

    Raises:
        StepError: names every tensor and operator that does not fit, with the layers the operators came from.
    """
    problems = list(mismatches(artifact, network, plan))
    if problems:
        raise StepError(
            f"the converted {plan.name} does not fit {plan.target}",
            "\n".join(problems),
            _remedy(problems, plan),
        )


def _remedy(problems: Sequence[str], plan: Plan) -> str:
    """What makes an artifact fit; targets that compute in float take what others do not."""
    if any(_IN_FLOAT in problem for problem in problems):
        scheme = plan.quantize.scheme
        return f"Replace the layers named (ReLU runs in {scheme}), or choose a target with float operators, arm64 say."
    newest = [match[1] for problem in problems if (match := _NEWER.search(problem))]
    if len(newest) == len(problems):
        version = max(newest, key=version_key)
        newer = f"--set targets.{plan.target}.runtime.version={version}"
        return f"If you ship a newer runtime, say so: {newer}. Else replace the layers named."
    return "Replace the layers named, or choose a target that takes them: edgebuild targets NAME lists its operators."


def mismatches(artifact: ArtifactSpec, network: ModelSpec, plan: Plan) -> Iterator[str]:
    """One sentence for each way in which the artifact breaks its plan."""
    yield from _tensors("input", artifact.inputs, network.inputs, plan.quantize.input)
    yield from _tensors("output", artifact.outputs, network.outputs, plan.quantize.output)
    operators = artifact.operators
    floating = [] if plan.operators.float else [op for op in operators if _FLOATS & set(op.dtypes)]
    yield from _named(_IN_FLOAT, _culprits(floating), network)
    foreign = [op for op in operators if ":" in op.name]
    yield from _named("is not a builtin operator", foreign, network)
    if plan.operators.allowed is not None:
        allowed = frozenset(plan.operators.allowed)
        unknown = [op for op in operators if op.name not in allowed and op not in floating + foreign]
        yield from _named(f"is not among the operators of {plan.target}", unknown, network)
    yield from _named("has a shape that is known only as it runs", (op for op in operators if op.dynamic), network)
    if plan.runtime.version:
        yield from _too_new(operators, plan.runtime.version, network)


def in_float(artifact: ArtifactSpec) -> list[Operator]:
    """The operators that compute in float, without the conversions around them where there are others."""
    return list(_culprits([operator for operator in artifact.operators if _FLOATS & set(operator.dtypes)]))


def names_of(operators: Iterable[Operator], network: ModelSpec) -> str:
    """Operators with the layers they came from, for people: "SIN (from wave), ..."."""
    return ", ".join(f"{name} {origin}".rstrip() for name, origin in _origins(operators, network).items())


def in_order(artifact: ArtifactSpec, network: ModelSpec) -> ArtifactSpec:
    """The artifact with its inputs and outputs in the network's order, where its signature kept their names."""
    return msgspec.structs.replace(
        artifact,
        inputs=_like(artifact.inputs, network.inputs),
        outputs=_like(artifact.outputs, network.outputs),
    )


def names_in_file(file: Sequence[TensorSpec], named: Sequence[TensorSpec]) -> tuple[str, ...]:
    """What the tensors at one end of a file are called, in the file's order, which may hold no names.

    Args:
        file: as they stand in the file.
        named: the same tensors with their names, in any order; one tensor may be several outputs.
    """
    waiting = list(named)
    found = []
    for tensor in file:
        match = next(each for each in waiting if each.index == tensor.index)
        waiting.remove(match)
        found.append(match.name)
    return tuple(found)


def layers_of(tensor: str, layers: Sequence[str]) -> tuple[str, ...]:
    """The layers named in a tensor's name, in the order they are named.

    The converter joins the paths of all fused operations with semicolons: "layer/conv/Conv2D;layer/relu/Relu". Behind
    SCOPE comes the layer. Paths of other origin are searched for one, and TensorFlow appends a number to a name that it
    has met before: "net/conv2d_1/Conv2D" for the layer conv2d. An output bears the name of its layer in letters that
    fit an identifier.
    """
    known = {re.sub(r"\W", "_", name): name for name in layers} | {name: name for name in layers}
    found: dict[str, None] = {}
    for path in tensor.split(";"):
        layer = next((name for name in _candidates(path) if name in known), None)
        if layer is not None:
            found[known[layer]] = None
    return tuple(found)


def is_part(layer: str, *, of: str) -> bool:
    """Whether a layer is another one, or was split from it: "conv/swish" is a part of conv."""
    return layer == of or layer.startswith(f"{of}/")


def named_now(layers: Iterable[str], instead: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The layers that do what these did, each once; `instead` tells of those of which that is not the layer itself."""
    return tuple(dict.fromkeys(name for layer in layers for name in instead.get(layer, (layer,))))


def _candidates(path: str) -> Iterator[str]:
    """The layer names that a path may hold, most likely first: a layer's own name may have slashes in it."""
    segments = path.split("/")
    if segments[0] == SCOPE and len(segments) > 1:
        yield from ("/".join(segments[1:end]) for end in range(len(segments), 1, -1))
        return
    for length in range(len(segments), 0, -1):
        runs = ["/".join(segments[start : start + length]) for start in range(len(segments) - length + 1)]
        yield from runs
        yield from (re.sub(r"_\d+$", "", run) for run in runs)


def _tensors(kind: str, found: Sequence[TensorSpec], wanted: Sequence[TensorSpec], dtype: DType) -> Iterator[str]:
    if len(found) != len(wanted):
        yield f"the artifact has {len(found)} {kind}s, the network {len(wanted)}"
        return
    for tensor, original in zip(found, wanted, strict=True):
        # Whole numbers that the network only computes with may have become integers of the kernels.
        stays = original.dtype in _INTEGER_ENDS and not (tensor.scale and tensor.dtype == str(dtype))
        expected = original.dtype if stays else str(dtype)
        narrowed = (tensor.dtype, expected) == ("int32", "int64") and dtype not in (DType.FLOAT32, DType.UINT8)
        if tensor.dtype != expected and not narrowed:
            yield f"{kind} {tensor.name} is {tensor.dtype}, not {expected}"
        if -1 in tensor.shape or (tensor.shape and tensor.shape[0] != 1):
            yield f"{kind} {tensor.name} has the shape {list(tensor.shape)}: not static with a batch of 1"
        elif len(tensor.shape) != len(original.shape) or any(
            size not in (-1, real) for size, real in zip(original.shape[1:], tensor.shape[1:], strict=True)
        ):
            yield f"{kind} {tensor.name} has the shape {list(tensor.shape)}, the network {list(original.shape)}"


def _like(found: tuple[TensorSpec, ...], wanted: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    by_name = {tensor.name: tensor for tensor in found}
    names = [tensor.name for tensor in wanted]
    return tuple(by_name[name] for name in names) if sorted(by_name) == sorted(names) else found


def _culprits(floating: Sequence[Operator]) -> Sequence[Operator]:
    """Without the conversions around the operators that are at fault; all of them where there is no other."""
    return [operator for operator in floating if operator.name not in CONVERSIONS] or floating


def _named(reason: str, operators: Iterable[Operator], network: ModelSpec) -> Iterator[str]:
    """A sentence for each operator name, with the layers of all its occurrences."""
    for name, origin in _origins(operators, network).items():
        yield f"{name} {reason} {origin}".rstrip()


def _origins(operators: Iterable[Operator], network: ModelSpec) -> dict[str, str]:
    """For each operator name the layers that its occurrences came from: "(from conv, norm)"."""
    layers: dict[str, dict[str, None]] = {}
    for operator in operators:
        origin = layers_of(operator.tensor, network.layers) or (operator.tensor.split(";")[0],)
        # An operator that writes to a variable has no tensor of a name.
        layers.setdefault(operator.name, {}).update(dict.fromkeys(filter(None, origin)))
    return {name: f"(from {', '.join(origins)})" if origins else "" for name, origins in layers.items()}


def _too_new(operators: Iterable[Operator], runtime: str, network: ModelSpec) -> Iterator[str]:
    newer: dict[str, list[Operator]] = {}
    for operator in operators:
        if operator.runtime == UNKNOWN_RUNTIME:
            reason = f"version {operator.version} is newer than any runtime that is known, the target has {runtime}"
        elif operator.runtime and version_key(operator.runtime) > version_key(runtime):
            reason = f"version {operator.version} needs the runtime {operator.runtime}, the target has {runtime}"
        else:
            continue
        newer.setdefault(reason, []).append(operator)
    for reason, found in newer.items():
        yield from _named(reason, found, network)
