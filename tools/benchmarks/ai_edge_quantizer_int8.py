"""What ai-edge-quantizer makes of a float .tflite: python ai_edge_quantizer_int8.py FLOAT SAMPLES ALGORITHM OUT.

Runs in an environment of its own, which has nothing but ai-edge-quantizer. SAMPLES is a .npy of calibration samples as
the network takes them; ALGORITHM a name of the package's AlgorithmName.
"""

from __future__ import annotations

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe


def main(float_path: str, samples_path: str, algorithm: str, out: str) -> None:
    """Full int8 with static ranges."""
    samples = np.load(samples_path)
    signature, ends = next(iter(Interpreter(float_path).get_signature_list().items()))
    (name,) = ends["inputs"]
    made = quantizer.Quantizer(float_path)
    made.load_quantization_recipe(recipe.static_wi8_ai8(recipe.AlgorithmName[algorithm]))
    found = made.calibrate({signature: [{name: sample[None]} for sample in samples]}, num_threads=2)
    made.quantize(found).export_model(out, overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
