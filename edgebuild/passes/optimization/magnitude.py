"""Magnitude pruning by tfmot, extended by blocks in the layout that artifacts store kernels in."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgebuild.core.passes import Norm, Pattern
from edgebuild.passes.optimization import tfmot
from edgebuild.passes.optimization.kernels import Kernel

_BLOCKS = {Pattern.BLOCK_1X4: (1, 4), Pattern.BLOCK_4X4: (4, 4)}
_TWO_OF_FOUR = (2, 4)


def has_whole_blocks(kernel: Kernel, pattern: Pattern) -> bool:
    """Whether a pattern's blocks divide a kernel; where some hang over, their share of it is not what was asked."""
    *_, inputs, outputs = kernel.variable.shape
    if kernel.transposed:
        inputs, outputs = outputs, inputs
    rows, columns = _BLOCKS.get(pattern, (1, 1))
    return bool(outputs % rows == 0 and inputs % columns == 0)


def prune_kernel(kernel: Kernel, share: float, pattern: Pattern, norm: Norm) -> None:
    """Set the weights of the least magnitude to zero, at once.

    Args:
        kernel: changed in place; weights that are zero already count among the least.
        share: of weights (of blocks, where the pattern has blocks) to be zero, below 1; 2:4 has its own.
        pattern: as in the artifact.
        norm: by which blocks are ranked.
    """
    mask = tf.Variable(tf.ones_like(kernel.variable), trainable=False)
    threshold = tf.Variable(0.0, trainable=False)
    pruning = _pruning(
        lambda: tf.constant(1, tf.int64),
        [(kernel.variable, mask, threshold)],
        tfmot.ConstantSparsity(share, begin_step=1, frequency=1),
        pattern,
        norm,
        transposed=kernel.transposed,
    )
    pruning.conditional_mask_update()
    pruning.weight_mask_op()


def _pruning(step: Any, weights: Any, schedule: Any, pattern: Pattern, norm: Norm, *, transposed: bool) -> Any:
    if pattern in _BLOCKS:
        return _BlockPruning(step, weights, schedule, block=_BLOCKS[pattern], norm=norm, transposed=transposed)
    m_by_n = _TWO_OF_FOUR if pattern == Pattern.TWO_OF_FOUR else None
    return tfmot.Pruning(step, weights, schedule, (1, 1), "AVG", m_by_n)


class _BlockPruning(tfmot.Pruning):  # type: ignore[misc]
    """tfmot's pruning with blocks over the output and the input channels of kernels of any rank.

    tfmot itself takes blocks for matrices alone, and lays them as Keras stores these, inputs first, where an artifact
    has them last.
    """

    def __init__(
        self, step: Any, weights: Any, schedule: Any, *, block: tuple[int, int], norm: Norm, transposed: bool
    ) -> None:
        super().__init__(step, weights, schedule, (1, 1), "AVG")
        self._block, self._norm, self._transposed = block, norm, transposed

    def _maybe_update_block_mask(self, weights: Any) -> tuple[Any, Any]:
        outputs_first = self._swapped(weights)
        power = 2 if self._norm == Norm.L2 else 1
        magnitudes = _pooled(tf.abs(outputs_first) ** power, self._block)
        threshold, mask = self._update_mask(magnitudes)
        return threshold, self._swapped(_spread(mask, self._block, outputs_first.shape))

    def _swapped(self, kernel: Any) -> Any:
        """[..., channels out, channels in] from Keras' order, and back."""
        rank = kernel.shape.rank
        return kernel if self._transposed else tf.transpose(kernel, [*range(rank - 2), rank - 1, rank - 2])


def _pooled(magnitudes: Any, block: tuple[int, int]) -> Any:
    """The sums over blocks of the last two axes; one at the edge may have fewer entries."""
    rows, columns = block
    *outer, height, width = magnitudes.shape
    padding = [[0, 0]] * len(outer) + [[0, -height % rows], [0, -width % columns]]
    padded = tf.pad(magnitudes, padding)
    split = tf.reshape(padded, [*outer, padded.shape[-2] // rows, rows, padded.shape[-1] // columns, columns])
    return tf.reduce_sum(split, axis=[-3, -1])


def _spread(mask: Any, block: tuple[int, int], shape: Any) -> Any:
    """A mask of blocks as one of weights."""
    spread = tf.repeat(tf.repeat(mask, block[0], axis=-2), block[1], axis=-1)
    return spread[..., : shape[-2], : shape[-1]]
