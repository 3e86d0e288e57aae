"""What is shown of a log: the lines by which a process said why it ended, and no warnings of libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgebuild.process import explaining

NOISE = """
2026-11-30 05:12:01.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
2026-11-30 05:12:01.123456: W tensorflow/compiler/mlir/lite/python/tf_tfl_flatbuffer_helpers.cc:364] Ignored format.
I0000 00:00:1796016312.191958   11000 cudart_stub.cc:31] Could not find cuda drivers on your machine.
E0000 00:00:1796016312.191958   11000 cuda_dnn.cc:8579] Unable to register cuDNN factory
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
WARNING:tensorflow:5 out of the last 5 calls to <function f at 0x7f77> triggered tf.function retracing. Tracing is slow.
WARNING:absl:Please consider providing the trackable_obj argument in the from_concrete_functions.
ERROR:absl:hooks failed
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with the flags.
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
/x/keras/src/layer.py:12: UserWarning: Do not pass an `input_shape` argument to a layer.
  warnings.warn(
Instructions for updating:
"""


def test_of_warnings_alone_nothing_is_shown() -> None:
    assert explaining(NOISE) == ""


@pytest.mark.parametrize(
    "line",
    [
        "double free or corruption (!prev)",
        "free(): invalid pointer",
        "malloc(): corrupted top size",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "F0000 00:00:1796016312.2 11000 tensor.h:12] Check failed: dims() == 4 (2 vs. 4)",
        "2026-11-30 05:12:01.1: F tensorflow/core/framework/tensor_shape.cc:45] Check failed: NDIMS == dims()",
        "python: conv.cc:80: int conv(): Assertion `rank == 4' failed.",
        "LLVM ERROR: out of memory",
    ],
)
def test_the_line_that_ends_a_process_stands_alone(line: str) -> None:
    assert explaining(f"progress of somebody\n{NOISE}\n{line}\n{NOISE}") == line


def test_of_a_traceback_the_exception_is_shown() -> None:
    done = subprocess.run([sys.executable, "-c", "import no_such_module"], capture_output=True, text=True, check=False)
    assert explaining(NOISE + done.stderr) == "ModuleNotFoundError: No module named 'no_such_module'"


def test_a_fatal_error_of_python_is_shown() -> None:
    code = "import faulthandler, os; faulthandler.enable(); os.abort()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert explaining(NOISE + done.stderr) == "Fatal Python error: Aborted"


def test_where_nothing_is_known_to_explain_the_last_lines_of_others_are_shown() -> None:
    assert explaining(f"one\ntwo\nthree\nfour\n{NOISE}") == "two\nthree\nfour"
