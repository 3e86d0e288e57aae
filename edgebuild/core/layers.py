"""The layers whose channels can be pruned, as a kernel sees them: shapes without weights."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from edgebuild.core.passes import DType


class LayerKind(StrEnum):
    """Operators of TensorFlow Lite, by their names in small letters."""

    CONV_2D = "conv_2d"
    DEPTHWISE_CONV_2D = "depthwise_conv_2d"
    FULLY_CONNECTED = "fully_connected"


class Padding(StrEnum):
    """TensorFlow's two ways to treat the borders of an image."""

    SAME = "same"
    VALID = "valid"


class LayerShape(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides how long a kernel takes for one sample; two layers of equal shapes take equally long.

    A dense layer has height x width x in_channels features: an image that was flattened keeps its size, so that pruning
    its channels is told here too. A dense layer over the positions of a sequence is a conv_2d with a kernel of 1.

    Attributes:
        height: of the input.
        width: of the input.
        out_channels: for a depthwise_conv_2d a multiple of in_channels.
        kernel: height and width of the window; dense layers have none.
        strides: vertical and horizontal.
        dtype: of the activations: int8 (weights too, per channel, with an int32 bias) or float32.

    Raises:
        ValueError: no such layer can exist, or its dtype is another one.
    """

    kind: LayerKind
    height: int = 1
    width: int = 1
    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    padding: Padding = Padding.VALID
    dtype: DType = DType.INT8

    def __post_init__(self) -> None:
        counts = (self.height, self.width, self.in_channels, self.out_channels, *self.kernel, *self.strides)
        if min(counts) < 1 or min(self.output_size) < 1:
            raise ValueError(f"nothing is left to compute: {self.label}")
        if self.kind == LayerKind.DEPTHWISE_CONV_2D and self.out_channels % self.in_channels:
            raise ValueError(f"a depthwise layer makes as many channels of each that it takes: {self.label}")
        if self.kind == LayerKind.FULLY_CONNECTED and (self.kernel, self.strides) != ((1, 1), (1, 1)):
            raise ValueError(f"a dense layer has no window: {self.label}")
        if self.dtype not in (DType.INT8, DType.FLOAT32):
            raise ValueError(f"kernels are timed in int8 and float32, not in {self.dtype}")

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output."""
        if self.kind == LayerKind.FULLY_CONNECTED:
            return 1, 1
        vertical, horizontal = self.strides
        # With "same" a window starts at each stride, with "valid" only where it fits in.
        cut_height, cut_width = (0, 0) if self.padding == Padding.SAME else (self.kernel[0] - 1, self.kernel[1] - 1)
        return -((cut_height - self.height) // vertical), -((cut_width - self.width) // horizontal)

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """The shape that TensorFlow Lite stores the weights in."""
        if self.kind == LayerKind.FULLY_CONNECTED:
            return self.out_channels, self.height * self.width * self.in_channels
        if self.kind == LayerKind.DEPTHWISE_CONV_2D:
            return 1, *self.kernel, self.out_channels
        return self.out_channels, *self.kernel, self.in_channels

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample; what falls on the padding counts as well."""
        weights = 1
        for count in self.weights_shape:
            weights *= count
        height, width = self.output_size
        return height * width * weights

    @property
    def label(self) -> str:
        """The layer for people: "conv_2d of 14x14x256 to 512 channels, kernel 3x3, strides 1x1, same padding, int8"."""
        size = f"{self.height}x{self.width}x{self.in_channels} to {self.out_channels} channels"
        if self.kind == LayerKind.FULLY_CONNECTED:
            return f"{self.kind} of {size}, {self.dtype}"
        window = f"kernel {_pair(self.kernel)}, strides {_pair(self.strides)}, {self.padding} padding"
        return f"{self.kind} of {size}, {window}, {self.dtype}"


def _pair(pair: tuple[int, int]) -> str:
    return f"{pair[0]}x{pair[1]}"
