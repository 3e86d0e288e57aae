"""Lean files: a .tflite file without what its runtime never reads, in as few bytes as the format allows.

No weight, scale or operator changes that a kernel reads. What goes: ranges of calibration, the scales of biases where
kernels work them out themselves, names, signatures and metadata that nobody asks for, and tensors, buffers and operator
codes that nothing uses. What stays is shared wherever it is equal, and laid out tightly.
"""

from __future__ import annotations

from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgebuild.core.delivery import BiasScales, Keep, Names
from edgebuild.core.metadata import ENTRY as SDK_METADATA
from edgebuild.flatbuffer.inspecting import inspect
from edgebuild.flatbuffer.rewriting import attachments, stripping, tight, unused

# By these numbers of tensors TFLM places them.
OFFLINE_PLAN = "OfflineMemoryAllocation"
# Compilers write their programs into these, for runtimes that are not here to tell what else they read.
_COMPILED = frozenset({b"edgetpu-custom-op", b"ethos-u"})


def lean(data: bytes, keep: Keep) -> bytes:
    """A file that computes the same and is smaller, or the given one where nothing is to be gained.

    It is also the given one where it cannot be told what its runtime reads: compiled for an Edge TPU or Ethos-U, or
    with constants outside of the flatbuffer. The numbers of tensors may change, and so may those of operator codes.

    Raises:
        StepError: the file is damaged.
    """
    inspect(data, "the file")  # the schema's own accessors check nothing
    made = _made(data, keep)
    return made if len(made) < len(data) else data


def _made(data: bytes, keep: Keep) -> bytes:
    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    if not _is_understood(model):
        return data
    metadata = frozenset((*keep.metadata, OFFLINE_PLAN))
    stripping.strip_model(model, metadata=metadata, signatures=keep.signatures)
    for graph in model.subgraphs:
        if keep.bias_scales != BiasScales.KEPT:
            stripping.strip_biases(graph, model, lend_weights_scales=keep.bias_scales == BiasScales.WEIGHTS)
        if keep.names != Names.ALL:
            stripping.strip_names(graph, but_ends=keep.names == Names.ENDS)
        stripping.strip_graph(graph)
    if not any(_text(entry.name) == OFFLINE_PLAN for entry in model.metadata or ()):
        unused.drop_tensors(model)
    unused.drop_operator_codes(model)
    unused.drop_buffers(model)
    packed = tight.pack(model)
    return attachments.carried(data, packed) if SDK_METADATA in metadata else packed


def _is_understood(model: Any) -> bool:
    """Whether all that the file holds is in what was read of it."""
    outside = any(buffer.offset > 1 for buffer in model.buffers) or bool(model.externalBuffers)
    large = any(operator.largeCustomOptionsOffset for graph in model.subgraphs for operator in graph.operators or ())
    compiled = any(code.customCode in _COMPILED for code in model.operatorCodes or ())
    return not (outside or large or compiled)


def _text(raw: bytes | None) -> str:
    return raw.decode("utf-8", "replace") if raw else ""
