"""What kinds of children do actions, and the packages that decide what comes out."""

from __future__ import annotations

from edgebuild.core.action import Tool

TENSORFLOW = Tool("the converter", memory_bytes=1_500_000_000, is_tensorflow=True)
INTERPRETER = Tool("the interpreter")
TFLM = Tool("TensorFlow Lite Micro")
PACKER = Tool("the packer")
WRITER = Tool("the writer of what is handed over")
# What these call keeps state in its process, or is timed in it.
TIMED = Tool("the interpreter", is_fresh=True)
MEASUREMENT = Tool("the measurement", is_fresh=True)
EDGETPU_COMPILER = Tool("the Edge TPU compiler", is_fresh=True)
COMPILER = Tool("the compiler of a plug-in", is_fresh=True)
VELA = Tool("Vela", is_fresh=True)

TENSORFLOW_PACKAGES = ("tensorflow", "tensorflow-model-optimization", "tf-keras", "keras", "numpy")
CONVERTER_PACKAGES = (*TENSORFLOW_PACKAGES, "ai-edge-litert", "flatbuffers")
LITERT_PACKAGES = ("ai-edge-litert", "numpy", "flatbuffers")
TFLM_PACKAGES = ("tflite-micro", "numpy", "flatbuffers")
VELA_PACKAGES = ("ethos-u-vela", "numpy", "flatbuffers")
# What reads images and scores by more than a share.
DATA_PACKAGES = ("numpy", "pillow", "scikit-learn")
