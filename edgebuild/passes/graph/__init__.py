"""Networks as plain data: read from Keras, rewritten, and built again as tf_keras models."""
