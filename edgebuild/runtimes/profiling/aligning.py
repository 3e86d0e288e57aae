"""Which of a network's operators the steps of a delegate stand for.

XNNPACK keeps the order of the operators that it takes, but folds some into others (activations, padding) and adds steps
of its own (conversions). Its steps have names of kernels: a convolution of one pixel is a fully connected layer there.
"""

from __future__ import annotations

from collections.abc import Sequence

_COPYING = ("Copy", "Slice", "Static", "Transpose", "Fuse Dims", "Split Dims", "Constant Pad")
# What XNNPACK calls the kernels of an operator; an operator that is not here is known by its own name.
_KERNELS: dict[str, tuple[str, ...]] = {
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "TRANSPOSE_CONV": ("Deconvolution",),
    "FULLY_CONNECTED": ("Fully Connected", "Dynamic Fully Connected", "Batch Matrix Multiply"),
    "BATCH_MATMUL": ("Batch Matrix Multiply", "Fully Connected", "Dynamic Fully Connected"),
    "AVERAGE_POOL_2D": ("Average Pooling", "Mean"),
    "MAX_POOL_2D": ("Max Pooling",),
    "MEAN": ("Mean", "Average Pooling"),
    "REDUCE_MAX": ("Reduce Max",),
    "REDUCE_MIN": ("Reduce Min",),
    "SUB": ("Subtract",),
    "MUL": ("Multiply",),
    "DIV": ("Divide",),
    "NEG": ("Negate",),
    "LOGISTIC": ("Sigmoid",),
    "TANH": ("TanH",),
    "RELU": ("Clamp",),
    "RELU6": ("Clamp",),
    "RELU_N1_TO_1": ("Clamp",),
    "RELU_0_TO_1": ("Clamp",),
    "LEAKY_RELU": ("LeakyReLU",),
    "HARD_SWISH": ("HardSwish",),
    "SQRT": ("Square Root",),
    "RSQRT": ("Reciprocal Square Root",),
    "CEIL": ("Ceiling",),
    "QUANTIZE": ("Convert",),
    "DEQUANTIZE": ("Convert",),
    "PAD": ("Constant Pad",),
    "PADV2": ("Constant Pad",),
    "CONCATENATION": ("Copy",),
    "SPLIT": ("Slice", "Copy"),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "TRANSPOSE"), _COPYING),
}
_NAMED = tuple({name for names in _KERNELS.values() for name in names})
_DEPTHWISE = "DWConv"
_FIT, _UNKNOWN_FIT = 2, 1


def aligned(operators: Sequence[str], kernels: Sequence[str]) -> tuple[int | None, ...]:
    """For each kernel that ran the place of the operator that it computes, or None for work of the runtime's own.

    It is the assignment in order that explains most: a longest common subsequence (Needleman & Wunsch, A General Method
    Applicable to the Search for Similarities, 1970) in which kernels that are known for an operator count more.
    A kernel that several operators could stand for goes to the first.

    Args:
        operators: their BuiltinOperator names, in the order of execution.
        kernels: XNNPACK's names, "Convolution (NHWC, QC8) DWConv", in the order in which they ran.
    """
    best = [[0] * (len(kernels) + 1) for _ in range(len(operators) + 1)]
    for place in reversed(range(len(operators))):
        for number in reversed(range(len(kernels))):
            best[place][number] = max(
                best[place + 1][number],
                best[place][number + 1],
                best[place + 1][number + 1] + _fit(operators[place], kernels[number]),
            )
    found: list[int | None] = []
    place = number = 0
    while number < len(kernels):
        fit = _fit(operators[place], kernels[number]) if place < len(operators) else 0
        if fit and best[place][number] == best[place + 1][number + 1] + fit:
            found.append(place)
            place, number = place + 1, number + 1
        elif place < len(operators) and best[place][number] == best[place + 1][number]:
            place += 1
        else:
            found.append(None)
            number += 1
    return tuple(found)


def _fit(operator: str, kernel: str) -> int:
    """How well a kernel explains an operator; 0 for not at all."""
    known = _KERNELS.get(operator)
    if known is None:
        spelled = operator.replace("_", " ").lower()
        if kernel.lower().startswith(spelled):
            return _FIT
        # One that no operator is known to run on may be of any operator that is not known either.
        return 0 if kernel.startswith(_NAMED) else _UNKNOWN_FIT
    if not kernel.startswith(known):
        return 0
    return _FIT + ((_DEPTHWISE in kernel) == operator.startswith("DEPTHWISE"))
