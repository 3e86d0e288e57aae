"""Pruning, clustering and quantization-aware training of tf_keras models through tensorflow-model-optimization."""
